// Any number of ranks trains the network that one rank trains: the same samples, the same sums, the same mean.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

struct TrainedRun {
  fs::path out;
  TensorFile weights;
  Json report;
};

TrainedRun trained(int ranks, const std::vector<std::string>& options) {
  const fs::path out = new_path("run");
  const Outcome outcome = run({.ranks = ranks, .arguments = training_into(out, options)});
  if (outcome.exit_code != 0) ADD_FAILURE() << outcome;
  return {.out = out, .weights = read_tensor_file(out / "last.safetensors"), .report = read_json(out / "report.json")};
}

/// The weights from which training with seed 1 starts.
const TensorFile& starting_weights() {
  static const TensorFile weights = [] {
    const fs::path file = new_path("start.safetensors");
    const Outcome outcome = run({.arguments = {"init", "--model", "resnet20", "--seed", "1", "--out", file.string()}});
    EXPECT_EQ(outcome.exit_code, 0) << outcome;
    return read_tensor_file(file);
  }();
  return weights;
}

// A rank that computes with weights of its own would spoil its share of the evaluation, which is exact over all ranks: what the
// root's weights give when one rank evaluates them is what all ranks together gave.
void expect_ranks_agree(const TrainedRun& run_of_all) {
  const fs::path report = new_path("eval.json");
  const Outcome outcome =
      run({.arguments = {"eval", "--model", "resnet20", "--weights", (run_of_all.out / "last.safetensors").string(), "--data",
                         demo_data().string(), "--threads", "1", "--report", report.string()}});
  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  const Json alone = read_json(report);
  const Json& together = run_of_all.report.at("validation");

  EXPECT_EQ(together.at("samples"), kValPictures);
  EXPECT_EQ(together.at("top1"), alone.at("top1"));
  EXPECT_EQ(together.at("top5"), alone.at("top5"));
  // Other batch sizes may choose other convolution algorithms: the logits agree to a few units in their last place.
  EXPECT_NEAR(together.at("loss").get<double>(), alone.at("loss").get<double>(), 1e-5 * alone.at("loss").get<double>());
}

std::vector<std::string> options_of(std::int64_t global_batch, std::int64_t local_batch, std::int64_t steps,
                                    const std::string& algorithm = "auto") {
  return {"--global-batch", std::to_string(global_batch), "--local-batch", std::to_string(local_batch),
          "--steps",        std::to_string(steps),        "--allreduce",   algorithm};
}

struct Split {
  int ranks;
  std::int64_t global_batch;
  std::int64_t local_batch;  ///< cuts one rank's step exactly as the ranks share it out
  const char* algorithm;
};

std::string split_name(const testing::TestParamInfo<Split>& split) {
  return std::to_string(split.param.ranks) + "_ranks_" + std::to_string(split.param.global_batch) + "_samples_in_" +
         std::to_string(split.param.local_batch) + "_" + split.param.algorithm;
}

/// Whole batches only: an epoch's last batch of another size is cut differently by ranks and by micro-batches, and batch-norm
/// sees it. Saved after every step.
TrainedRun trained_on_whole_batches(int ranks, const Split& split, const std::string& algorithm) {
  const std::int64_t steps = std::min<std::int64_t>(5, kTrainPictures / split.global_batch);
  auto options = options_of(split.global_batch, split.local_batch, steps, algorithm);
  options.insert(options.end(), {"--checkpoint-every", "1", "--keep-checkpoints", "100"});
  return trained(ranks, options);
}

/// What one rank makes of a split, once for all algorithms.
const TrainedRun& of_one_rank(const Split& split) {
  static std::map<std::pair<std::int64_t, std::int64_t>, TrainedRun> runs;
  const std::pair batches{split.global_batch, split.local_batch};
  if (!runs.contains(batches)) runs[batches] = trained_on_whole_batches(0, split, "auto");
  return runs[batches];
}

TensorFile after_first_step(const TrainedRun& run) { return read_tensor_file(checkpoint(run.out, 1)); }

class AnyNumberOfRanks : public testing::TestWithParam<Split> {};

// In exact arithmetic the two runs are equal, uneven shares (33 = 17 + 16) and batch-norm included. In fp32 the gradients of
// the P shares are equal bit by bit and only their sum is taken in another order, which moves it by (P − 1)·2⁻²⁴ of the sum of
// magnitudes: after one step the weights are apart by a few 10⁻⁷ of the way they have gone, where cancellation between shares
// may cost one more digit.
// Further steps start from these differences and amplify them: a network with batch-norm at random weights answers a change of
// 10⁻⁶ with one of 10⁻² in the gradient. A wrong mean or a lost share would put the runs as far apart as they have gone (1).
TEST_P(AnyNumberOfRanks, MakeTheStepsThatOneRankMakes) {
  const Split split = GetParam();

  const TrainedRun& one = of_one_rank(split);
  const TrainedRun many = trained_on_whole_batches(split.ranks, split, split.algorithm);

  EXPECT_EQ(many.report.at("ranks"), split.ranks);
  EXPECT_NEAR(one.report.at("loss_first").get<double>(), many.report.at("loss_first").get<double>(), 1e-6);
  EXPECT_LE(distance_per_way(after_first_step(one), after_first_step(many), starting_weights()), 1e-5);
  EXPECT_LE(distance_per_way(one.weights, many.weights, starting_weights()), 1e-2);
  // Averaged over ranks with equal weight; micro-batches count by their samples, which differs where shares do.
  const bool is_even = split.global_batch % split.ranks == 0;
  EXPECT_LE(statistics_difference(one.weights, many.weights), is_even ? 1e-4 : 5e-2);
  expect_ranks_agree(many);
}

