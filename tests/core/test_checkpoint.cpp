// Checkpoints: what is saved comes back bit for bit, damage is refused or skipped, failures lose nothing.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "dtrain/atomic_file.hpp"
#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "tests/core/fixtures.hpp"

namespace dtrain {
namespace {

using test::entries_of;
using test::plain_values;
using test::read_bytes;
using test::small_network;
using test::StoreLayout;
using test::TemporaryDirectory;
using test::write_bytes;

TrainingPosition position_at(std::int64_t step) {
  return {.step = step,
          .samples_in_epoch = 96,
          .epoch = 3,
          .seed = UINT64_MAX,
          .best_top1 = 0.1 + 0.2,
          .card = {.model = "small"},
          .recipe = "batch=32;\nschedule=\"poly\""};
}

/// A store with its optimizer, and what a run does with them.
struct TrainingRun {
  explicit TrainingRun(StoreLayout layout, std::int64_t num_classes = 3, double ema = 0.0)
      : network(small_network(num_classes)),
        store(entries_of(network, layout)),
        optimizer({.kind = OptimizerKind::sgd, .ema = ema}, store) {
    initialize(network, 1, store);
    optimizer.begin_average(store.weights());
  }

  /// Updates with gradients that are a function of step and tensor, the same in any layout.
  void train(std::int64_t steps) {
    for (std::int64_t s = 0; s < steps; ++s, ++step) {
      for (const Slot& slot : store.trained_slots()) {
        std::vector<float> gradient(static_cast<std::size_t>(element_count(slot.spec.shape)));
        for (std::size_t i = 0; i < gradient.size(); ++i) {
          gradient[i] = 0.01f * static_cast<float>((static_cast<std::size_t>(step) * 37 + i * 11) % 23) - 0.1f;
        }
        copy_from_plain(slot.layout, gradient, store.gradient(slot));
      }
      const auto size = static_cast<std::int64_t>(store.weights().size());
      (void)optimizer.update(store, {0, size}, {.learning_rate = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f});
      store.statistics()[1] += 0.5f;
      ++store.batches_tracked;
    }
  }

  std::vector<std::string> save(const CheckpointPaths& paths, int keep_last = 3) const {
    return save_checkpoint(paths, store, tensor_names(network), optimizer, position_at(step), {.newest = keep_last});
  }

  NetworkSpec network;
  ParameterStore store;
  Optimizer optimizer;
  std::int64_t step = 0;
};

std::vector<std::string> stored_steps(const CheckpointPaths& paths) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(paths.checkpoints())) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string restore_fault(const std::filesystem::path& path, TrainingRun& run, const std::string& model) {
  try {
    (void)restore_checkpoint(path, run.store, run.optimizer, model);
  } catch (const DataError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Checkpoint, HasThePositionThatWasSaved) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  TrainingRun run(StoreLayout::plain);
  run.train(7);
  run.save(paths);

  const TrainingPosition restored = restore_checkpoint(paths.checkpoint(7), run.store, run.optimizer, "small");

  const TrainingPosition expected = position_at(7);
  EXPECT_EQ(restored.step, expected.step);
  EXPECT_EQ(restored.samples_in_epoch, expected.samples_in_epoch);
  EXPECT_EQ(restored.epoch, expected.epoch);
  EXPECT_EQ(restored.seed, expected.seed);
  EXPECT_EQ(restored.best_top1, expected.best_top1);
  EXPECT_EQ(restored.card, expected.card);
  EXPECT_EQ(restored.recipe, expected.recipe);
}

TEST(Checkpoint, ResumedEqualsUninterruptedBitForBitInAnyLayout) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  TrainingRun uninterrupted(StoreLayout::plain);
  uninterrupted.train(10);
  TrainingRun interrupted(StoreLayout::plain);
  interrupted.train(5);
  interrupted.save(paths);

