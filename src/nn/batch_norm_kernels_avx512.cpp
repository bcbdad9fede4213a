// Batch-norm kernels for AVX-512 (flags set in CMakeLists.txt for this file alone).
#include <immintrin.h>

#include "src/nn/batch_norm_kernels.hpp"

namespace dtrain::nn::avx512 {
namespace {

inline void stream(float* to, VecOf<16>::Type value) { _mm512_stream_ps(to, (__m512)value); }
inline void stream(float* to, VecOf<8>::Type value) { _mm256_stream_ps(to, (__m256)value); }

}  // namespace
}  // namespace dtrain::nn::avx512

#define DTRAIN_ISA avx512
#include "src/nn/batch_norm_kernels.inc"
