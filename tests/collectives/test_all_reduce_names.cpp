// Names of the all-reduce algorithms, known, planned and unknown.
#include <gtest/gtest.h>

#include <string>

#include "collectives/all_reduce.hpp"
#include "dtrain/error.hpp"

namespace dtrain {
namespace {

std::string refusal_of(const std::string& name) {
  try {
    parse_all_reduce(name);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(AllReduceNames, AreReadAndWritten) {
  for (const char* name : {"auto", "shm", "ring", "mpi", "none"}) EXPECT_EQ(to_text(parse_all_reduce(name)), name);
  EXPECT_EQ(parse_all_reduce("auto"), AllReduceAlgorithm::automatic);
}

TEST(AllReduceNames, AreRefusedWithTheKnownOnesWhenUnknown) {
  const std::string text = refusal_of("rign");

  EXPECT_NE(text.find("\"rign\""), std::string::npos) << text;
  EXPECT_NE(text.find("auto, shm, ring, mpi, none"), std::string::npos) << text;
}

TEST(AllReduceNames, AreRefusedWithSomethingToUseInsteadWhenNotBuiltYet) {
  for (const char* name : {"halving-doubling", "hierarchical", "ps"}) {
    const std::string text = refusal_of(name);

    EXPECT_NE(text.find("not built yet"), std::string::npos) << text;
    EXPECT_NE(text.find("try: "), std::string::npos) << text;
    EXPECT_NE(text.find("ring"), std::string::npos) << text;
  }
}

TEST(AllReduceNames, AreRefusedWhenEmpty) { EXPECT_NE(refusal_of(""), ""); }

}  // namespace
}  // namespace dtrain
