// Batch-norm kernels for AVX2 with FMA (flags set in CMakeLists.txt for this file alone).
#include <immintrin.h>

#include "src/nn/batch_norm_kernels.hpp"

namespace dtrain::nn::avx2 {
namespace {

inline void stream(float* to, VecOf<8>::Type value) { _mm256_stream_ps(to, (__m256)value); }
inline void stream(float* to, const VecOf<16>::Type& value) {
  const VecOf<8>::Type* halves = reinterpret_cast<const VecOf<8>::Type*>(&value);
  stream(to, halves[0]);
  stream(to + 8, halves[1]);
}

inline void stream(BFloat16* to, VecOf<16>::Half value) { _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)value); }
inline void stream(BFloat16* to, VecOf<8>::Half value) { _mm_stream_si128(reinterpret_cast<__m128i*>(to), (__m128i)value); }

/// Eight integers below 65536 as 16-bit ones.
inline __m128i packed(__m256i value) {
  return _mm_packus_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
}

inline VecOf<8>::Half halves(const VecOf<8>::Type& value) {
  return (VecOf<8>::Half)packed((__m256i)(rounded_to_halves<8>(value) >> 16));
}
inline VecOf<8>::Bits widened(const VecOf<8>::Half& value) { return (VecOf<8>::Bits)_mm256_cvtepu16_epi32((__m128i)value); }
inline VecOf<8>::Int widened(const VecOf<8>::Byte& value) {
  return (VecOf<8>::Int)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(&value)));
}
inline VecOf<8>::Byte narrowed(const VecOf<8>::Int& value) {
  VecOf<8>::Byte bytes;
  const __m128i words = packed((__m256i)value);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(&bytes), _mm_packus_epi16(words, words));
  return bytes;
}

// The same for 16 channels, by halves. Types are written out: vectors may lie anywhere, which `auto` and template arguments
// forget.
inline VecOf<16>::Half halves(const VecOf<16>::Type& value) {
  const VecOf<8>::Type* parts = reinterpret_cast<const VecOf<8>::Type*>(&value);
  VecOf<16>::Half whole;
  VecOf<8>::Half* results = reinterpret_cast<VecOf<8>::Half*>(&whole);
  results[0] = halves(parts[0]);
  results[1] = halves(parts[1]);
  return whole;
}
inline VecOf<16>::Bits widened(const VecOf<16>::Half& value) {
  const VecOf<8>::Half* parts = reinterpret_cast<const VecOf<8>::Half*>(&value);
  VecOf<16>::Bits whole;
  VecOf<8>::Bits* results = reinterpret_cast<VecOf<8>::Bits*>(&whole);
  results[0] = widened(parts[0]);
  results[1] = widened(parts[1]);
  return whole;
}
inline VecOf<16>::Int widened(const VecOf<16>::Byte& value) {
  const VecOf<8>::Byte* parts = reinterpret_cast<const VecOf<8>::Byte*>(&value);
  VecOf<16>::Int whole;
  VecOf<8>::Int* results = reinterpret_cast<VecOf<8>::Int*>(&whole);
  results[0] = widened(parts[0]);
  results[1] = widened(parts[1]);
  return whole;
}
inline VecOf<16>::Byte narrowed(const VecOf<16>::Int& value) {
  const VecOf<8>::Int* parts = reinterpret_cast<const VecOf<8>::Int*>(&value);
  VecOf<16>::Byte whole;
  VecOf<8>::Byte* results = reinterpret_cast<VecOf<8>::Byte*>(&whole);
  results[0] = narrowed(parts[0]);
  results[1] = narrowed(parts[1]);
  return whole;
}

inline void put_signs(std::uint8_t* to, VecOf<8>::Type value) {
  *to = static_cast<std::uint8_t>(_mm256_movemask_ps(_mm256_cmp_ps((__m256)value, _mm256_setzero_ps(), _CMP_GT_OQ)));
}
inline void put_signs(std::uint8_t* to, const VecOf<16>::Type& value) {
  const VecOf<8>::Type* halves = reinterpret_cast<const VecOf<8>::Type*>(&value);
  put_signs(to, halves[0]);
  put_signs(to + 1, halves[1]);
}
inline VecOf<8>::Type where_set(const std::uint8_t* from, VecOf<8>::Type value) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i is_set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(*from), bit), bit);
  return (VecOf<8>::Type)_mm256_and_ps((__m256)value, _mm256_castsi256_ps(is_set));
}
inline VecOf<16>::Type where_set(const std::uint8_t* from, const VecOf<16>::Type& value) {
  const VecOf<8>::Type* halves = reinterpret_cast<const VecOf<8>::Type*>(&value);
  VecOf<16>::Type kept;
  VecOf<8>::Type* kept_halves = reinterpret_cast<VecOf<8>::Type*>(&kept);
  kept_halves[0] = where_set(from, halves[0]);
  kept_halves[1] = where_set(from + 1, halves[1]);
  return kept;
}

}  // namespace
}  // namespace dtrain::nn::avx2

#define DTRAIN_ISA avx2
#include "src/nn/batch_norm_kernels.inc"
