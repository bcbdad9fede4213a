// Class folders as outputs of a network: what a file may say, and what is refused with which words.
#include <gtest/gtest.h>

#include "dtrain/error.hpp"
#include "trainer/class_indices.hpp"

namespace dtrain {
namespace {

using Indices = std::vector<std::int32_t>;

Indices parsed(std::string_view text, const std::vector<std::string>& class_names = {"ant", "bee"}, std::int64_t outputs = 10) {
  return parse_class_indices(text, "list.txt", class_names, outputs);
}

void expect_refused(std::string_view text, const std::string& says) {
  try {
    parsed(text);
    ADD_FAILURE() << "accepted: " << text;
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << error.what() << "\nlacks: " << says;
    EXPECT_NE(std::string(error.what()).find("list.txt"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("; try: "), std::string::npos) << error.what();
  }
}

TEST(ClassIndices, AreInTheOrderOfTheLabels) {
  EXPECT_EQ(parsed("bee 3\nant 7\n"), (Indices{7, 3}));
  EXPECT_EQ(parsed("ant 0\nbee 9"), (Indices{0, 9}));  // the last line may lack its end
}

TEST(ClassIndices, MayListFoldersThatTheDataSetLacks) { EXPECT_EQ(parsed("ant 1\ncat 2\nbee 3\n"), (Indices{1, 3})); }

TEST(ClassIndices, MayHaveBlanksEmptyLinesAndDosLineEnds) {
  EXPECT_EQ(parsed("\n  ant \t 1\r\n\r\nbee 3  \r\n"), (Indices{1, 3}));
  EXPECT_EQ(parsed("great white shark 2\n", {"great white shark"}), (Indices{2}));
}

TEST(ClassIndices, RefusesFoldersWithoutALine) {
  expect_refused("ant 1\n", "expected a line for each of them, found none for 'bee'");
  expect_refused("", "none for 'ant'");
}

TEST(ClassIndices, RefusesIndicesThatTheNetworkDoesNotHave) {
  expect_refused("ant 1\nbee 10\n",
                 "line 2 of the class indices list.txt: expected an index from 0 to 9, for the network has 10");
  expect_refused("ant -1\nbee 2\n", "found '-1'");
  expect_refused("ant 99999999999\nbee 2\n", "found '99999999999'");
}

TEST(ClassIndices, RefusesAFolderOrAnIndexTwice) {
  expect_refused("ant 1\nbee 2\nant 3\n",
                 "line 3 of the class indices list.txt: expected every folder once, found 'ant' again");
  expect_refused("ant 1\nbee 1\n", "expected every index once, found index 1 for 'ant' and 'bee'");
}

TEST(ClassIndices, RefusesLinesThatAreNotFolderAndIndex) {
  expect_refused("ant\nbee 1\n", "line 1 of the class indices list.txt: expected a class folder and its index, found 'ant'");
  expect_refused("ant one\nbee 1\n", "found 'one'");
  expect_refused("ant 1.5\nbee 1\n", "found '1.5'");
  expect_refused("0 ant\n1 bee\n", "found 'ant'");
}

TEST(ClassIndices, RefusesAFileThatCannotBeRead) {
  EXPECT_THROW(read_class_indices("/nonexistent/list.txt", {"ant"}, 10), DataError);
  EXPECT_THROW(read_class_indices("/", {"ant"}, 10), DataError);
}

}  // namespace
}  // namespace dtrain
