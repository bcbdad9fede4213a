// Predictions counted class by class, and the table of which classes are taken for which.
#include <gtest/gtest.h>

#include <sstream>

#include "trainer/predictions.hpp"

namespace dtrain {
namespace {

using Names = std::vector<std::string>;

const std::vector<Prediction> kPredictions{{0, 0}, {1, 2}, {1, 1}, {1, 0}, {0, -1}, {1, 2}};

std::string confusion(const Names& folders, const Names& outputs) {
  std::ostringstream text;
  write_confusion(text, kPredictions, folders, outputs);
  return text.str();
}

TEST(Predictions, AreCountedByClass) {
  const auto classes = accuracy_by_class(kPredictions, 3, {});

  ASSERT_EQ(classes.size(), 3U);
  EXPECT_EQ(classes[0].samples, 2);
  EXPECT_EQ(classes[0].top1, 1);
  EXPECT_EQ(classes[1].samples, 4);
  EXPECT_EQ(classes[1].top1, 1);
  EXPECT_EQ(classes[2].samples, 0);
}

TEST(Predictions, AreRightWhereTheyAreTheClassOfTheFolder) {
  const std::vector<std::int32_t> indices{1, 2};

  const auto classes = accuracy_by_class(kPredictions, 2, indices);

  EXPECT_EQ(classes[0].top1, 0);
  EXPECT_EQ(classes[1].top1, 2);
}

TEST(Outputs, AreNamedByTheirFoldersOrElseByTheirNumbers) {
  EXPECT_EQ(names_of_outputs({"ant", "bee"}, {}, 3), (Names{"ant", "bee", "class 2"}));
  EXPECT_EQ(names_of_outputs({"ant", "bee"}, std::vector<std::int32_t>{3, 1}, 4), (Names{"class 0", "bee", "class 2", "ant"}));
}

TEST(Confusion, HasARowForEachFolderAndAColumnForEachOutput) {
  EXPECT_EQ(confusion({"ant", "bee", "cat"}, {"ant", "bee", "class 2"}),
            "true/predicted,ant,bee,class 2\n"
            "ant,1,0,0\n"
            "bee,1,1,2\n"
            "cat,0,0,0\n");
}

TEST(Confusion, PutsNamesIntoQuotesThatWouldBreakTheTable) {
  EXPECT_EQ(confusion({"a,b", "\"c\""}, {"a,b", "\"c\"", "d e"}),
            "true/predicted,\"a,b\",\"\"\"c\"\"\",d e\n"
            "\"a,b\",1,0,0\n"
            "\"\"\"c\"\"\",1,1,2\n");
}

}  // namespace
}  // namespace dtrain
