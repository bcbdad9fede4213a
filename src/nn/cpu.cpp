// oneDNN's instruction sets as masks, and their names; see cpu.hpp.
#include "dtrain/cpu.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstdio>
#include <dnnl.hpp>
#include <utility>

namespace dtrain {
namespace {

/// A set contains another when its mask does.
constexpr std::array<std::pair<const char*, dnnl::cpu_isa>, 8> kInstructionSets{{
    {"SSE41", dnnl::cpu_isa::sse41},
    {"AVX", dnnl::cpu_isa::avx},
    {"AVX2", dnnl::cpu_isa::avx2},
    {"AVX2_VNNI", dnnl::cpu_isa::avx2_vnni},
    {"AVX512_CORE", dnnl::cpu_isa::avx512_core},
    {"AVX512_CORE_VNNI", dnnl::cpu_isa::avx512_core_vnni},
    {"AVX512_CORE_BF16", dnnl::cpu_isa::avx512_core_bf16},
    {"AVX512_CORE_AMX", dnnl::cpu_isa::avx512_core_amx},
}};

unsigned mask_of(dnnl::cpu_isa set) { return static_cast<unsigned>(set); }

unsigned mask_named(const std::string& name) {
  for (const auto& [known, set] : kInstructionSets) {
    if (name == known) return mask_of(set);
  }
  unsigned mask = 0;  // of what is no number, nothing is in common
  if (name.starts_with("0x")) std::from_chars(name.data() + 2, name.data() + name.size(), mask, 16);
  return mask;
}

}  // namespace

std::string onednn_version() {
  const dnnl_version_t& version = *dnnl_version();
  return std::to_string(version.major) + "." + std::to_string(version.minor) + "." + std::to_string(version.patch);
}

std::string instruction_set() {
  const unsigned mask = mask_of(dnnl::get_effective_cpu_isa());
  for (const auto& [name, set] : kInstructionSets) {
    if (mask == mask_of(set)) return name;
  }
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "0x%x", mask);
  return text.data();
}

std::string common_instruction_set(const std::vector<std::string>& sets) {
  unsigned common = ~0u;
  for (const std::string& set : sets) common &= mask_named(set);
  std::string richest;
  int most = 0;
  for (const auto& [name, set] : kInstructionSets) {
    const unsigned mask = mask_of(set);
    if ((mask & common) != mask || std::popcount(mask) <= most) continue;
    most = std::popcount(mask);
    richest = name;
  }
  return richest;
}

}  // namespace dtrain
