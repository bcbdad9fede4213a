// The loader: order, content independent of the worker count, bounded work ahead, and an end that never hangs.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <future>
#include <mutex>
#include <set>

#include "dtrain/data.hpp"
#include "fixtures.hpp"

namespace dtrain {
namespace {

using namespace std::chrono_literals;

/// Samples 0, 1, 2 … in batches of `batch`; the last one shorter.
BatchSequence in_order(std::int64_t samples, std::int64_t batch, std::int64_t epoch = 0) {
  return [=](std::int64_t k) {
    std::vector<SampleRequest> requests;
    for (std::int64_t i = k * batch; i < std::min((k + 1) * batch, samples); ++i) requests.push_back({i, epoch});
    return requests;
  };
}

/// First value of picture i of a batch: the sample number modulo 256, for FlatDataset.
int first_level(const Batch& batch, std::int64_t i) {
  const std::size_t elements = batch.images.size() / static_cast<std::size_t>(batch.count);
  return static_cast<int>(std::lround(255.0f * batch.images[static_cast<std::size_t>(i) * elements]));
}

TEST(DataLoader, DeliversEverySampleInOrderThenEnds) {
  const FlatDataset dataset(23);
  for (const int workers : {1, 2, 5}) {
    DataLoader loader(dataset, loader_options(workers, 4), in_order(23, 4));
    std::int64_t sample = 0;
    for (int k = 0; k < 6; ++k) {
      const Batch& batch = loader.next();
      ASSERT_EQ(batch.count, k < 5 ? 4 : 3);
      ASSERT_EQ(batch.labels.size(), static_cast<std::size_t>(batch.count));
      ASSERT_EQ(batch.images.size(), static_cast<std::size_t>(batch.count * 3 * 4 * 4));
      for (std::int64_t i = 0; i < batch.count; ++i, ++sample) {
        EXPECT_EQ(first_level(batch, i), sample);
        EXPECT_EQ(batch.labels[static_cast<std::size_t>(i)], sample % 7);
      }
    }

    EXPECT_EQ(loader.next().count, 0);
    EXPECT_EQ(loader.next().count, 0);
    EXPECT_EQ(loader.faults().count, 0);
  }
}

TEST(DataLoader, GivesTheSameBitsForAnyNumberOfWorkers) {
  const auto dataset = make_synthetic({.size = 500, .num_classes = 10, .image_size = 40});
  const auto load = [&](int workers, int prefetch) {
    LoaderOptions options = loader_options(workers, 8, prefetch);
    options.transform = {.augmentation = Augmentation::standard, .crop = 24, .seed = 9};
    DataLoader loader(*dataset, options, in_order(100, 8, 2));
    std::vector<float> all;
    for (const Batch* batch = &loader.next(); batch->count > 0; batch = &loader.next()) {
      all.insert(all.end(), batch->images.begin(), batch->images.end());
      all.insert(all.end(), batch->labels.begin(), batch->labels.end());
    }
    return all;
  };
  const std::vector<float> one = load(1, 2);

  ASSERT_EQ(one.size(), 100u * (3 * 24 * 24 + 1));
  EXPECT_EQ(load(2, 3), one);
  EXPECT_EQ(load(5, 2), one);
  EXPECT_EQ(load(5, 7), one);
}

TEST(DataLoader, KeepsABatchUntilTheFollowingCall) {
  const FlatDataset dataset(200);
  DataLoader loader(dataset, loader_options(3, 5, 2), in_order(200, 5));
  for (int k = 0; k < 20; ++k) {
    const Batch& batch = loader.next();
    std::this_thread::sleep_for(2ms);  // the workers go on as far as they may
    for (std::int64_t i = 0; i < batch.count; ++i) ASSERT_EQ(first_level(batch, i), k * 5 + i);
  }
}

TEST(DataLoader, WorksAheadByTheBuffersItHasAndNoFurther) {
  const FlatDataset dataset(1000);
  std::atomic<std::int64_t> asked = 0;
  const BatchSequence sequence = [&](std::int64_t k) {
    asked = std::max(asked.load(), k + 1);
    return std::vector<SampleRequest>{{k, 0}};
  };
  DataLoader loader(dataset, loader_options(4, 1, 3), sequence);

  const auto asked_at_rest = [&](std::int64_t expected) {
    for (int i = 0; i < 5000 && asked < expected; ++i) std::this_thread::sleep_for(1ms);
    std::this_thread::sleep_for(20ms);  // time to go too far
    return asked.load();
  };
  EXPECT_EQ(asked_at_rest(3), 3);
  loader.next();
  EXPECT_EQ(asked_at_rest(3), 3);  // the consumer holds the first buffer
  loader.next();
  EXPECT_EQ(asked_at_rest(4), 4);
}

TEST(DataLoader, AsksForBatchesOneAtATimeAndInOrder) {
  const FlatDataset dataset(300);
  std::atomic<int> inside = 0;
  std::atomic<bool> overlapped = false;
  std::vector<std::int64_t> order;  // unguarded: calls never overlap
  const BatchSequence sequence = [&](std::int64_t k) {
    if (++inside > 1) overlapped = true;
    order.push_back(k);
    std::this_thread::sleep_for(200us);
    --inside;
    return k < 100 ? std::vector<SampleRequest>{{k, 0}, {k + 1, 0}} : std::vector<SampleRequest>{};
  };
  DataLoader loader(dataset, loader_options(5, 2, 6), sequence);

  std::int64_t batches = 0;
  while (loader.next().count > 0) ++batches;

  EXPECT_EQ(batches, 100);
  EXPECT_FALSE(overlapped);
  ASSERT_EQ(order.size(), 101u);
  for (std::int64_t k = 0; k <= 100; ++k) EXPECT_EQ(order[static_cast<std::size_t>(k)], k);
}

TEST(DataLoader, SharesOneBatchAmongItsWorkers) {
  // The first picture is done only when another one of the same batch has begun, which one worker alone could not do.
  FlatDataset dataset(8);
  std::promise<void> second_begun;
  std::atomic<bool> is_met = false;
  dataset.before_decoding = [&](std::int64_t sample) {
    if (sample == 0) is_met = second_begun.get_future().wait_for(60s) == std::future_status::ready;
    if (sample == 1) second_begun.set_value();
  };
  DataLoader loader(dataset, loader_options(2, 8, 2), in_order(8, 8));

  EXPECT_EQ(loader.next().count, 8);

  EXPECT_TRUE(is_met);
}

TEST(DataLoader, StartsEachWorkerWithItsHook) {
  const FlatDataset dataset(10);
  std::mutex mutex;
  std::multiset<int> started;
  std::set<std::thread::id> threads;
  LoaderOptions options = loader_options(3, 1);
  options.on_worker_start = [&](int worker) {
    const std::lock_guard lock(mutex);
    started.insert(worker);
    threads.insert(std::this_thread::get_id());
  };
  {
    DataLoader loader(dataset, options, in_order(10, 1));
    while (loader.next().count > 0) continue;
  }

  EXPECT_EQ(started, (std::multiset<int>{0, 1, 2}));
  EXPECT_EQ(threads.size(), 3u);
  EXPECT_FALSE(threads.contains(std::this_thread::get_id()));
}

TEST(DataLoader, TellsHowLongItWaited) {
  FlatDataset dataset(3);
  std::promise<void> asked, last_begun;
  dataset.before_decoding = [&](std::int64_t sample) {
    if (sample == 0) {
      asked.get_future().wait();
      std::this_thread::sleep_for(500ms);
    }
    if (sample == 2) last_begun.set_value();
  };
  DataLoader loader(dataset, loader_options(1, 1), in_order(3, 1));

  asked.set_value();
  loader.next();
  EXPECT_GT(loader.waited_s(), 0.0);
  last_begun.get_future().wait();  // the only worker has moved on: the second batch is ready
  loader.next();
  EXPECT_EQ(loader.waited_s(), 0.0);
}

TEST(DataLoader, EndsAtOnceWhenNobodyWantsTheRest) {
  FlatDataset dataset(1000000);
  dataset.delay = 1ms;
  for (const int taken : {0, 1, 3}) {
    const auto start = std::chrono::steady_clock::now();
    {
      DataLoader loader(dataset, loader_options(4, 100, 4), in_order(1000000, 100));
      for (int k = 0; k < taken; ++k) loader.next();
    }
    EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);  // a batch is 25 ms of work, all of them 250 s
  }
}

TEST(DataLoader, EndsWithAnEmptySequence) {
  const FlatDataset dataset(5);
  DataLoader loader(dataset, loader_options(2, 1), [](std::int64_t) { return std::vector<SampleRequest>{}; });

  EXPECT_EQ(loader.next().count, 0);
}

}  // namespace
}  // namespace dtrain