INSTANTIATE_TEST_SUITE_P(Ranks, AnyNumberOfRanks,
                         testing::Values(Split{2, 16, 8, "shm"}, Split{3, 12, 4, "shm"}, Split{4, 16, 4, "shm"},
                                         Split{4, 16, 4, "ring"}, Split{3, 12, 4, "mpi"}, Split{2, 33, 17, "shm"},
                                         Split{3, 16, 6, "ring"}),
                         split_name);

// The statistics of 8 pictures are the same to the last bit or two, so forward is nearly always; see tests/trainer. Over an
// epoch whose last batch is shorter than the ranks are many: 80 = 11 · 7 + 3.
TEST(Ranks, WithSyncedBatchNormTrainAsOneRankDoes) {
  const Words first_step{"--global-batch", "8", "--steps", "1", "--conv", "direct", "--checkpoint-every", "1"};
  const TrainedRun one = trained(0, first_step);
  const TrainedRun four = trained(4, first_step + Words{"--bn", "sync"});
  const TrainedRun epoch = trained(4, {"--global-batch", "7", "--steps", "14", "--bn", "sync", "--overlap", "forward"});

  EXPECT_LE(distance_per_way(after_first_step(one), after_first_step(four), starting_weights()), 1e-5);
  EXPECT_LE(statistics_difference(one.weights, four.weights), 1e-5);
  EXPECT_EQ(metrics_lines(epoch.out / "metrics.jsonl", "loss").size(), 14U);
  expect_ranks_agree(epoch);
}

TEST(Ranks, WithSeveralMicroBatchesEachStayWithOneRank) {
  const TrainedRun one = trained(0, options_of(16, 4, 5));
  const TrainedRun two = trained(2, options_of(16, 4, 5));

  EXPECT_LE(distance_per_way(one.weights, two.weights, starting_weights()), 1e-2);
  EXPECT_EQ(two.report.at("local_batch"), 4);
}

// 80 = 11 · 7 + 3: the last step of an epoch has three samples, so the fourth rank has none.
TEST(Ranks, WithoutASampleTakePartInTheStep) {
  const TrainedRun many = trained(4, {"--global-batch", "7", "--steps", "14"});
  const auto steps = metrics_lines(many.out / "metrics.jsonl", "loss");

  const std::vector<std::int64_t> expected{7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 3, 7, 7};
  EXPECT_EQ(whole_numbers(steps, "samples"), expected);
  for (const Json& step : steps) EXPECT_TRUE(step.at("loss").is_number()) << step;
  EXPECT_DOUBLE_EQ(steps.at(11).at("epoch").get<double>(), 1.0);
  expect_ranks_agree(many);
}

// 80 = 2 · 33 + 14, of which the ranks take 17 + 16 and 7 + 7.
TEST(Ranks, CountEverySampleOfAnEpochOnceWhenTheBatchIsNotDivisible) {
  const TrainedRun many = trained(2, {"--global-batch", "33", "--epochs", "2"});

  const auto samples = whole_numbers(metrics_lines(many.out / "metrics.jsonl", "loss"), "samples");

  EXPECT_EQ(samples, (std::vector<std::int64_t>{33, 33, 14, 33, 33, 14}));
  EXPECT_EQ(std::accumulate(samples.begin(), samples.end(), std::int64_t{0}), 2 * kTrainPictures);
  expect_ranks_agree(many);
}

/// Two classes with `pictures` training pictures altogether (at least two), and one validation picture each.
fs::path tiny_data(std::int64_t pictures) {
  const fs::path data = copy_of_demo_data();
  for (const char* split : {"train", "val"}) {
    const std::vector<std::string> classes = file_names(data / split);
    for (std::size_t i = 2; i < classes.size(); ++i) fs::remove_all(data / split / classes[i]);
  }
  for (std::int64_t k = 7; k >= pictures - 1; --k) fs::remove(demo_picture(data, "train", 0, k));
  for (std::int64_t k = 7; k >= 1; --k) fs::remove(demo_picture(data, "train", 1, k));
  for (std::int64_t class_index : {0, 1}) fs::remove(demo_picture(data, "val", class_index, 1));
  return data;
}

// Three training and two validation pictures on four ranks: some have neither anything to train on nor anything to evaluate.
TEST(Ranks, MoreThanThePicturesThereAreStillTrain) {
  const fs::path data = tiny_data(3);
  for (const std::string algorithm : {"shm", "ring"}) {
    SCOPED_TRACE(algorithm);
    const fs::path out = new_path("tiny");

    const Outcome outcome =
        run({.ranks = 4,
             .arguments =
                 training_on(data, {"--global-batch", "8", "--steps", "3", "--allreduce", algorithm, "--out", out.string()})});

    ASSERT_EQ(outcome.exit_code, 0) << outcome;
    const auto steps = metrics_lines(out / "metrics.jsonl", "loss");
    EXPECT_EQ(whole_numbers(steps, "samples"), (std::vector<std::int64_t>{3, 3, 3}));
    for (const Json& step : steps) EXPECT_TRUE(step.at("loss").is_number()) << step;
    const Json validation = read_json(out / "report.json").at("validation");
    EXPECT_EQ(validation.at("samples"), 2);
    EXPECT_TRUE(validation.at("top5").is_null()) << "there are but two classes";
  }
}

TEST(Ranks, TrainWithABatchLargerThanTheDataSet) {
  const TrainedRun many = trained(2, {"--global-batch", "128", "--steps", "2"});

  const auto steps = metrics_lines(many.out / "metrics.jsonl", "loss");

  EXPECT_EQ(whole_numbers(steps, "samples"), (std::vector<std::int64_t>{kTrainPictures, kTrainPictures}));
  expect_ranks_agree(many);
}

}  // namespace
}  // namespace dtrain
