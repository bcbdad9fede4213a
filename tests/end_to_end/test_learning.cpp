// The demo data set is learned: from rendered JPEG files to validation accuracy far above chance.
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// 100 training and 20 validation pictures in each of ten classes, rendered once.
const fs::path& large_demo_data() {
  static const fs::path path = [] {
    const fs::path made = new_path("demo");
    const Outcome rendered =
        run({.arguments = {"make-demo", made.string(), "--train-per-class", "100", "--val-per-class", "20"}});
    if (rendered.exit_code != 0) throw std::runtime_error("make-demo failed: " + rendered.errors);
    return made;
  }();
  return path;
}

class Learning : public testing::TestWithParam<std::string> {};

// Ten classes: chance is 10 %. On 200 pictures its standard deviation is 2.1 %, so 35 % is not chance.
TEST_P(Learning, TwoRanksLearnTheDemoDataSet) {
  if (!computes_natively(GetParam())) GTEST_SKIP() << "this CPU does not compute bf16";
  const fs::path& data = large_demo_data();
  const fs::path out = new_path("run");

  const Outcome outcome = run({.ranks = 2,
                               .arguments = training_on(data, {"--global-batch", "32", "--epochs", "6", "--lr", "0.1",
                                                               "--precision", GetParam(), "--out", out.string()})});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  const auto evaluations = metrics_lines(out / "metrics.jsonl", "val_top1");
  ASSERT_EQ(evaluations.size(), 6U);
  EXPECT_GE(evaluations.back().at("val_top1").get<double>(), 0.35) << outcome;
  const Json report = read_json(out / "report.json");
  EXPECT_LT(report.at("loss_last").get<double>(), report.at("loss_first").get<double>());
}

class LearningFromServers : public testing::TestWithParam<std::pair<int, Words>> {};

// At a rate that late gradients bear (0.1, at which the others learn, is too much for them). Every worker's gradient by itself;
// the first gradients of each step; with ranks that serve, and with those that do both.
TEST_P(LearningFromServers, WorkersThatDoNotWaitForEachOtherLearnTheDemoDataSet) {
  const auto& [ranks, servers] = GetParam();
  const fs::path out = new_path("run");

  const Outcome outcome =
      run({.ranks = ranks,
           .arguments = training_on(large_demo_data(), Words{"--global-batch", "32", "--epochs", "6", "--lr", "0.02", "--out",
                                                             out.string(), "--allreduce", "ps"} +
                                                           servers)});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_GE(metrics_lines(out / "metrics.jsonl", "val_top1").back().at("val_top1").get<double>(), 0.35) << outcome;
}

INSTANTIATE_TEST_SUITE_P(Ps, LearningFromServers,
                         testing::Values(std::pair{2, Words{"--ps-mode", "async"}},
                                         std::pair{3, Words{"--parameter-servers", "1", "--ps-mode", "async"}},
                                         std::pair{3, Words{"--ps-mode", "backup"}},
                                         std::pair{4, Words{"--parameter-servers", "1", "--ps-mode", "backup"}}),
                         [](const auto& run) {
                           const Words& words = run.param.second;
                           return words.back() + (words.size() > 2 ? "_apart" : "_colocated");
                         });

INSTANTIATE_TEST_SUITE_P(In, Learning, testing::Values("fp32", "bf16"), [](const auto& precision) { return precision.param; });

// One step at an enormous rate leaves weights that are finite, and of which no image's outputs are: that is no result.
TEST(Divergence, ThatOnlyAnEvaluationMeetsIsAnErrorToo) {
  for (const int ranks : {1, 2}) {
    SCOPED_TRACE(ranks);
    const fs::path out = new_path("diverged");
    const Outcome outcome =
        run({.ranks = ranks,
             .arguments = training_on(demo_data(), {"--global-batch", "8", "--steps", "1", "--lr", "1e12", "--schedule",
                                                    "constant", "--eval-every", "1", "--out", out.string()})});

    EXPECT_EQ(outcome.exit_code, 5) << outcome;
    EXPECT_NE(outcome.errors.find("evaluating the weights after step 1"), std::string::npos) << outcome;
    EXPECT_NE(outcome.errors.find("infinite or not a number"), std::string::npos) << outcome;
    EXPECT_FALSE(fs::exists(out / "best.safetensors"));
    EXPECT_FALSE(fs::exists(out / "last.safetensors"));
    EXPECT_EQ(read_json(out / "status.json").at("exit_code"), 5);
  }
}

}  // namespace
}  // namespace dtrain
