// Ranks that call themselves different things are told so, all of them.
#include <gtest/gtest.h>

#include <string>

#include "collectives/first_words.hpp"
#include "dtrain/error.hpp"

namespace dtrain {
namespace {

TEST(FirstWords, AreTheSameOnRanksOfOneProgram) {
  EXPECT_NO_THROW(require_same_words({{"version", "1.2.3"}, {"library", std::string(5000, 'x')}}, "one build"));
  EXPECT_NO_THROW(require_same_words({}, "one build"));
}

TEST(FirstWords, ThatDifferAreAnErrorOnEveryRankThatNamesThemAndTheRemedy) {
  const Communicator communicator;
  const bool is_last = communicator.rank() == communicator.size() - 1;
  std::string text;

  try {
    require_same_words({{"version", is_last ? "1.2.4" : "1.2.3"}, {"library", "7"}}, "one build");
  } catch (const CommError& error) {
    text = error.what();
  }

  EXPECT_EQ(text.empty(), communicator.size() == 1) << text;
  if (communicator.size() == 1) return;
  EXPECT_NE(text.find("version: \"1.2.3\" on rank 0"), std::string::npos) << text;
  EXPECT_NE(text.find("\"1.2.4\" on rank " + std::to_string(communicator.size() - 1)), std::string::npos) << text;
  EXPECT_NE(text.find("try: one build"), std::string::npos) << text;
  EXPECT_EQ(text.find("library"), std::string::npos) << text;
}

TEST(FirstWords, MayBeLongAndManyWhereTheVersionIsOne) {
  const Communicator communicator;
  const int last = communicator.size() - 1;
  std::vector<Communicator::NamedValue> words;
  for (int i = 0; i < 100; ++i) words.push_back({"--option-" + std::to_string(i), std::string(50, 'x')});
  EXPECT_EQ(find_different_words(words), "");
  EXPECT_EQ(find_different_words({}), "");
  if (communicator.rank() == last) words[77].value += std::string(5000, 'y');

  const std::string text = find_different_words(words);

  EXPECT_EQ(text.empty(), communicator.size() == 1) << text;
  if (communicator.size() == 1) return;
  EXPECT_EQ(text.find("--option-77: \""), 0U) << text;
  EXPECT_NE(text.find("ranks that differ: " + std::to_string(last) + " ("), std::string::npos) << text;
}

TEST(FirstWords, ThatAreMoreOrFewerAreNoticed) {
  const Communicator communicator;
  std::vector<Communicator::NamedValue> words{{"version", "1.2.3"}};
  if (communicator.rank() > 0) words.push_back({"compiler", "13"});

  if (communicator.size() == 1) {
    EXPECT_NO_THROW(require_same_words(words, "one build"));
  } else {
    EXPECT_THROW(require_same_words(words, "one build"), CommError);
  }
}

}  // namespace
}  // namespace dtrain
