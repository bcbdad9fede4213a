// Batch-norm kernels for AVX-512 (flags set in CMakeLists.txt for this file alone).
#include <immintrin.h>

#include "src/nn/batch_norm_kernels.hpp"

namespace dtrain::nn::avx512 {
namespace {

inline void stream(float* to, VecOf<16>::Type value) { _mm512_stream_ps(to, (__m512)value); }
inline void stream(float* to, VecOf<8>::Type value) { _mm256_stream_ps(to, (__m256)value); }

inline void stream(BFloat16* to, VecOf<16>::Half value) { _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)value); }
inline void stream(BFloat16* to, VecOf<8>::Half value) { _mm_stream_si128(reinterpret_cast<__m128i*>(to), (__m128i)value); }

inline void put_signs(std::uint8_t* to, VecOf<16>::Type value) {
  _store_mask16(reinterpret_cast<__mmask16*>(to), _mm512_cmp_ps_mask((__m512)value, _mm512_setzero_ps(), _CMP_GT_OQ));
}
inline void put_signs(std::uint8_t* to, VecOf<8>::Type value) {
  _store_mask8(to, _mm256_cmp_ps_mask((__m256)value, _mm256_setzero_ps(), _CMP_GT_OQ));
}
inline VecOf<16>::Type where_set(const std::uint8_t* from, VecOf<16>::Type value) {
  return (VecOf<16>::Type)_mm512_maskz_mov_ps(*reinterpret_cast<const __mmask16*>(from), (__m512)value);
}
inline VecOf<8>::Type where_set(const std::uint8_t* from, VecOf<8>::Type value) {
  return (VecOf<8>::Type)_mm256_maskz_mov_ps(*from, (__m256)value);
}

}  // namespace
}  // namespace dtrain::nn::avx512

#define DTRAIN_ISA avx512
#include "src/nn/batch_norm_kernels.inc"
