// Batch-norm kernels for AVX-512 (flags set in CMakeLists.txt for this file alone).
#include <immintrin.h>

#include "src/nn/batch_norm_kernels.hpp"

namespace dtrain::nn::avx512 {
namespace {

#include "src/nn/batch_norm_vectors_avx512.inc"

inline VecOf<16>::Half halves(const VecOf<16>::Type& value) {
  return (VecOf<16>::Half)_mm512_cvtepi32_epi16((__m512i)(rounded_to_halves<16>(value) >> 16));
}
inline VecOf<8>::Half halves(const VecOf<8>::Type& value) {
  return (VecOf<8>::Half)_mm256_cvtepi32_epi16((__m256i)(rounded_to_halves<8>(value) >> 16));
}

}  // namespace
}  // namespace dtrain::nn::avx512

#define DTRAIN_ISA avx512
#include "src/nn/batch_norm_kernels.inc"