  for (const StoreLayout layout : {StoreLayout::plain, StoreLayout::blocked}) {
    TrainingRun resumed(layout);
    resumed.train(2);  // what a restore must overwrite
    resumed.step = restore_checkpoint(paths.checkpoint(5), resumed.store, resumed.optimizer, "small").step;
    resumed.train(5);

    for (const std::string& name : tensor_names(small_network())) {
      EXPECT_EQ(plain_values(resumed.store, name), plain_values(uninterrupted.store, name)) << name;
    }
    EXPECT_EQ(resumed.store.fingerprint(), uninterrupted.store.fingerprint());
    EXPECT_EQ(resumed.store.batches_tracked, 10);
  }
}

TEST(Checkpoint, ComesWithTheLastWeightsAlone) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  TrainingRun run(StoreLayout::blocked);
  run.train(2);

  run.save(paths);

  const TensorFile last = read_tensor_file(paths.last());
  EXPECT_EQ(last.tensors.size(), 8u);
  EXPECT_EQ(last.find("conv1.weight")->f32, plain_values(run.store, "conv1.weight"));
  EXPECT_EQ(last.metadata.at("model"), "small");
  EXPECT_EQ(last.metadata.count("dtrain.step"), 0u);
}

TEST(Checkpoint, HasTheAverageOfTheWeightsInAFileOfItsOwnToo) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  TrainingRun run(StoreLayout::blocked, 3, 0.5);
  run.train(2);

  run.save(paths);

  const TensorFile last = read_tensor_file(paths.last());
  const TensorFile average = read_tensor_file(paths.average());
  const TensorFile saved = read_tensor_file(paths.checkpoint(2));
  ASSERT_EQ(average.tensors.size(), last.tensors.size());
  EXPECT_EQ(average.metadata.at("model"), "small");
  for (const FileTensor& tensor : average.tensors) {
    const FileTensor* const state = saved.find("optimizer.weight_average." + tensor.name);
    const FileTensor& expected = state != nullptr ? *state : *last.find(tensor.name);  // statistics have no average
    EXPECT_TRUE(tensor.f32 == expected.f32 && tensor.i64 == expected.i64) << tensor.name;
    EXPECT_EQ(state != nullptr, tensor.f32 != last.find(tensor.name)->f32) << tensor.name;
  }
  TrainingRun plain(StoreLayout::plain, 3, 0.5);
  restore_checkpoint(paths.checkpoint(2), plain.store, plain.optimizer, "small");
  plain.save({directory.path() / "again"});
  EXPECT_EQ(read_tensor_file(CheckpointPaths{directory.path() / "again"}.average()).find("fc.weight")->f32,
            average.find("fc.weight")->f32);
}

TEST(Checkpoint, IsSavedWholeOnceTheWeightsBesideItAreItsOwn) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  TrainingRun run(StoreLayout::blocked, 3, 0.5);
  run.train(1);
  run.save(paths);
  std::filesystem::copy_file(paths.last(), paths.out / "last-1");
  std::filesystem::copy_file(paths.average(), paths.out / "average-1");
  run.train(1);
  run.save(paths);
  const auto put_back = [&](const char* file, const std::filesystem::path& place) {
    std::filesystem::copy_file(paths.out / file, place, std::filesystem::copy_options::overwrite_existing);
  };

  EXPECT_TRUE(is_saved_whole(paths, 2, true));
  EXPECT_FALSE(is_saved_whole(paths, 1, true));
  EXPECT_FALSE(is_saved_whole(paths, 3, true)) << "there is none";
  put_back("average-1", paths.average());
  EXPECT_FALSE(is_saved_whole(paths, 2, true));
  EXPECT_TRUE(is_saved_whole(paths, 2, false));
  put_back("last-1", paths.last());
  EXPECT_FALSE(is_saved_whole(paths, 2, false));
  std::filesystem::remove(paths.last());
  EXPECT_FALSE(is_saved_whole(paths, 2, false));
}

