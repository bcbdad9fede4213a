// oneDNN's instruction sets as masks, and their names; see cpu.hpp.
#include "dtrain/cpu.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstdio>

#include "src/nn/onednn_versions.hpp"

namespace dtrain {
namespace {

using nn::kInstructionSets;

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
