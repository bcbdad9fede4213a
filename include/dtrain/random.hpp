// Reproducible random numbers addressed by keys: every choice of a run (initial weights, order of samples,
// crops, dropout masks) is a pure function of (seed, purpose, position), so it depends neither on the
// number of ranks or threads nor on what was drawn before, and a resumed run needs no saved state.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <numbers>

namespace dtrain {

/// What a random stream is for; the second key of every stream, so that no two purposes share numbers.
enum class RandomPurpose : std::uint64_t {
  initial_weights = 1,
  sample_order = 2,
  augmentation = 3,
  dropout = 4,
  synthetic_pictures = 5,
  demo_pictures = 6,
  perturbation = 7,
};

/// Mixes 64 bits thoroughly (bijective).
/// Source: finaliser of SplitMix64, Steele, Lea & Flood, OOPSLA 2014.
constexpr std::uint64_t mix_bits(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// A stream of random numbers that starts where its keys say. Copyable, 8 bytes, no state elsewhere.
class Random {
 public:
  /// seed, purpose, and any position, e.g. Random(seed, RandomPurpose::augmentation, {epoch, sample}).
  Random(std::uint64_t seed, RandomPurpose purpose, std::initializer_list<std::uint64_t> position)
      : state_(mix_bits(mix_bits(seed) ^ static_cast<std::uint64_t>(purpose))) {
    for (const std::uint64_t key : position) state_ = mix_bits(state_ ^ mix_bits(key));
  }

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15ULL;
    return mix_bits(state_);
  }

  /// Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

  /// Uniform in [low, high).
  double uniform(double low, double high) { return low + (high - low) * uniform(); }

  /// Uniform integer in [0, count), count ≥ 1; bias below count / 2^64.
  std::int64_t below(std::int64_t count) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::int64_t>((static_cast<Wide>(next()) * static_cast<std::uint64_t>(count)) >> 64);
  }

  /// Normal with mean 0 and variance 1 (Box–Muller, one of the pair).
  double normal() {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * uniform());
  }

 private:
  std::uint64_t state_;
};

}  // namespace dtrain