// A directory that is not empty stands for a file that belongs to somebody else, or cannot be changed: root could remove those.
TEST(Checkpoint, IsSavedAlsoWhereAnOlderOneCannotBeRemoved) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  std::filesystem::create_directories(paths.checkpoint(1) / "full");
  TrainingRun run(StoreLayout::plain);
  run.train(2);

  const std::vector<std::string> complaints = run.save(paths, 1);

  ASSERT_EQ(complaints.size(), 1U);
  EXPECT_NE(complaints[0].find("cannot remove " + paths.checkpoint(1).string()), std::string::npos) << complaints[0];
  EXPECT_TRUE(std::filesystem::exists(paths.checkpoint(2)));
}

TEST(Checkpoint, KeepsTheNewestOnly) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  TrainingRun run(StoreLayout::plain);

  for (int save = 0; save < 4; ++save) {
    run.train(3);
    run.save(paths, 2);
  }

  EXPECT_EQ(stored_steps(paths), (std::vector<std::string>{"step-000000009.safetensors", "step-000000012.safetensors"}));
}

TEST(Checkpoint, LeavesOtherFilesAndLaterStepsAlone) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  TrainingRun later(StoreLayout::plain);
  later.train(9);
  later.save(paths);
  write_bytes(paths.checkpoints() / "notes.txt", "mine");
  write_bytes(paths.checkpoints() / "step-best.safetensors", "mine too");

  TrainingRun run(StoreLayout::plain);
  run.train(1);
  run.save(paths, 1);
  run.train(1);
  run.save(paths, 1);

  EXPECT_EQ(stored_steps(paths), (std::vector<std::string>{"notes.txt", "step-000000002.safetensors",
                                                           "step-000000009.safetensors", "step-best.safetensors"}));
}

TEST(Checkpoint, NewestIsTheHighestStepBeyondNineDigitsToo) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  TrainingRun run(StoreLayout::plain);
  for (const std::int64_t step : {999999999LL, 1000000000LL}) {
    run.step = step;
    run.save(paths);
  }
  std::vector<std::string> skipped;

  EXPECT_EQ(find_newest_checkpoint(paths, skipped), paths.checkpoint(1000000000));
  EXPECT_TRUE(skipped.empty());
}

TEST(Checkpoint, NewestIsNoneWhereThereIsNone) {
  const TemporaryDirectory directory;
  std::vector<std::string> skipped;

  EXPECT_TRUE(find_newest_checkpoint({directory.path()}, skipped).empty());
  EXPECT_TRUE(find_newest_checkpoint({directory.path() / "absent"}, skipped).empty());
  EXPECT_TRUE(skipped.empty());
}

TEST(Checkpoint, NewestSkipsDamagedOnesAndSaysSo) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  TrainingRun run(StoreLayout::plain);
  for (int save = 0; save < 4; ++save) run.train(1), run.save(paths, 4);
  std::string flipped = read_bytes(paths.checkpoint(4));
  flipped[flipped.size() - 9] = static_cast<char>(flipped[flipped.size() - 9] ^ 4);
  write_bytes(paths.checkpoint(4), flipped);
  write_bytes(paths.checkpoint(3), read_bytes(paths.checkpoint(3)).substr(0, 500));
  std::filesystem::copy_file(paths.last(), paths.checkpoint(5));  // sound, but weights alone
  std::vector<std::string> skipped;

  EXPECT_EQ(find_newest_checkpoint(paths, skipped), paths.checkpoint(2));

  ASSERT_EQ(skipped.size(), 3u);
  EXPECT_NE(skipped[0].find("step-000000005"), std::string::npos);
  EXPECT_NE(skipped[1].find("checksum"), std::string::npos) << skipped[1];
  EXPECT_NE(skipped[2].find("step-000000003"), std::string::npos);
}

