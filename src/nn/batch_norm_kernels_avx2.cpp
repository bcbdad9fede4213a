// Batch-norm kernels for AVX2 with FMA (flags set in CMakeLists.txt for this file alone).
#include <immintrin.h>

#include "src/nn/batch_norm_kernels.hpp"

namespace dtrain::nn::avx2 {
namespace {

inline void stream(float* to, VecOf<8>::Type value) { _mm256_stream_ps(to, (__m256)value); }
inline void stream(float* to, const VecOf<16>::Type& value) {
  const auto* halves = reinterpret_cast<const VecOf<8>::Type*>(&value);
  stream(to, halves[0]);
  stream(to + 8, halves[1]);
}

}  // namespace
}  // namespace dtrain::nn::avx2

#define DTRAIN_ISA avx2
#include "src/nn/batch_norm_kernels.inc"
