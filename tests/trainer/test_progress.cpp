// Lines of progress fit the terminal; counts have the right form.
#include <gtest/gtest.h>

#include "dtrain/error.hpp"
#include "trainer/ensemble_report.hpp"
#include "trainer/progress.hpp"

namespace dtrain {
namespace {

const ProgressFacts kFacts{.epoch = 12.34,
                           .epochs = 90.0,
                           .step = 12345,
                           .steps = 450360,
                           .loss = 2.3026,
                           .top1 = 0.101,
                           .learning_rate = 0.1,
                           .images_per_s = 1234.5,
                           .left_s = 3723.0};

TEST(ProgressLine, IsWholeWhereNobodyLimitsIt) {
  EXPECT_EQ(progress_line(kFacts, 0),
            "epoch 12.34/90  step 12345/450360  loss 2.3026  top-1  10.1 %  lr 0.1  1234.5 images/s  left 1:02:03");
  EXPECT_EQ(progress_line(kFacts, 200), progress_line(kFacts, 0));
}

TEST(ProgressLine, FitsEveryWidth) {
  ProgressFacts facts = kFacts;
  for (const char* stage : {"", "warm-up", "冷却", "größer"}) {
    facts.stage = stage;
    for (int columns = 1; columns <= 130; ++columns) {
      EXPECT_LE(columns_of(progress_line(facts, columns)), columns) << progress_line(facts, columns);
    }
  }
}

TEST(ProgressLine, LosesTheLeastImportantFirst) {
  EXPECT_EQ(progress_line(kFacts, 79), "epoch 12.34/90  loss 2.3026  top-1  10.1 %  1234.5 images/s  left 1:02:03");
  EXPECT_EQ(progress_line(kFacts, 60), "epoch 12.34/90  loss 2.3026  top-1  10.1 %  left 1:02:03");
  EXPECT_EQ(progress_line(kFacts, 40), "epoch 12.34/90  loss 2.3026");
  EXPECT_EQ(progress_line(kFacts, 10), "epoch 12.3");
}

TEST(Columns, AreThoseThatATerminalTakes) {
  EXPECT_EQ(columns_of("größer"), 6);
  EXPECT_EQ(columns_of("冷却"), 4);
  EXPECT_EQ(columns_of("🚀"), 2);
  EXPECT_EQ(columns_of("e\u0301"), 1);
}

TEST(ProgressLine, NeverCutsALetter) {
  ProgressFacts facts = kFacts;
  facts.stage = "冷却";
  // Only the stage would be left of this one.
  for (int columns = 1; columns < 14; ++columns) {
    const std::string line = progress_line(facts, columns);
    EXPECT_TRUE(line.empty() || (static_cast<unsigned char>(line.back()) & 0xC0) != 0xC0) << line;
  }
}

TEST(Counted, HasTheFormOfTheNumber) {
  EXPECT_EQ(counted(0, "class", "classes"), "0 classes");
  EXPECT_EQ(counted(1, "class", "classes"), "1 class");
  EXPECT_EQ(counted(2, "rank"), "2 ranks");
  EXPECT_EQ(counted(1, "step"), "1 step");
}

TEST(ScoresText, HasTop5FromSixClassesOn) {
  EvaluationResult result{.sums = {.loss = 4.0, .top1 = 1, .top5 = 2, .samples = 2}, .classes = 6};

  EXPECT_EQ(scores_text(result), "top-1 50.00 %  top-5 100.00 %  loss 2.0000");
  EXPECT_EQ(top5_json(result), 1.0);
  for (const std::int64_t classes : {2, 5}) {
    result.classes = classes;
    EXPECT_EQ(scores_text(result), "top-1 50.00 %  loss 2.0000");
    EXPECT_TRUE(top5_json(result).is_null());
  }
}

}  // namespace
}  // namespace dtrain
