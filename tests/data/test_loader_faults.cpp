// The loader and what goes wrong: damaged pictures are replaced, counted, named and limited; errors reach the consumer.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <cmath>
#include <stdexcept>

#include "dtrain/data.hpp"
#include "fixtures.hpp"
#include "picture_writers.hpp"
#include "src/data/picture_file.hpp"

namespace dtrain {
namespace {

using namespace std::chrono_literals;

/// Samples 0, 1 … samples−1, over and over.
BatchSequence rounds(std::int64_t samples, std::int64_t batch, std::int64_t batches) {
  return [=](std::int64_t k) {
    std::vector<SampleRequest> requests;
    for (std::int64_t i = 0; k < batches && i < batch; ++i) requests.push_back({(k * batch + i) % samples, 0});
    return requests;
  };
}

/// Sample numbers of all that a loader delivers, for FlatDataset below 256 samples.
std::vector<int> load_all(DataLoader& loader) {
  std::vector<int> samples;
  for (const Batch* batch = &loader.next(); batch->count > 0; batch = &loader.next()) {
    const std::size_t elements = batch->images.size() / batch->labels.size();
    for (std::size_t i = 0; i < batch->labels.size(); ++i) {
      samples.push_back(static_cast<int>(std::lround(255.0f * batch->images[i * elements])));
      EXPECT_EQ(batch->labels[i], samples.back() % 7);  // the label is that of the picture shown
    }
  }
  return samples;
}

std::string next_error(DataLoader& loader) {
  return data_error_of([&] {
    while (loader.next().count > 0) continue;
  });
}

TEST(LoaderFaults, ReplacesADamagedPictureByTheNextReadableOne) {
  FlatDataset dataset(10);
  dataset.damaged = {2, 3, 6, 9};  // 2 and 3 → 4, 6 → 7, 9 → 0
  for (const int workers : {1, 2, 5}) {
    DataLoader loader(dataset, loader_options(workers, 3), rounds(10, 3, 10));

    const std::vector<int> samples = load_all(loader);

    std::vector<int> expected;
    for (int i = 0; i < 3; ++i) expected.insert(expected.end(), {0, 1, 4, 4, 4, 5, 7, 7, 8, 0});
    EXPECT_EQ(samples, expected);
    EXPECT_EQ(loader.faults().count, 4);  // distinct ones, although each was asked for three times
    ASSERT_EQ(loader.faults().messages.size(), 4u);
    for (const std::string& message : loader.faults().messages) EXPECT_NE(message.find("flat/"), std::string::npos);
  }
}

TEST(LoaderFaults, AugmentsTheReplacementByItsOwnKeys) {
  const TemporaryDirectory root;
  write_bytes(root.path() / "c/a.jpg", to_bytes("no picture"));
  write_bytes(root.path() / "c/b.jpg", write_png(noise_picture(40, 30, 1)));
  const auto dataset = open_image_folder(root.path());
  LoaderOptions options = loader_options(1, 2);
  options.transform.augmentation = Augmentation::standard;
  DataLoader loader(*dataset, options, [](std::int64_t k) {
    return k == 0 ? std::vector<SampleRequest>{{0, 5}, {1, 5}} : std::vector<SampleRequest>{};
  });

  const Batch& batch = loader.next();

  const std::size_t half = batch.images.size() / 2;
  EXPECT_TRUE(std::equal(batch.images.begin(), batch.images.begin() + static_cast<std::ptrdiff_t>(half),
                         batch.images.begin() + static_cast<std::ptrdiff_t>(half)));
  ASSERT_EQ(loader.faults().messages.size(), 1u);
  EXPECT_NE(loader.faults().messages[0].find("c/a.jpg"), std::string::npos);
  EXPECT_NE(loader.faults().messages[0].find("found text"), std::string::npos);
}

TEST(LoaderFaults, NamesTheFirstTenAndCountsAll) {
  FlatDataset dataset(100);
  for (std::int64_t i = 0; i < 50; ++i) dataset.damaged.insert(2 * i);
  DataLoader loader(dataset, loader_options(3, 10), rounds(100, 10, 10));

  load_all(loader);

  EXPECT_EQ(loader.faults().count, 50);
  EXPECT_EQ(loader.faults().messages.size(), 10u);
}

TEST(LoaderFaults, AcceptsAsManyDamagedPicturesAsAllowed) {
  FlatDataset dataset(20);
  dataset.damaged = {1, 5, 7};
  LoaderOptions options = loader_options(2, 4);
  options.max_damaged = 3;
  DataLoader loader(dataset, options, rounds(20, 4, 5));

  EXPECT_EQ(next_error(loader), "");
  EXPECT_EQ(loader.faults().count, 3);
}

TEST(LoaderFaults, RefusesMoreDamagedPicturesThanAllowedWithExamples) {
  FlatDataset dataset(20);
  dataset.damaged = {1, 5, 7, 11};
  for (const int workers : {1, 4}) {
    LoaderOptions options = loader_options(workers, 4);
    options.max_damaged = 3;
    DataLoader loader(dataset, options, rounds(20, 4, 5));

    const std::string text = next_error(loader);

    EXPECT_NE(text.find("expected at most 3 damaged images, found 4"), std::string::npos) << text;
    for (const char* example : {"flat/1:", "flat/5:", "flat/7:", "flat/11:"})
      EXPECT_NE(text.find(example), std::string::npos) << text;
    EXPECT_NE(text.find("; try: "), std::string::npos) << text;
    EXPECT_EQ(next_error(loader), text);  // and again
  }
}

TEST(LoaderFaults, RefusesTheFirstWhenNoneIsAllowed) {
  FlatDataset dataset(20);
  dataset.damaged = {13};
  LoaderOptions options = loader_options(2, 4);
  options.max_damaged = 0;
  DataLoader loader(dataset, options, rounds(20, 4, 5));

  EXPECT_NE(next_error(loader).find("flat/13"), std::string::npos);
}

TEST(LoaderFaults, SaysSoWhenNoPictureIsReadable) {
  FlatDataset dataset(6);
  dataset.damaged = {0, 1, 2, 3, 4, 5};
  DataLoader loader(dataset, loader_options(3, 2), rounds(6, 2, 3));

  EXPECT_NE(next_error(loader).find("expected at least one readable picture, found none among 6"), std::string::npos);
}

TEST(LoaderFaults, CountsDamageWithTheBatchThatMetItHoweverFarWorkersAreAhead) {
  FlatDataset dataset(12);
  dataset.damaged = {1, 6, 7, 11};  // of batches 0, 1, 1 and 2
  for (const int workers : {1, 4}) {
    DataLoader loader(dataset, loader_options(workers, 4, 4), rounds(12, 4, 4));
    std::vector<std::vector<std::int64_t>> met;
    std::vector<std::int64_t> counts;

    for (int k = 0; k < 4; ++k) {
      std::this_thread::sleep_for(5ms);  // workers are ahead by then
      const Batch& batch = loader.next();
      met.emplace_back();
      for (const DamagedSample& one : batch.damaged) met.back().push_back(one.sample);
      counts.push_back(loader.faults().count);
    }

    EXPECT_EQ(met, (std::vector<std::vector<std::int64_t>>{{1}, {6, 7}, {11}, {}}));
    EXPECT_EQ(counts, (std::vector<std::int64_t>{1, 3, 4, 4}));
  }
}

TEST(LoaderFaults, CountsWhatAnotherBatchHadFoundDamaged) {
  FlatDataset dataset(10);
  dataset.damaged = {3, 4};
  DataLoader loader(dataset, loader_options(1, 1, 2), [](std::int64_t k) {
    const std::int64_t asked[] = {4, 3, 4};
    return k < 3 ? std::vector<SampleRequest>{{asked[k], 0}} : std::vector<SampleRequest>{};
  });

  EXPECT_EQ(loader.next().damaged.size(), 1u);  // 4
  const Batch& second = loader.next();
  ASSERT_EQ(second.damaged.size(), 1u);  // 3, on the way from which 4 was passed again
  EXPECT_EQ(second.damaged[0].sample, 3);
  EXPECT_EQ(second.samples[0], 5);
  EXPECT_TRUE(loader.next().damaged.empty());
}

TEST(LoaderFaults, LeavesDamagedPicturesOutWhereAsked) {
  FlatDataset dataset(12);
  dataset.damaged = {0, 3, 4, 5, 11};  // batch 1 has none left
  for (const int workers : {1, 3}) {
    LoaderOptions options = loader_options(workers, 3);
    options.on_damage = OnDamage::leave_out;
    DataLoader loader(dataset, options, [](std::int64_t k) {
      std::vector<SampleRequest> requests;
      for (std::int64_t i = 0; k < 4 && i < 3; ++i) requests.push_back({k * 3 + i, 0});
      return requests;
    });
    std::vector<std::int64_t> samples, damaged, counts;
    for (const Batch* batch = &loader.next();; batch = &loader.next()) {
      samples.insert(samples.end(), batch->samples.begin(), batch->samples.end());
      for (const DamagedSample& one : batch->damaged) damaged.push_back(one.sample);
      if (batch->count == 0) break;
      counts.push_back(batch->count);
      const std::size_t elements = batch->images.size() / batch->labels.size();
      for (std::size_t i = 0; i < batch->labels.size(); ++i) {
        EXPECT_EQ(std::lround(255.0f * batch->images[i * elements]), batch->samples[i]);
        EXPECT_EQ(batch->labels[i], batch->samples[i] % 7);
      }
    }

    EXPECT_EQ(samples, (std::vector<std::int64_t>{1, 2, 6, 7, 8, 9, 10}));
    EXPECT_EQ(counts, (std::vector<std::int64_t>{2, 3, 2}));
    EXPECT_EQ(damaged, (std::vector<std::int64_t>{0, 3, 4, 5, 11}));
  }
}

TEST(LoaderFaults, EndsWhereNothingCanBeReadAndAllIsLeftOut) {
  FlatDataset dataset(4);
  dataset.damaged = {0, 1, 2, 3};
  LoaderOptions options = loader_options(2, 2);
  options.on_damage = OnDamage::leave_out;
  DataLoader loader(dataset, options, [](std::int64_t k) {
    return k < 2 ? std::vector<SampleRequest>{{2 * k, 0}, {2 * k + 1, 0}} : std::vector<SampleRequest>{};
  });

  const Batch& batch = loader.next();

  EXPECT_EQ(batch.count, 0);
  EXPECT_EQ(batch.damaged.size(), 4u);
}

TEST(LoaderFaults, NamesThePictureOnWhichABatchWaits) {
  FlatDataset dataset(8);
  std::atomic<bool> holds{true};
  dataset.before_decoding = [&](std::int64_t sample) {
    while (sample == 2 && holds) std::this_thread::sleep_for(1ms);
  };
  DataLoader loader(dataset, loader_options(2, 2), rounds(8, 2, 4));
  EXPECT_TRUE(loader.is_ready(5.0));
  loader.next();

  EXPECT_FALSE(loader.is_ready(0.02));
  const LateSample late = loader.late_sample();
  holds = false;

  EXPECT_EQ(late.name, "flat/2");
  EXPECT_GE(late.in_work_s, 0.015);
  EXPECT_TRUE(loader.is_ready(5.0));
  EXPECT_EQ(loader.next().samples[0], 2);
  EXPECT_GE(loader.waited_s(), 0.015);
}

TEST(LoaderFaults, LeavesWorkersBehindThatAreTakenToBeStuck) {
  FlatDataset dataset(8);
  std::atomic<bool> holds{true}, has_gone_on{false};
  dataset.before_decoding = [&](std::int64_t sample) {
    while (sample == 2 && holds) std::this_thread::sleep_for(1ms);
    if (sample == 2) has_gone_on = true;
  };
  {
    DataLoader loader(dataset, loader_options(2, 2), rounds(8, 2, 4));
    loader.next();
    loader.abandon();
  }

  EXPECT_FALSE(has_gone_on);
  holds = false;
  for (int i = 0; i < 1000 && !has_gone_on; ++i) std::this_thread::sleep_for(1ms);
  std::this_thread::sleep_for(20ms);  // it ends, while the data set is there
}

TEST(LoaderFaults, ANamedPipeAmongThePicturesIsDamageAndNotAHang) {
  const TemporaryDirectory root;
  std::filesystem::create_directories(root.path() / "c");
  ASSERT_EQ(::mkfifo((root.path() / "c/a.jpg").c_str(), 0600), 0);

  const std::string text = data_error_of([&] { read_file((root.path() / "c/a.jpg").string()); });

  EXPECT_NE(text.find("no regular file"), std::string::npos) << text;
}

/// A data set with a bug.
class BrokenDataset final : public Dataset {
 public:
  std::int64_t size() const override { return 100; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::int32_t label(std::int64_t) const override { return 0; }
  std::string sample_name(std::int64_t) const override { return "broken"; }
  std::uint64_t digest() const override { return 0; }
  PictureSize picture_size(std::int64_t) const override { return {4, 4}; }
  void decode(std::int64_t, const DecodeHint&, Picture&) const override { throw std::out_of_range("a bug"); }

 private:
  std::vector<std::string> class_names_{"only"};
};

TEST(LoaderFaults, CarriesAWorkersErrorToTheConsumer) {
  const BrokenDataset dataset;
  for (const int workers : {1, 4}) {
    DataLoader loader(dataset, loader_options(workers, 2), rounds(100, 2, 50));

    EXPECT_THROW(loader.next(), std::out_of_range);
    EXPECT_THROW(loader.next(), std::out_of_range);
  }
}

TEST(LoaderFaults, CarriesErrorsOfTheSequenceAndOfTheHook) {
  const FlatDataset dataset(10);
  LoaderOptions with_hook = loader_options(3, 1);
  with_hook.on_worker_start = [](int worker) {
    if (worker == 1) throw std::runtime_error("cannot bind");
  };
  DataLoader bad_sequence(dataset, loader_options(3, 1), [](std::int64_t k) -> std::vector<SampleRequest> {
    if (k == 2) throw std::domain_error("no plan");
    return {{k, 0}};
  });
  DataLoader bad_hook(dataset, with_hook, [](std::int64_t) {
    std::this_thread::sleep_for(1ms);
    return std::vector<SampleRequest>{{0, 0}};
  });

  const auto drain = [](DataLoader& loader) {
    while (loader.next().count > 0) continue;
  };
  EXPECT_THROW(drain(bad_sequence), std::domain_error);
  EXPECT_THROW(drain(bad_hook), std::runtime_error);
}

TEST(LoaderFaults, RefusesRequestsBeyondItsContract) {
  const FlatDataset dataset(10);
  DataLoader too_many(dataset, loader_options(1, 2), [](std::int64_t) { return std::vector<SampleRequest>(3); });
  DataLoader too_far(dataset, loader_options(1, 2), [](std::int64_t) { return std::vector<SampleRequest>{{10, 0}}; });

  EXPECT_THROW(too_many.next(), std::logic_error);
  EXPECT_THROW(too_far.next(), std::logic_error);
  EXPECT_THROW(DataLoader(dataset, loader_options(0, 2), rounds(10, 2, 2)), std::logic_error);
}

TEST(LoaderFaults, EndsWhileItsWorkersFail) {
  for (int i = 0; i < 20; ++i) {
    const BrokenDataset dataset;
    const DataLoader loader(dataset, loader_options(4, 2), rounds(100, 2, 50));
  }
}

}  // namespace
}  // namespace dtrain
