// Initial weights as a function of (seed, tensor name) alone. Logarithm and angle functions are computed here with
// additions, multiplications and a square root, each exactly rounded, so that every machine draws the same bits
// whatever its libm (this file is compiled without contraction to fused multiply-add).
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numbers>
#include <span>
#include <variant>

#include "dtrain/error.hpp"
#include "dtrain/layers.hpp"
#include "dtrain/random.hpp"

namespace dtrain {
namespace {

/// Elements drawn from one random stream; any block can be drawn without the ones before it.
constexpr std::int64_t kBlockElements = 4096;

/// Σ coefficients[i]·x^i by Horner's rule; the loop unrolls, since its length is known.
template <std::size_t count>
double polynomial(const std::array<double, count>& coefficients, double x) {
  double sum = coefficients[count - 1];
  for (std::size_t i = count - 1; i-- > 0;) sum = sum * x + coefficients[i];
  return sum;
}

/// Natural logarithm of a normal number x > 0, absolute error below 1e-13.
/// x = m·2^e with m in [√½, √2); with s = (m−1)/(m+1), |s| ≤ 0.172: ln m = 2(s + s³/3 + s⁵/5 + … + s¹⁵/15 + …).
double log_of(double x) {
  constexpr std::uint64_t kMantissaMask = (std::uint64_t{1} << 52) - 1;
  constexpr std::uint64_t kExponentOfOne = std::uint64_t{1023} << 52;
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const double mantissa = std::bit_cast<double>((bits & kMantissaMask) | kExponentOfOne);  // in [1, 2)
  const bool halve = mantissa >= std::numbers::sqrt2;
  const double m = halve ? 0.5 * mantissa : mantissa;
  const double exponent = static_cast<double>(static_cast<std::int64_t>(bits >> 52) - 1023 + (halve ? 1 : 0));
  const double s = (m - 1.0) / (m + 1.0);
  constexpr std::array kSeries{1.0, 1.0 / 3, 1.0 / 5, 1.0 / 7, 1.0 / 9, 1.0 / 11, 1.0 / 13, 1.0 / 15, 1.0 / 17};
  return 2.0 * s * polynomial(kSeries, s * s) + exponent * std::numbers::ln2;
}

struct Direction {
  double x, y;
};

/// Point of the unit circle at an angle given by 64 bits: two choose the quadrant, the rest the place f in it. The angle
/// a = (f − ½)·π/2 lies within ±π/4, where Taylor series to a¹⁵ and a¹⁴ err by less than 1e-13.
Direction direction_of(std::uint64_t bits) {
  const double f = static_cast<double>((bits << 2) >> 11) * 0x1.0p-53;
  const double a = (f - 0.5) * (0.5 * std::numbers::pi);
  const double q = a * a;
  constexpr std::array kSine{1.0,          -1.0 / 6,        1.0 / 120,        -1.0 / 5040,
                             1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800, -1.0 / 1307674368000};
  constexpr std::array kCosine{1.0,         -1.0 / 2,       1.0 / 24,        -1.0 / 720,
                               1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600, -1.0 / 87178291200};
  const double sine = a * polynomial(kSine, q);
  const double cosine = polynomial(kCosine, q);
  switch (bits >> 62) {
    case 0:
      return {cosine, sine};
    case 1:
      return {-sine, cosine};
    case 2:
      return {-cosine, -sine};
    default:
      return {sine, -cosine};
  }
}

/// Calls draw(random, block of values) for every block, whose stream depends on (seed, name, block) alone.
template <typename Draw>
void draw_blocks(std::uint64_t seed, const std::string& name, std::span<float> values, const Draw& draw) {
  const std::uint64_t name_key = hash_bytes(std::as_bytes(std::span(name)));
  const auto size = static_cast<std::int64_t>(values.size());
  const std::int64_t blocks = (size + kBlockElements - 1) / kBlockElements;
#pragma omp parallel for schedule(static) if (blocks > 4)
  for (std::int64_t block = 0; block < blocks; ++block) {
    Random random(seed, RandomPurpose::initial_weights, {name_key, static_cast<std::uint64_t>(block)});
    const std::int64_t begin = block * kBlockElements;
    const std::int64_t count = std::min(size - begin, kBlockElements);
    draw(random, values.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)));
  }
}

