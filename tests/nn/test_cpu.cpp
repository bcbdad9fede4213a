// Names of instruction sets, and what sets have in common.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "dtrain/cpu.hpp"

namespace dtrain {
namespace {

TEST(InstructionSets, HaveInCommonTheRichestThatAllContain) {
  EXPECT_EQ(common_instruction_set({"AVX512_CORE_BF16", "AVX2"}), "AVX2");
  EXPECT_EQ(common_instruction_set({"AVX512_CORE_AMX", "AVX512_CORE_BF16", "AVX512_CORE_VNNI"}), "AVX512_CORE_VNNI");
  EXPECT_EQ(common_instruction_set({"AVX2_VNNI", "AVX512_CORE"}), "AVX2");  // neither contains the other
  EXPECT_EQ(common_instruction_set({"AVX2", "AVX2"}), "AVX2");
  EXPECT_EQ(common_instruction_set({"0xe7", "AVX512_CORE"}), "AVX512_CORE");
  EXPECT_EQ(common_instruction_set({"AVX2", "0x0"}), "");
  EXPECT_EQ(common_instruction_set({"AVX2", "NEON"}), "");
}

TEST(InstructionSets, OfThisCpuRespectTheEnvironment) {
  const char* const most = std::getenv("ONEDNN_MAX_CPU_ISA");

  ASSERT_FALSE(instruction_set().empty());
  if (most != nullptr && std::string(most) == "AVX2") {
    EXPECT_EQ(common_instruction_set({instruction_set(), "AVX2"}), instruction_set());
  }
}

TEST(OneDnn, HasAVersionOfThreeNumbers) {
  int major = 0, minor = 0, patch = 0;
  EXPECT_EQ(std::sscanf(onednn_version().c_str(), "%d.%d.%d", &major, &minor, &patch), 3) << onednn_version();
  EXPECT_GE(major, 2);
}

}  // namespace
}  // namespace dtrain
