// The lines about a run's images: folders, counts, classes, what was left out, preprocessing; and the warnings.
#include <gtest/gtest.h>

#include <algorithm>

#include "trainer/data_summary.hpp"

namespace dtrain {
namespace {

using Lines = std::vector<std::string>;

DataSummary splits() {
  DataSummary data;
  data.training = {.folder = "D/train", .images = 80, .left_out = {}, .nested = {}, .empty_classes = {}};
  data.validation = {.folder = "D/val", .images = 1, .left_out = {}, .nested = {}, .empty_classes = {}};
  data.classes = {"a", "b", "c", "d", "e"};
  return data;
}

bool any_has(const Lines& lines, const std::string& text) {
  return std::ranges::any_of(lines, [&](const std::string& line) { return line.find(text) != std::string::npos; });
}

TEST(DataSummary, SaysFoldersCountsAndClasses) {
  EXPECT_EQ(data_lines(splits()),
            (Lines{"training      D/train: 80 images", "validation    D/val: 1 image", "classes       5: a, b, c, …, e"}));
}

TEST(DataSummary, SaysHowImagesReachTheNetwork) {
  TransformOptions training{.augmentation = Augmentation::standard, .resize = 256, .crop = 224};
  const TransformOptions evaluation{.resize = 256, .crop = 224};

  const Lines lines = preparation_lines(training, evaluation);

  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "augmentation  a random part (8 % to 100 % of the area) resized to 224, random mirror");
  EXPECT_TRUE(any_has(lines, "preprocessing: resize 256 (bilinear), crop 224, mean 0.485"));
  training.augmentation = Augmentation::none;
  EXPECT_EQ(preparation_lines(training, evaluation)[0], "augmentation  as in evaluation");
}

TEST(DataSummary, SaysWhyNothingIsValidatedAndWhatIsNotUsed) {
  DataSummary data = splits();
  data.validation.folder.clear();
  data.no_validation = "there is no folder";
  data.unused = {"extra", "test"};

  EXPECT_TRUE(any_has(data_lines(data), "no validation: there is no folder"));
  EXPECT_TRUE(any_has(data_lines(data), "not used      extra; test"));
}

TEST(DataSummary, AnEvaluationHasNoTraining) {
  DataSummary data = splits();
  data.training = {};

  EXPECT_EQ(data_lines(data).front(), "evaluation    D/val: 1 image");
}

TEST(DataSummary, CountsWhatWasLeftOutAndWarnsOfImagesOnce) {
  DataSummary data = splits();
  data.training.left_out.images["WebP"] = {.count = 12, .example = "a/1.webp"};
  data.training.left_out.other_files = {.count = 1, .example = "labels.csv"};
  data.training.left_out.system = {.count = 2, .example = "@eaDir"};
  data.validation.left_out.images["WebP"] = {.count = 3, .example = "b/9.webp"};
  data.validation.left_out.images["BMP"] = {.count = 1, .example = "b/9.bmp"};

  EXPECT_TRUE(any_has(data_lines(data),
                      "left out      of training: images of other formats: 12 WebP (such as a/1.webp); 1 other file, "
                      "such as labels.csv; 2 hidden or system entries, such as @eaDir"));
  EXPECT_TRUE(
      any_has(data_lines(data), "left out      of validation: images of other formats: 1 BMP (such as b/9.bmp), 3 WebP"));
  EXPECT_EQ(data_warnings(data),
            (Lines{"16 images are left out, of formats that are not read: 1 BMP (such as b/9.bmp), 15 WebP (such as "
                   "a/1.webp); convert to JPEG or PNG what is to be used"}));
}

TEST(DataSummary, OtherFilesAreNoAlarm) {
  DataSummary data = splits();
  data.training.left_out.other_files = {.count = 100, .example = "a/1.txt"};

  EXPECT_EQ(data_warnings(data), Lines{});
}

TEST(DataSummary, WarnsOfImagesOutsideClassFoldersAndOfClassesWithoutAnyOfTheirOwn) {
  DataSummary data = splits();
  data.training.left_out.outside = {.count = 1, .example = "stray.jpg"};
  data.training.nested = {.count = 80, .example = "a/deep/1.jpg"};

  EXPECT_TRUE(any_has(data_warnings(data), "1 image lies in no class folder and is left out, such as stray.jpg"));
  EXPECT_TRUE(any_has(data_warnings(data), "no class folder in D/train holds images itself"));
  data.training.nested.count = 79;
  EXPECT_FALSE(any_has(data_warnings(data), "holds images itself"));
}

}  // namespace
}  // namespace dtrain