TEST(Checkpoint, OfAnotherModelOrClassCountIsRefusedAndChangesNothing) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  TrainingRun saved(StoreLayout::plain);
  saved.train(1);
  saved.save(paths);
  TrainingRun other(StoreLayout::plain, 4);
  const std::uint64_t before = other.store.fingerprint();

  const std::string other_model = restore_fault(paths.checkpoint(1), other, "large");
  const std::string other_classes = restore_fault(paths.checkpoint(1), other, "small");

  EXPECT_NE(other_model.find("model large"), std::string::npos) << other_model;
  EXPECT_NE(other_model.find("model small"), std::string::npos) << other_model;
  EXPECT_NE(other_classes.find("(4, 80)"), std::string::npos) << other_classes;
  EXPECT_EQ(other.store.fingerprint(), before);
}

TEST(Checkpoint, WithoutVelocityAverageOrPositionIsRefused) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  TrainingRun run(StoreLayout::plain);
  run.train(1);
  run.save(paths);
  TrainingRun averaging(StoreLayout::plain, 3, 0.5);
  EXPECT_NE(restore_fault(paths.checkpoint(1), averaging, "small").find("optimizer.weight_average."), std::string::npos);
  TensorFile file = read_tensor_file(paths.checkpoint(1));
  std::erase_if(file.tensors, [](const FileTensor& tensor) { return tensor.name == "optimizer.velocity.fc.weight"; });
  write_tensor_file(directory.path() / "no-velocity", file);
  file = read_tensor_file(paths.checkpoint(1));
  file.metadata["dtrain.step"] = "12x";
  write_tensor_file(directory.path() / "no-number", file);

  EXPECT_NE(restore_fault(directory.path() / "no-velocity", run, "small").find("optimizer.velocity.fc.weight"),
            std::string::npos);
  EXPECT_NE(restore_fault(directory.path() / "no-number", run, "small").find("12x"), std::string::npos);
  EXPECT_NE(restore_fault(paths.last(), run, "small").find("dtrain.step"), std::string::npos);
}

TEST(Checkpoint, HasTheStatisticsOfEachRankInAnyLayoutAndLastHasNone) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  TrainingRun run(StoreLayout::plain);
  run.train(1);
  const std::size_t values = run.store.statistics().size();
  TrainingPosition position = position_at(1);
  position.rank_statistics.images = {8, 7};
  for (const Slot& slot : run.store.statistics_slots()) std::ranges::fill(run.store.values(slot), 1.0f);  // but no padding
  for (const float factor : {2.0f, 3.0f}) {
    for (const float value : run.store.statistics()) position.rank_statistics.values.push_back(factor * value);
  }
  save_checkpoint(paths, run.store, tensor_names(run.network), run.optimizer, position, {.newest = 1});

  const RankStatistics restored = restore_checkpoint(paths.checkpoint(1), run.store, run.optimizer, "small").rank_statistics;

  EXPECT_EQ(restored.images, (std::vector<std::int64_t>{8, 7}));
  ASSERT_EQ(restored.values.size(), 2 * values);
  for (const Slot& slot : run.store.statistics_slots()) {
    const auto first = static_cast<std::size_t>(slot.offset);
    EXPECT_EQ(restored.values[first], 2.0f) << slot.spec.name;
    EXPECT_EQ(restored.values[values + first], 3.0f) << slot.spec.name;
  }
  for (const FileTensor& tensor : read_tensor_file(paths.last()).tensors) EXPECT_FALSE(is_training_state(tensor.name));

  TensorFile file = read_tensor_file(paths.checkpoint(1));
  const auto of_rank = std::ranges::find_if(file.tensors, [](const FileTensor& tensor) {
    return tensor.name.starts_with("rank_statistics.") && tensor.name.ends_with(".running_mean");
  });
  ASSERT_NE(of_rank, file.tensors.end());
  const std::string name = of_rank->name;
  file.tensors.erase(of_rank);
  write_tensor_file(directory.path() / "incomplete", file);
  EXPECT_NE(restore_fault(directory.path() / "incomplete", run, "small").find(name), std::string::npos);
}

