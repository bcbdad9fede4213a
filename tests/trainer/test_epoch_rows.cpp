// Epochs add up from steps, over parts of a run and over stages; lines of metrics read back as they were.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "trainer/epoch_rows.hpp"
#include "trainer/metrics.hpp"

namespace dtrain {
namespace {

MetricsLine step_line(std::int64_t step, double epoch, double loss, std::int64_t samples = 10, const std::string& stage = "") {
  return {.step = step, .epoch = epoch, .stage = stage, .loss = loss, .top1 = 0.5, .samples = samples, .seconds = 2.0};
}

MetricsLine validation_line(std::int64_t step, double epoch, double top1) {
  return {.is_validation = true, .step = step, .epoch = epoch, .loss = 1.0, .top1 = top1, .samples = 4, .seconds = 1.0};
}

TEST(EpochRows, HoldTheMeanOverTheImagesOfTheirSteps) {
  EpochRows rows;
  rows.add(step_line(1, 0.8, 2.0, 40));
  rows.add(step_line(2, 1.0, 1.0, 10));  // the short last batch counts for what it is
  rows.add(validation_line(2, 1.0, 0.75));

  const EpochRow* const row = rows.end_row();

  ASSERT_NE(row, nullptr);
  EXPECT_DOUBLE_EQ(row->loss, 1.8);
  EXPECT_EQ(row->samples, 50);
  EXPECT_EQ(row->step, 2);
  EXPECT_DOUBLE_EQ(row->seconds, 5.0);
  EXPECT_TRUE(row->is_best);
  EXPECT_EQ(epoch_text(*row),
            "epoch 1.00: training loss 1.8000, top-1 50.00 %; validation top-1 75.00 %, loss 1.0000; 5.0 s (best so far)");
  EXPECT_EQ(rows.end_row(), nullptr) << "nothing has happened since";
}

TEST(EpochRows, EndWithAnEpochAndWhereAnotherStageBegins) {
  EpochRows rows;
  rows.add(step_line(1, 0.5, 1.0, 10, "a"));
  rows.add(step_line(2, 1.0, 1.0, 10, "a"));
  rows.add(step_line(3, 1.5, 1.0, 10, "a"));
  rows.add(step_line(4, 2.0, 1.0, 10, "branch"));
  rows.add(step_line(5, 2.0, 1.0, 10, "trunk"));  // from where the branch began
  rows.end_row();

  ASSERT_EQ(rows.rows().size(), 4U);
  EXPECT_EQ(rows.rows()[0].epoch, 1.0);
  EXPECT_EQ(rows.rows()[1].epoch, 1.5);
  EXPECT_EQ(rows.rows()[2].stage, "branch");
  EXPECT_EQ(rows.rows()[3].step, 5);
}

TEST(EpochRows, KnowTheBestAndTellItFromLaterOnes) {
  EpochRows rows;
  for (std::int64_t epoch = 1; epoch <= 4; ++epoch) {
    rows.add(step_line(epoch, static_cast<double>(epoch), 1.0));
    rows.add(validation_line(epoch, static_cast<double>(epoch), epoch == 2 ? 0.8 : epoch == 4 ? std::nan("") : 0.8 - 0.1));
    rows.end_row();
  }

  EXPECT_EQ(rows.best()->step, 2);
  EXPECT_TRUE(rows.rows()[0].is_best);
  EXPECT_TRUE(rows.rows()[1].is_best);
  EXPECT_FALSE(rows.rows()[2].is_best);
  EXPECT_FALSE(rows.rows()[3].is_best) << "NaN";
}

TEST(EpochRows, SayWhereTheirBeginningIsNotKnown) {
  EpochRows rows;
  rows.mark_partial();
  rows.mark_earlier_best(0.9);
  rows.add(step_line(8, 1.0, 1.0));
  rows.add(validation_line(8, 1.0, 0.8));

  const std::string text = epoch_text(*rows.end_row());

  EXPECT_NE(text.find("(of its last 10 samples)"), std::string::npos) << text;
  EXPECT_EQ(text.find("best"), std::string::npos) << text;
  rows.add(step_line(9, 2.0, 1.0));
  EXPECT_FALSE(rows.end_row()->is_partial);
  EXPECT_TRUE(best_json(rows.best(), "b").at("epoch").is_null());
}

TEST(EpochRows, AreTableRowsWithQuotedStages) {
  EpochRows rows;
  rows.add(step_line(1, 1.0, 2.0, 10, "a, b"));
  rows.end_row();

  EXPECT_EQ(epochs_csv(rows.rows()),
            "epoch,step,stage,samples,train_loss,train_top1,val_loss,val_top1,val_top5,lr,seconds,best\n"
            "1,1,\"a, b\",10,2,0.5,,,,0,2,0\n");
}

TEST(EpochRows, OfARunThatGoesOnComeFromItsMetrics) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "dtrain_epochs.jsonl";
  const StepReport first{.step = 1, .epoch = 0.5, .loss = 0.1, .top1 = 1.0 / 3.0, .samples = 10, .step_s = 2.0};
  const StepReport second{.step = 2, .epoch = 1.0, .loss = 0.7, .top1 = 0.5, .samples = 10, .step_s = 1.0};
  {
    MetricsFile metrics(path, 0);
    metrics.write(first, "");
    metrics.write(second, "");
  }
  std::ofstream(path, std::ios::app) << "{\"step\": 3, \"ep";  // killed

  EpochRows whole, resumed;
  whole.add(line_of(first, ""));
  whole.add(line_of(second, ""));
  MetricsFile metrics(path, 1, &resumed);
  resumed.add(line_of(second, ""));

  EXPECT_EQ(resumed.end_row()->loss, whole.end_row()->loss) << "to the bit";
}

TEST(MetricsLines, ReadBackWhatIsNoNumber) {
  const auto line = parse_metrics_line(R"({"step":3,"epoch":0.6,"loss":"nan","top1":"-nan","lr":0.1,"samples":8,"step_s":1})");

  ASSERT_TRUE(line);
  EXPECT_TRUE(std::isnan(line->loss));
  EXPECT_EQ(line->samples, 8);
  for (const char* text : {"", "{", "3", "[]", "{}", R"({"step":1})", R"({"step":"x","epoch":1,"loss":1,"top1":1})"}) {
    EXPECT_FALSE(parse_metrics_line(text)) << text;
  }
}

}  // namespace
}  // namespace dtrain
