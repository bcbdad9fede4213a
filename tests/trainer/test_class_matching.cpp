// Folders and outputs by name: shuffled, partial, numbers, and what is refused.
#include <gtest/gtest.h>

#include "dtrain/error.hpp"
#include "trainer/class_matching.hpp"

namespace dtrain {
namespace {

using Names = std::vector<std::string>;

std::string fault_of(const ClassMatchRequest& request) {
  try {
    (void)match_classes(request);
  } catch (const DataError& error) {
    return error.what();
  }
  return {};
}

TEST(ClassMatching, GoesByNameWhateverTheOrderAndTheCount) {
  const Names names{"ant", "bee", "wasp"};

  EXPECT_EQ(match_classes({.folders = {"ant", "bee", "wasp"}, .names = names, .outputs = 3, .file = "w"}).indices,
            (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_EQ(match_classes({.folders = {"wasp", "ant"}, .names = names, .outputs = 3, .file = "w"}).indices,
            (std::vector<std::int32_t>{2, 0}));
  EXPECT_EQ(match_classes({.folders = {"bee"}, .names = names, .outputs = 5, .file = "w"}).text,
            "classes: 1 of 5 by the names in w");
  EXPECT_EQ(match_classes({.folders = {"caf\xE9"}, .names = {"caf\\xE9"}, .outputs = 1, .file = "w"}).indices,
            (std::vector<std::int32_t>{0}));
}

TEST(ClassMatching, TakesNumbersForWhatTheyAre) {
  const Names padded{"00", "01", "02", "10"};

  const ClassMatch match = match_classes({.folders = {"0", "1", "10", "2"}, .names = padded, .outputs = 4, .file = "w"});
  EXPECT_EQ(match.indices, (std::vector<std::int32_t>{0, 1, 3, 2}));
  EXPECT_NE(match.text.find("as numbers"), std::string::npos);
  EXPECT_EQ(match_classes({.folders = {"010"}, .names = padded, .outputs = 4, .file = "w"}).indices,
            (std::vector<std::int32_t>{3}));
  // "1" and "01" are two folders there: which one is meant cannot be told.
  EXPECT_NE(fault_of({.folders = {"1", "01"}, .names = padded, .outputs = 4, .file = "w"}).find("1 of 2 with other names: 1"),
            std::string::npos);
}

TEST(ClassMatching, RefusesFoldersOfOtherNames) {
  const std::string fault = fault_of({.folders = {"cats", "dogs"}, .names = {"ants", "bees"}, .outputs = 2, .file = "w"});

  EXPECT_NE(fault.find("ants, bees"), std::string::npos) << fault;
  EXPECT_NE(fault.find("2 of 2 with other names: cats, dogs"), std::string::npos) << fault;
  EXPECT_NE(fault.find("--class-indices"), std::string::npos) << fault;
  EXPECT_FALSE(fault_of({.folders = {"ants", "dogs"}, .names = {"ants", "bees"}, .outputs = 2, .file = "w"}).empty());
  EXPECT_FALSE(fault_of({.folders = {"Ants"}, .names = {"ants", "bees"}, .outputs = 2, .file = "w"}).empty());
}

TEST(ClassMatching, WithoutNamesAssumesAndSaysSoOrRefuses) {
  const ClassMatch match = match_classes({.folders = {"a", "b"}, .names = {}, .outputs = 2, .file = "w"});
  EXPECT_EQ(match.indices, (std::vector<std::int32_t>{0, 1}));
  EXPECT_TRUE(match.is_assumed);

  EXPECT_NE(fault_of({.folders = {"a", "b", "c"}, .names = {}, .outputs = 10, .file = "w"}).find("--class-indices"),
            std::string::npos);
  EXPECT_FALSE(fault_of({.folders = {"a", "b", "c"}, .names = {}, .outputs = 2, .file = "w"}).empty());
}

TEST(ClassMatching, OrdersTheSameClasses) {
  EXPECT_EQ(order_of_same_classes({"b", "a", "c"}, {"a", "b", "c"}), (std::vector<std::int64_t>{1, 0, 2}));
  EXPECT_EQ(order_of_same_classes({"1", "2", "10"}, {"01", "10", "02"}), (std::vector<std::int64_t>{0, 2, 1}));
  EXPECT_TRUE(order_of_same_classes({"a", "b"}, {"a", "c"}).empty());
  EXPECT_TRUE(order_of_same_classes({"a", "b", "c"}, {"a", "b"}).empty());
  EXPECT_TRUE(order_of_same_classes({}, {}).empty());
}

TEST(ClassMatching, ListsTheFirstThreeAndTheLast) {
  EXPECT_EQ(class_list({"a", "b", "c", "d"}), "a, b, c, d");
  EXPECT_EQ(class_list({"a", "b", "c", "d", "e"}), "a, b, c, …, e");
  EXPECT_EQ(class_list({"a"}), "a");
  EXPECT_EQ(class_list({}), "");
}

}  // namespace
}  // namespace dtrain