TEST(Checkpoint, ThatCannotBeWrittenLosesNoEarlierOne) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  TrainingRun run(StoreLayout::plain);
  for (int save = 0; save < 2; ++save) run.train(1), run.save(paths, 2);
  const std::string last_before = read_bytes(paths.last());
  run.train(1);

  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{1000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  EXPECT_THROW(run.save(paths, 1), DataError);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);

  EXPECT_EQ(stored_steps(paths), (std::vector<std::string>{"step-000000001.safetensors", "step-000000002.safetensors"}));
  EXPECT_EQ(read_bytes(paths.last()), last_before);
  std::vector<std::string> skipped;
  EXPECT_EQ(find_newest_checkpoint(paths, skipped), paths.checkpoint(2));
}

TEST(RequireWritable, CreatesTheDirectoriesAndLeavesThemEmpty) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path() / "new" / "run"};

  require_writable(paths);
  require_writable(paths);

  EXPECT_TRUE(std::filesystem::is_empty(paths.checkpoints()));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(paths.out), std::filesystem::directory_iterator()), 1);
}

TEST(RequireWritable, RemovesWhatAKilledRunLeftHalfWritten) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  std::filesystem::create_directory(paths.checkpoints());
  write_bytes(paths.checkpoints() / "step-000000005.safetensors.partial-123", "half");
  write_bytes(paths.out / "last.safetensors.partial-123", "half");
  write_bytes(paths.out / "log.txt", "whole");

  require_writable(paths);

  EXPECT_TRUE(std::filesystem::is_empty(paths.checkpoints()));
  EXPECT_EQ(directory.names(), (std::vector<std::string>{"checkpoints", "log.txt"}));
}

TEST(RequireWritable, RemovesTheProbesAndMembersOfKilledRunsAndNothingOfTheUsers) {
  const TemporaryDirectory directory;
  const CheckpointPaths paths{directory.path()};
  std::filesystem::create_directory(paths.checkpoints());
  std::filesystem::create_directory(paths.members());
  write_bytes(paths.checkpoints() / "write-test.partial-123", "half");
  write_bytes(paths.members() / "a.safetensors.partial-123-0123456789abcdef", "half");
  write_bytes(paths.out / "data.tar.partial-1", "a download of mine");
  write_bytes(paths.out / "write-test", "a note of mine");
  EXPECT_FALSE(holds_weights(paths)) << "half-written files do not keep a run from starting";
  AtomicFile in_work(paths.checkpoint(7));

  EXPECT_EQ(require_writable(paths), std::vector<std::string>{});

  EXPECT_EQ(read_bytes(paths.out / "write-test"), "a note of mine");
  EXPECT_TRUE(std::filesystem::exists(paths.out / "data.tar.partial-1"));
  EXPECT_TRUE(std::filesystem::is_empty(paths.members()));
  EXPECT_NO_THROW(in_work.commit()) << "of a living process";
}

TEST(HoldsWeights, OfEveryKindThatANewRunWouldReplace) {
  for (const char* name : {"last.safetensors", "best.safetensors", "average.safetensors",
                           "checkpoints/step-000000001.safetensors", "members/a.safetensors"}) {
    const TemporaryDirectory directory;
    const CheckpointPaths paths{directory.path()};
    EXPECT_FALSE(holds_weights(paths));
    std::filesystem::create_directories((paths.out / name).parent_path());
    write_bytes(paths.out / name, "weights");

    EXPECT_TRUE(holds_weights(paths)) << name;
  }
}

TEST(RequireWritable, RefusesAPathThatIsAFileOrADiskThatTakesNothing) {
  const TemporaryDirectory directory;
  write_bytes(directory.path() / "file", "");

  EXPECT_THROW(require_writable({directory.path() / "file"}), DataError);
  EXPECT_THROW(require_writable({directory.path() / "file" / "below"}), DataError);
  EXPECT_THROW(require_writable({"/proc/dtrain-test"}),
               DataError);  // a file system that takes no directories, from root either
}

}  // namespace
}  // namespace dtrain
