// The two types of activations: f32, and bf16, which is the upper half of an f32. Arithmetic is in f32 either way.
#pragma once

#include <cstdint>

namespace dtrain::nn {

struct BFloat16 {
  std::uint16_t bits;
};

// Always inlined: no copy of these, compiled for one instruction set, may serve code for another.

[[gnu::always_inline]] inline float to_float(float value) { return value; }
[[gnu::always_inline]] inline float to_float(BFloat16 value) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(value.bits) << 16);
}

[[gnu::always_inline]] inline void assign(float& to, float value) { to = value; }
/// Rounds to the nearest, ties to even; NaN stays NaN.
[[gnu::always_inline]] inline void assign(BFloat16& to, float value) {
  const auto bits = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);
  to.bits = static_cast<std::uint16_t>((value == value ? rounded : bits | 0x400000u) >> 16);
}

}  // namespace dtrain::nn
