// Names of the all-reduce algorithms and tables of them, read, written and refused.
#include <gtest/gtest.h>

#include <string>

#include "dtrain/error.hpp"
#include "schedules/algorithms.hpp"

namespace dtrain {
namespace {

using enum AllReduceAlgorithm;

std::string refusal_of(const std::string& text) {
  try {
    parse_algorithm_table(text);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(AllReduceNames, AreReadAndWritten) {
  for (const char* name : {"auto", "shm", "ring", "halving-doubling", "hierarchical", "mpi", "none"}) {
    EXPECT_EQ(to_text(parse_all_reduce(name)), name);
    EXPECT_EQ(to_text(parse_algorithm_table(name)), name);
  }
  EXPECT_EQ(parse_all_reduce("auto"), automatic);
}

TEST(AllReduceNames, AreRefusedWithTheKnownOnesWhenUnknown) {
  const std::string text = refusal_of("rign");

  EXPECT_NE(text.find("\"rign\""), std::string::npos) << text;
  EXPECT_NE(text.find("auto, shm, ring, halving-doubling, hierarchical, mpi, none"), std::string::npos) << text;
  EXPECT_NE(refusal_of(""), "");
}

TEST(AlgorithmTable, ChoosesByBytes) {
  const AlgorithmTable table = parse_algorithm_table("halving-doubling:0-64K;ring:64K-1M;hierarchical:1M-max");

  EXPECT_EQ(table.choose(0), halving_doubling);
  EXPECT_EQ(table.choose(65535), halving_doubling);
  EXPECT_EQ(table.choose(65536), ring);
  EXPECT_EQ(table.choose(1 << 20), hierarchical);
  EXPECT_EQ(table.choose(std::int64_t{1} << 40), hierarchical);
  EXPECT_TRUE(table.uses(ring));
  EXPECT_FALSE(table.uses(shm));
  EXPECT_EQ(AlgorithmTable(ring).choose(5), ring);
}

TEST(AlgorithmTable, IsWrittenAsItIsRead) {
  for (const char* text : {"halving-doubling:0-64K;hierarchical:64K-max", "mpi:0-1000;ring:1000-3M;shm:3M-2G;mpi:2G-max"}) {
    EXPECT_EQ(to_text(parse_algorithm_table(text)), text);
  }
}

TEST(AlgorithmTable, IsRefusedWithGapsOverlapsAndOddSizes) {
  EXPECT_NE(refusal_of("ring:0-64K;mpi:128K-max").find("begins at 64K"), std::string::npos);
  EXPECT_NE(refusal_of("ring:0-64K;mpi:32K-max").find("begins at 64K"), std::string::npos);
  EXPECT_NE(refusal_of("ring:1K-max").find("begins at 0"), std::string::npos);
  EXPECT_NE(refusal_of("ring:0-64K").find("ends at max"), std::string::npos);
  EXPECT_NE(refusal_of("ring:0-0;mpi:0-max").find("ends after 0"), std::string::npos);
  EXPECT_NE(refusal_of("ring:0-64X;mpi:64X-max").find("64X"), std::string::npos);
  EXPECT_NE(refusal_of("ring:0-99999999999999999999;mpi:0-max").find("a size in bytes"), std::string::npos);
  EXPECT_NE(refusal_of("ring:0-9999999999G;mpi:0-max").find("a size in bytes"), std::string::npos);
  EXPECT_NE(refusal_of("auto:0-max").find("algorithms in the rows"), std::string::npos);
  EXPECT_NE(refusal_of("ring:;").find("rows algorithm:from-to"), std::string::npos);
  EXPECT_NE(refusal_of("sum:0-max").find("\"sum\""), std::string::npos);
}

}  // namespace
}  // namespace dtrain
