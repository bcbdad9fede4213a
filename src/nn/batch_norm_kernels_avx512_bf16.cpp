// Batch-norm kernels for AVX-512 with its bf16 conversions (flags set in CMakeLists.txt for this file alone). They make 0 of
// denormal numbers, which integer arithmetic keeps.
#include <immintrin.h>

#include "src/nn/batch_norm_kernels.hpp"

namespace dtrain::nn::avx512_bf16 {
namespace {

#include "src/nn/batch_norm_vectors_avx512.inc"

inline VecOf<16>::Half halves(const VecOf<16>::Type& value) { return (VecOf<16>::Half)_mm512_cvtneps_pbh((__m512)value); }
inline VecOf<8>::Half halves(const VecOf<8>::Type& value) { return (VecOf<8>::Half)_mm256_cvtneps_pbh((__m256)value); }

}  // namespace
}  // namespace dtrain::nn::avx512_bf16

#define DTRAIN_ISA avx512_bf16
#include "src/nn/batch_norm_kernels.inc"
