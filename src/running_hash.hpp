// The hash of files and parameters, fed piece by piece. hash_bytes (dtrain/parameters.hpp) is the same of one piece.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "dtrain/random.hpp"

namespace dtrain {

// Note [The hash detects every change within one word]
// Definition, on 64-bit little-endian words, the last one filled up with zero bytes: word j goes to lane j mod 4:
//   lane ← (lane ⊕ word)·K;  lane ← lane ⊕ (lane ≫ 32)          K odd; lanes start at kLaneStart
// and at the end, with mix = mix_bits of random.hpp:
//   hash ← mix(mix(seed) ⊕ length in bytes);  hash ← mix(hash ⊕ lane_i) for i = 0, 1, 2, 3
// Every one of these steps is a bijection in each of its arguments. So two inputs of equal length that differ within one
// aligned word (one flipped bit, say) never have the same hash, and neither have chains that go on from different
// hashes; all other differences escape with probability about 2^-64. Four lanes hide the latency of the multiplication.
class RunningHash {
 public:
  static constexpr std::size_t kStride_bytes = 4 * sizeof(std::uint64_t);

  /// Pieces may end anywhere.
  void absorb(std::span<const std::byte> bytes) {
    size_bytes_ += bytes.size();
    if (carried_ > 0) {
      const std::size_t taken = std::min(bytes.size(), kStride_bytes - carried_);
      std::copy_n(bytes.begin(), taken, carry_.begin() + static_cast<std::ptrdiff_t>(carried_));
      carried_ += taken;
      bytes = bytes.subspan(taken);
      if (carried_ < kStride_bytes) return;
      absorb_words(carry_.data(), lanes_.size());
      carried_ = 0;
    }
    std::size_t at = 0;
    for (; at + kStride_bytes <= bytes.size(); at += kStride_bytes) absorb_words(bytes.data() + at, lanes_.size());
    carried_ = bytes.size() - at;
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), carried_, carry_.begin());
  }

  std::uint64_t value(std::uint64_t seed) const {
    RunningHash whole = *this;
    if (carried_ > 0) {
      std::fill(whole.carry_.begin() + static_cast<std::ptrdiff_t>(carried_), whole.carry_.end(), std::byte{0});
      whole.absorb_words(whole.carry_.data(), (carried_ + sizeof(std::uint64_t) - 1) / sizeof(std::uint64_t));
    }
    std::uint64_t hash = mix_bits(mix_bits(seed) ^ size_bytes_);
    for (const std::uint64_t lane : whole.lanes_) hash = mix_bits(hash ^ lane);
    return hash;
  }

 private:
  void absorb_words(const std::byte* words, std::size_t count) {
    static_assert(std::endian::native == std::endian::little, "hashes are defined on little-endian words");
    constexpr std::uint64_t kFactor = 0xd6e8feb86659fd93ULL;
    for (std::size_t i = 0; i < count; ++i) {
      std::uint64_t word = 0;
      std::memcpy(&word, words + i * sizeof(word), sizeof(word));
      lanes_[i] = (lanes_[i] ^ word) * kFactor;
      lanes_[i] ^= lanes_[i] >> 32;
    }
  }

  std::array<std::uint64_t, 4> lanes_{0x243f6a8885a308d3ULL, 0x13198a2e03707344ULL, 0xa4093822299f31d0ULL,
                                      0x082efa98ec4e6c89ULL};  // digits of π
  std::size_t size_bytes_ = 0;
  std::array<std::byte, kStride_bytes> carry_{};  ///< bytes that do not fill a stride yet
  std::size_t carried_ = 0;
};

}  // namespace dtrain
