// Element-wise loops; see rectify.hpp.
#include "src/nn/rectify.hpp"

#include <algorithm>

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

}  // namespace

void rectify(const Runs& src, const Runs& dst) {
  for_each_chunk(dst, [&](std::int64_t run, std::int64_t begin, std::int64_t end) {
    const float* from = src.at(run);
    float* to = dst.at(run);
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) to[i] = from[i] < 0.0f ? 0.0f : from[i];
  });
}

void rectify_gradient(const Runs& dst, const std::vector<Runs>& diff_dst, const Runs& diff_src) {
  for_each_chunk(dst, [&](std::int64_t run, std::int64_t begin, std::int64_t end) {
    const float* result = dst.at(run);
    const float* first = diff_dst[0].at(run);
    float* to = diff_src.at(run);
    for (std::size_t k = 1; k < diff_dst.size(); ++k) {
      const float* addend = diff_dst[k].at(run);
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) to[i] = first[i] + addend[i];
      first = to;
    }
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) to[i] = result[i] > 0.0f ? first[i] : 0.0f;
  });
}

void copy(const Runs& from, const Runs& to) {
  for_each_chunk(to, [&](std::int64_t run, std::int64_t begin, std::int64_t end) {
    std::copy(from.at(run) + begin, from.at(run) + end, to.at(run) + begin);
  });
}

void add(const Runs& from, const Runs& to) {
  for_each_chunk(to, [&](std::int64_t run, std::int64_t begin, std::int64_t end) {
    const float* addend = from.at(run);
    float* sum = to.at(run);
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) sum[i] += addend[i];
  });
}

}  // namespace dtrain::nn