/// Fills `values` with N(0, stddev²); element i depends on (seed, name, i) alone. Source: Box & Muller 1958.
void draw_normal(std::uint64_t seed, const std::string& name, double stddev, std::span<float> values) {
  draw_blocks(seed, name, values, [stddev](Random& random, std::span<float> block) {
    for (std::size_t i = 0; i < block.size(); i += 2) {
      const double radius = stddev * std::sqrt(-2.0 * log_of(1.0 - random.uniform()));
      const Direction direction = direction_of(random.next());
      block[i] = static_cast<float>(radius * direction.x);
      if (i + 1 < block.size()) block[i + 1] = static_cast<float>(radius * direction.y);
    }
  });
}

/// Fills `values` uniformly within ±bound; element i depends on (seed, name, i) alone.
void draw_uniform(std::uint64_t seed, const std::string& name, double bound, std::span<float> values) {
  draw_blocks(seed, name, values, [bound](Random& random, std::span<float> block) {
    for (float& value : block) value = static_cast<float>(bound * (2.0 * random.uniform() - 1.0));
  });
}

double fan_in(const Shape& weights) { return static_cast<double>(element_count(weights) / weights[0]); }
double fan_out(const Shape& weights) { return static_cast<double>(element_count(weights) / weights[1]); }

double initial_variance(const InitialDraw& draw, const Shape& weights) {
  switch (draw.scale) {
    case InitialDraw::Scale::fan_in:
      return draw.variance / fan_in(weights);
    case InitialDraw::Scale::fan_out:
      return draw.variance / fan_out(weights);
    case InitialDraw::Scale::fixed:
      break;
  }
  return draw.variance;
}

void draw_weights(const ParameterSpec& spec, const InitialDraw& draw, std::uint64_t seed, std::span<float> values) {
  const double variance = initial_variance(draw, spec.shape);
  if (draw.distribution == InitialDraw::Distribution::normal) return draw_normal(seed, spec.name, std::sqrt(variance), values);
  draw_uniform(seed, spec.name, std::sqrt(3.0 * variance), values);  // a uniform draw has a third of its bound's square
}

const InitialDraw& draw_of(const Node& node) {
  const auto* const convolution = std::get_if<Convolution>(&node.layer);
  return convolution != nullptr ? convolution->initial : std::get<Linear>(node.layer).initial;
}

/// weights: the shape of the weights that the tensor belongs to, or its own.
void draw_initial(const ParameterSpec& spec, const Node& node, const Shape& weights, std::uint64_t seed,
                  std::span<float> values) {
  using Kind = ParameterSpec::Kind;
  const auto fill = [&](float value) { std::fill(values.begin(), values.end(), value); };
  switch (spec.kind) {
    case Kind::conv_weight:
    case Kind::linear_weight:
      return draw_weights(spec, draw_of(node), seed, values);
    case Kind::bias:
      if (draw_of(node).bias == InitialDraw::Bias::zero) return fill(0.0f);
      return draw_uniform(seed, spec.name, 1.0 / std::sqrt(fan_in(weights)), values);
    case Kind::norm_weight:
      return fill(std::get<BatchNorm>(node.layer).zero_init ? 0.0f : 1.0f);
    case Kind::running_var:
      return fill(1.0f);
    case Kind::norm_bias:
    case Kind::running_mean:
      return fill(0.0f);
  }
}

}  // namespace

double initial_deviation(const InitialDraw& draw, const Shape& weights) {
  return std::sqrt(initial_variance(draw, weights));
}

void initialize(const NetworkSpec& network, std::uint64_t seed, ParameterStore& parameters) {
  const std::vector<std::vector<ParameterSpec>> by_node = parameters_by_node(network);
  std::vector<float> plain;
  for (std::size_t n = 0; n < by_node.size(); ++n) {
    for (const ParameterSpec& spec : by_node[n]) {
      const Slot* const slot = parameters.find(spec.name);
      check(slot != nullptr && slot->spec == spec, "the store holds the network's parameter " + spec.name);
      plain.resize(static_cast<std::size_t>(element_count(spec.shape)));
      draw_initial(spec, network.nodes[n], by_node[n].front().shape, seed, plain);
      copy_from_plain(slot->layout, plain, parameters.values(*slot));
    }
  }
  parameters.batches_tracked = 0;
}

}  // namespace dtrain
