// What is said of a run that does not learn: once, and not of one that does.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "trainer/learning_watch.hpp"

namespace dtrain {
namespace {

TEST(LearningWatch, WarnsOfAFirstLossAboveThreeTimesThatOfGuessing) {
  EXPECT_NE(LearningWatch(2, 10).after_step(24.2).find("24.2, is more than 3 times"), std::string::npos);
  EXPECT_NE(LearningWatch(1000, 10).after_step(3.01 * std::log(1000.0)), "");
  EXPECT_EQ(LearningWatch(1000, 10).after_step(2.99 * std::log(1000.0)), "");
  EXPECT_EQ(LearningWatch(2, 10).after_step(std::nan("")), "") << "which ends the run by itself";

  LearningWatch watch(2, 10);
  EXPECT_EQ(watch.after_step(0.7), "");
  EXPECT_EQ(watch.after_step(24.2), "") << "not the first";
}

TEST(LearningWatch, WarnsOnceOfALossThatRunsAway) {
  LearningWatch watch(10, 4);

  EXPECT_EQ(watch.after_step(2.3), "");
  EXPECT_EQ(watch.after_step(200.0), "");
  EXPECT_NE(watch.after_step(1e20).find("the loss has grown to 1e+20"), std::string::npos);
  EXPECT_EQ(watch.after_step(1e21), "") << "once is enough";
}

TEST(LearningWatch, WarnsOnceOfALossThatStaysAtThatOfGuessingForAnEpoch) {
  LearningWatch watch(5, 4);
  const double chance = std::log(5.0);
  std::vector<int> warned;

  for (int step = 0; step < 12; ++step) {
    const double loss = step == 2 ? chance + 2e-4 : chance + 0.9e-4;
    if (!watch.after_step(loss).empty()) warned.push_back(step);
  }

  EXPECT_EQ(warned, (std::vector<int>{6})) << "four steps after that which was elsewhere";
}

TEST(LearningWatch, TakesMoreThanOneStepForAnEpoch) {
  LearningWatch watch(5, 1);
  EXPECT_EQ(watch.after_step(std::log(5.0)), "");
  EXPECT_EQ(watch.after_step(std::log(5.0)), "");
  EXPECT_NE(watch.after_step(std::log(5.0)), "");
}

TEST(LearningWatch, WarnsOnceOfAValidationInWhichAllImagesAreTakenForOneClass) {
  LearningWatch watch(10, 4);
  const std::vector<std::string> names{"ant", "bee", "cow", "cat"};
  const std::string warning = watch.after_validation({.images = 20, .hits = 2, .only_class = 3, .class_names = names});

  EXPECT_NE(warning.find("all 20 images are taken for class 3 (cat)"), std::string::npos) << warning;
  EXPECT_EQ(watch.after_validation({.images = 20, .hits = 2, .only_class = 3}), "") << "said already";
  EXPECT_EQ(LearningWatch(10, 4).after_validation({.images = 20, .hits = 2}), "");
  EXPECT_EQ(LearningWatch(10, 4).after_validation({.images = 20, .hits = 20, .only_class = 3}), "") << "they are of that class";
  EXPECT_EQ(LearningWatch(10, 4).after_validation({.images = 1, .hits = 0, .only_class = 3}), "");
}

TEST(PredictedRange, IsOfTheLargestLogitsOfAllBatches) {
  PredictedRange range;
  range.add(std::vector<float>{0, 1, 0, /**/ 0, 5, 2}, 3);
  EXPECT_EQ(range.lowest, 1);
  EXPECT_EQ(range.highest, 1);

  range.add(std::vector<float>{7, 1, 0, /**/ 0, 5, 5}, 3);
  EXPECT_EQ(range.lowest, 0);
  EXPECT_EQ(range.highest, 1) << "of equal logits the lower class";
}

}  // namespace
}  // namespace dtrain
