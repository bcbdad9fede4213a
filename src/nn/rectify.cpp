// Element-wise loops; see rectify.hpp.
#include "src/nn/rectify.hpp"

#include <algorithm>
#include <sstream>

#include "src/nn/clones.hpp"

namespace dtrain::nn {
namespace {

/// A few pages: small enough to share out the pictures of a small batch evenly, and for sums to stay in the cache.
constexpr std::int64_t kChunk = 8192;

/// work(run, begin, end) for all elements, shared out among the threads.
template <typename Work>
void for_each_chunk(const Runs& shape, Work work) {
  const std::int64_t chunks = (shape.length + kChunk - 1) / kChunk;
#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t run = 0; run < shape.count; ++run) {
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      work(run, chunk * kChunk, std::min(shape.length, (chunk + 1) * kChunk));
    }
  }
}

DTRAIN_CLONES void rectify_row(const float* src, float* dst, float ceiling, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) dst[i] = src[i] < 0.0f ? 0.0f : src[i] > ceiling ? ceiling : src[i];
}

// As integers, the bits of positive bf16 numbers are in the order of the numbers, infinity the last before NaN; those of
// negative ones are below −127, those of negative NaN above.
constexpr std::int16_t kInfinityBits = 0x7f80;
std::int16_t bits_of(float value) {
  BFloat16 half{};
  assign(half, value);
  return static_cast<std::int16_t>(half.bits);
}

DTRAIN_CLONES void rectify_row(const BFloat16* src, BFloat16* dst, float ceiling, std::int64_t count) {
  const std::int16_t highest = bits_of(ceiling);
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const auto bits = static_cast<std::int16_t>(src[i].bits);
    const std::int16_t clipped = bits > highest && bits <= kInfinityBits ? highest : bits;
    dst[i].bits = static_cast<std::uint16_t>(bits < -127 ? std::int16_t{0} : clipped);
  }
}

DTRAIN_CLONES void mask_row(const float* dst, const float* diff_dst, float* diff_src, float ceiling, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) diff_src[i] = dst[i] > 0.0f && dst[i] < ceiling ? diff_dst[i] : 0.0f;
}

DTRAIN_CLONES void mask_row(const BFloat16* dst, const BFloat16* diff_dst, BFloat16* diff_src, float ceiling,
                            std::int64_t count) {
  const std::int16_t highest = bits_of(ceiling);
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const auto bits = static_cast<std::int16_t>(dst[i].bits);
    diff_src[i].bits = bits > 0 && bits < highest ? diff_dst[i].bits : std::uint16_t{0};
  }
}

DTRAIN_CLONES void sum_row(const float* a, const float* b, float* sum, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) sum[i] = a[i] + b[i];
}

DTRAIN_CLONES void sum_row(const BFloat16* a, const BFloat16* b, BFloat16* sum, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) assign(sum[i], to_float(a[i]) + to_float(b[i]));
}

/// Calls work with an element of the type that the runs hold.
template <typename Work>
void with_element(const Runs& runs, Work work) {
  runs.is_bf16 ? work(BFloat16{}) : work(0.0f);
}

}  // namespace

void rectify(const Runs& src, const Runs& dst, float ceiling) {
  with_element(dst, [&]<typename Element>(Element) {
    for_each_chunk(dst, [&](std::int64_t run, std::int64_t begin, std::int64_t end) {
      rectify_row(src.at<Element>(run) + begin, dst.at<Element>(run) + begin, ceiling, end - begin);
    });
  });
}

void rectify_gradient(const Runs& dst, const std::vector<Runs>& diff_dst, const Runs& diff_src, float ceiling) {
  with_element(dst, [&]<typename Element>(Element) {
    for_each_chunk(dst, [&](std::int64_t run, std::int64_t begin, std::int64_t end) {
      const Element* sum = diff_dst[0].at<Element>(run) + begin;
      Element* to = diff_src.at<Element>(run) + begin;
      for (std::size_t k = 1; k < diff_dst.size(); ++k) {
        sum_row(sum, diff_dst[k].at<Element>(run) + begin, to, end - begin);
        sum = to;
      }
      mask_row(dst.at<Element>(run) + begin, sum, to, ceiling, end - begin);
    });
  });
}

std::string relu_in_words(float ceiling) {
  std::ostringstream text;
  text << "relu";
  if (ceiling < kNoCeiling) text << ceiling;
  return text.str();
}

void add(const Runs& a, const Runs& b, const Runs& sum) {
  with_element(sum, [&]<typename Element>(Element) {
    for_each_chunk(sum, [&](std::int64_t run, std::int64_t begin, std::int64_t end) {
      sum_row(a.at<Element>(run) + begin, b.at<Element>(run) + begin, sum.at<Element>(run) + begin, end - begin);
    });
  });
}

void copy(const Runs& from, const Runs& to) {
  with_element(to, [&]<typename Element>(Element) {
    for_each_chunk(to, [&](std::int64_t run, std::int64_t begin, std::int64_t end) {
      std::copy(from.at<Element>(run) + begin, from.at<Element>(run) + end, to.at<Element>(run) + begin);
    });
  });
}

}  // namespace dtrain::nn
