// The demo data set is learned: from rendered JPEG files to validation accuracy far above chance.
#include <gtest/gtest.h>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

// Ten classes: chance is 10 %. On 200 pictures its standard deviation is 2.1 %, so 35 % is not chance.
TEST(Learning, TwoRanksLearnTheDemoDataSet) {
  const fs::path data = new_path("demo");
  const fs::path out = new_path("run");
  const Outcome rendered =
      run({.arguments = {"make-demo", data.string(), "--train-per-class", "100", "--val-per-class", "20"}});
  ASSERT_EQ(rendered.exit_code, 0) << rendered;

  const Outcome outcome =
      run({.ranks = 2,
           .arguments = training_on(data, {"--global-batch", "32", "--epochs", "6", "--lr", "0.1", "--out", out.string()})});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  const auto evaluations = metrics_lines(out / "metrics.jsonl", "val_top1");
  ASSERT_EQ(evaluations.size(), 6U);
  EXPECT_GE(evaluations.back().at("val_top1").get<double>(), 0.35) << outcome;
  const Json report = read_json(out / "report.json");
  EXPECT_LT(report.at("loss_last").get<double>(), report.at("loss_first").get<double>());
}

}  // namespace
}  // namespace dtrain
