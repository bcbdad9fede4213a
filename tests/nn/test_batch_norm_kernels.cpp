// The batch-norm kernels of every instruction set that this CPU has, against the portable ones: a run uses one of them only.
#include <gtest/gtest.h>

#include <cmath>
#include <new>
#include <string>
#include <vector>

#include "dtrain/layers.hpp"
#include "dtrain/random.hpp"
#include "src/nn/batch_norm_kernels.hpp"

namespace dtrain::nn {

// One declaration for each instruction set's file.
namespace portable {
template <typename Element>
const NormKernels<Element>& norm_kernels(int block);
}
namespace avx2 {
template <typename Element>
const NormKernels<Element>& norm_kernels(int block);
}
namespace avx512 {
template <typename Element>
const NormKernels<Element>& norm_kernels(int block);
}
namespace avx512_bf16 {
template <typename Element>
const NormKernels<Element>& norm_kernels(int block);
}

namespace {

constexpr PoolWindow kWindow{
    .src_height = 13, .src_width = 11, .dst_height = 7, .dst_width = 6, .kernel = 3, .stride = 2, .padding = 1};
constexpr std::int64_t kPixels = kWindow.src_height * kWindow.src_width;
constexpr std::int64_t kPooled = kWindow.dst_height * kWindow.dst_width;

/// Streamed results want whole vectors at aligned addresses, which the arena gives.
template <typename Element>
struct Aligned {
  using value_type = Element;
  Element* allocate(std::size_t count) {
    return static_cast<Element*>(::operator new(count * sizeof(Element), std::align_val_t(64)));
  }
  void deallocate(Element* memory, std::size_t) { ::operator delete(memory, std::align_val_t(64)); }
  bool operator==(const Aligned&) const = default;
};
template <typename Element>
using Plane = std::vector<Element, Aligned<Element>>;

template <typename Element>
Plane<Element> random_plane(std::int64_t elements, std::uint64_t seed) {
  Random random(seed, RandomPurpose::perturbation, {3});
  Plane<Element> plane(static_cast<std::size_t>(elements));
  for (Element& element : plane) assign(element, static_cast<float>(random.normal()));
  return plane;
}

/// Everything that the kernels make of the same random plane, one behind the other.
template <typename Element>
std::vector<double> results_of(const NormKernels<Element>& kernels, int block, float ceiling) {
  const auto src = random_plane<Element>(kPixels * block, 1), residual = random_plane<Element>(kPixels * block, 2);
  const auto first = random_plane<Element>(kPixels * block, 3), second = random_plane<Element>(kPixels * block, 4);
  const auto mean = random_plane<float>(block, 5), scale = random_plane<float>(block, 6), shift = random_plane<float>(block, 7);
  const auto offset = random_plane<float>(block, 8), slope = random_plane<float>(block, 9);
  const NormChannels channels{mean.data(), scale.data(), shift.data(), ceiling};
  std::vector<double> results;
  const auto keep = [&](const auto& values) {
    for (const auto& value : values) results.push_back(static_cast<double>(to_float(value)));
  };
  std::vector<double> sums(2 * static_cast<std::size_t>(block));
  const auto keep_sums = [&](auto fill) {
    std::fill(sums.begin(), sums.end(), 0.0);
    fill(NormSums{sums.data(), sums.data() + block});
    results.insert(results.end(), sums.begin(), sums.end());
  };

  keep_sums([&](NormSums to) { kernels.moments(src.data(), kPixels, src.data(), to); });
  Plane<Element> dst(src.size());
  std::vector<std::uint8_t> signs(src.size() / 8), positions(static_cast<std::size_t>(kPooled * block));
  for (const bool relu : {false, true}) {
    for (const Element* added : {static_cast<const Element*>(nullptr), residual.data()}) {
      kernels.normalise(src.data(), added, channels, relu, dst.data(), relu && added != nullptr ? signs.data() : nullptr,
                        kPixels);
      keep(dst);
    }
  }
  for (const std::uint8_t byte : signs) results.push_back(byte);

  Plane<Element> diff_src(src.size());
  for (const NormMask mask : {NormMask::none, NormMask::recomputed, NormMask::clipped, NormMask::kept}) {
    for (const int more : {0, 1, 3}) {
      Plane<Element> sum = first;
      const NormPlane<Element> plane{.src = src.data(),
                                     .kept_signs = signs.data(),
                                     .diff_dst = {sum.data(), {second.data(), second.data(), residual.data()}, more},
                                     .diff_src = diff_src.data(),
                                     .adds_to_diff_src = more == 3,
                                     .pixels = kPixels};
      keep_sums([&](NormSums to) { kernels.backward_sums(plane, channels, mask, mask == NormMask::kept || more > 0, to); });
      keep(sum);
      kernels.backward_data(plane, channels, mask == NormMask::kept ? NormMask::none : mask, offset.data(), slope.data());
      keep(diff_src);
    }
  }

  Plane<Element> pooled(positions.size()), diff_pooled(first.begin(), first.begin() + kPooled * block);
  kernels.normalise_pooled(src.data(), channels, kWindow, pooled.data(), positions.data());
  keep(pooled);
  for (const std::uint8_t byte : positions) results.push_back(byte);
  const PooledPlane<Element> plane{.src = src.data(),
                                   .positions = positions.data(),
                                   .diff_dst = {diff_pooled.data(), {second.data()}, 1},
                                   .diff_src = diff_src.data()};
  keep_sums([&](NormSums to) { kernels.backward_sums_pooled(plane, channels, kWindow, to); });
  kernels.backward_data_pooled(plane, channels, kWindow, offset.data(), slope.data());
  keep(diff_pooled);
  keep(diff_src);
  return results;
}

/// Fused multiply-adds round once where the portable kernels round twice; a bf16 result may then round the other way.
template <typename Element>
void expect_as_portable(const NormKernels<Element>& (*kernels)(int), const std::string& name) {
  const double relative = std::is_same_v<Element, float> ? 4e-6 : 0x1p-7;
  for (const int block : {8, 16}) {
    for (const float ceiling : {kNoCeiling, 0.75f}) {
      const std::vector<double> want = results_of(portable::norm_kernels<Element>(block), block, ceiling);
      const std::vector<double> got = results_of(kernels(block), block, ceiling);
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        ASSERT_NEAR(got[i], want[i], relative * (1.0 + std::abs(want[i])))
            << name << ", block " << block << ", ceiling " << ceiling << ", result " << i;
      }
    }
  }
}

/// Channels with scale 1 and no shift that meet 0, the ceiling 6, and numbers around both.
template <typename Element>
void expect_strict_masks(const NormKernels<Element>& kernels, int block, const std::string& name) {
  SCOPED_TRACE(name + ", block " + std::to_string(block));
  const std::vector<float> values{-1.0f, 0.0f, 0x1p-7f, 3.0f, 5.96875f, 6.0f, 6.03125f, 100.0f};  // bf16 has them all
  const std::vector<float> clipped{0.0f, 0.0f, 0x1p-7f, 3.0f, 5.96875f, 6.0f, 6.0f, 6.0f};
  const std::vector<float> passed{0.0f, 0.0f, 1.0f, 1.0f, 1.0f, 0.0f, 0.0f, 0.0f};
  const auto lanes = static_cast<std::size_t>(block);
  const Plane<float> zero(lanes, 0.0f), one(lanes, 1.0f);
  const NormChannels channels{zero.data(), one.data(), zero.data(), 6.0f};
  Plane<Element> src(lanes), dst(lanes), ones(lanes), kept(lanes), diff_src(lanes);
  for (std::size_t lane = 0; lane < lanes; ++lane) assign(src[lane], values[lane % 8]), assign(ones[lane], 1.0f);
  std::vector<double> sums(2 * lanes, 0.0);
  NormPlane<Element> plane{.src = src.data(),
                           .kept_signs = nullptr,
                           .diff_dst = {ones.data(), {}, 0},
                           .diff_src = diff_src.data(),
                           .adds_to_diff_src = false,
                           .pixels = 1};

  kernels.normalise(src.data(), nullptr, channels, true, dst.data(), nullptr, 1);
  kernels.backward_data(plane, channels, NormMask::clipped, zero.data(), zero.data());
  kept = ones;
  plane.diff_dst.first = kept.data();
  kernels.backward_sums(plane, channels, NormMask::clipped, true, {sums.data(), sums.data() + lanes});

  for (std::size_t lane = 0; lane < lanes; ++lane) {
    EXPECT_EQ(to_float(dst[lane]), clipped[lane % 8]) << "lane " << lane;
    EXPECT_EQ(to_float(diff_src[lane]), passed[lane % 8]) << "lane " << lane;
    EXPECT_EQ(to_float(kept[lane]), passed[lane % 8]) << "lane " << lane;
    EXPECT_EQ(sums[lane], static_cast<double>(passed[lane % 8])) << "lane " << lane;
  }

  assign(src[0], std::nanf(""));
  kernels.normalise(src.data(), nullptr, channels, true, dst.data(), nullptr, 1);
  EXPECT_TRUE(std::isnan(to_float(dst[0]))) << "a diverged run must show in its loss";
}

template <typename Element>
void expect_strict_masks(const NormKernels<Element>& (*kernels)(int), const std::string& name) {
  for (const int block : {8, 16}) expect_strict_masks(kernels(block), block, name);
}

TEST(BatchNormKernels, ClipAndPassGradientsStrictlyBetweenZeroAndTheCeiling) {
  expect_strict_masks<float>(portable::norm_kernels<float>, "portable, f32");
  expect_strict_masks<BFloat16>(portable::norm_kernels<BFloat16>, "portable, bf16");
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    expect_strict_masks<float>(avx2::norm_kernels<float>, "avx2, f32");
    expect_strict_masks<BFloat16>(avx2::norm_kernels<BFloat16>, "avx2, bf16");
  }
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    expect_strict_masks<float>(avx512::norm_kernels<float>, "avx512, f32");
    expect_strict_masks<BFloat16>(avx512::norm_kernels<BFloat16>, "avx512, bf16");
  }
  if (__builtin_cpu_supports("avx512bf16")) {
    expect_strict_masks<float>(avx512_bf16::norm_kernels<float>, "avx512_bf16, f32");
    expect_strict_masks<BFloat16>(avx512_bf16::norm_kernels<BFloat16>, "avx512_bf16, bf16");
  }
}

TEST(BatchNormKernels, OfAvx2GiveWhatThePortableOnesGive) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) GTEST_SKIP() << "this CPU has no AVX2";
  expect_as_portable<float>(avx2::norm_kernels<float>, "avx2, f32");
  expect_as_portable<BFloat16>(avx2::norm_kernels<BFloat16>, "avx2, bf16");
}

TEST(BatchNormKernels, OfAvx512GiveWhatThePortableOnesGive) {
  if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl")) GTEST_SKIP() << "this CPU has no AVX-512";
  expect_as_portable<float>(avx512::norm_kernels<float>, "avx512, f32");
  expect_as_portable<BFloat16>(avx512::norm_kernels<BFloat16>, "avx512, bf16");
}

TEST(BatchNormKernels, OfAvx512Bf16GiveWhatThePortableOnesGive) {
  if (!__builtin_cpu_supports("avx512bf16")) GTEST_SKIP() << "this CPU has no avx512_bf16";
  expect_as_portable<float>(avx512_bf16::norm_kernels<float>, "avx512_bf16, f32");
  expect_as_portable<BFloat16>(avx512_bf16::norm_kernels<BFloat16>, "avx512_bf16, bf16");
}

}  // namespace
}  // namespace dtrain::nn
