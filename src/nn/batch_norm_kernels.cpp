// Chooses the batch-norm kernels that this CPU can run; the portable ones are compiled here.
#include "src/nn/batch_norm_kernels.hpp"

namespace dtrain::nn::portable {
namespace {

/// Without an instruction set to rely on: an ordinary store.
void stream(float* to, const VecOf<16>::Type& value) { *reinterpret_cast<VecOf<16>::Type*>(to) = value; }
void stream(float* to, const VecOf<8>::Type& value) { *reinterpret_cast<VecOf<8>::Type*>(to) = value; }
void stream(BFloat16* to, const VecOf<16>::Half& value) { *reinterpret_cast<VecOf<16>::Half*>(to) = value; }
void stream(BFloat16* to, const VecOf<8>::Half& value) { *reinterpret_cast<VecOf<8>::Half*>(to) = value; }

VecOf<16>::Half halves(const VecOf<16>::Type& value) {
  return __builtin_convertvector(rounded_to_halves<16>(value) >> 16, VecOf<16>::Half);
}
VecOf<8>::Half halves(const VecOf<8>::Type& value) {
  return __builtin_convertvector(rounded_to_halves<8>(value) >> 16, VecOf<8>::Half);
}

VecOf<16>::Bits widened(const VecOf<16>::Half& value) { return __builtin_convertvector(value, VecOf<16>::Bits); }
VecOf<8>::Bits widened(const VecOf<8>::Half& value) { return __builtin_convertvector(value, VecOf<8>::Bits); }
VecOf<16>::Int widened(const VecOf<16>::Byte& value) { return __builtin_convertvector(value, VecOf<16>::Int); }
VecOf<8>::Int widened(const VecOf<8>::Byte& value) { return __builtin_convertvector(value, VecOf<8>::Int); }
VecOf<16>::Byte narrowed(const VecOf<16>::Int& value) { return __builtin_convertvector(value, VecOf<16>::Byte); }
VecOf<8>::Byte narrowed(const VecOf<8>::Int& value) { return __builtin_convertvector(value, VecOf<8>::Byte); }

// Lanes through a pointer: without optimising, GCC 12 reads value[lane] from a copy that it has not filled.
template <int Block>
void put_signs_of(std::uint8_t* to, const typename VecOf<Block>::Type& value) {
  const auto* lanes = reinterpret_cast<const float*>(&value);
  for (int byte = 0; byte < Block / 8; ++byte) {
    unsigned bits = 0;
    for (int bit = 0; bit < 8; ++bit) bits |= (lanes[byte * 8 + bit] > 0.0f ? 1u : 0u) << bit;
    to[byte] = static_cast<std::uint8_t>(bits);
  }
}
void put_signs(std::uint8_t* to, const VecOf<16>::Type& value) { put_signs_of<16>(to, value); }
void put_signs(std::uint8_t* to, const VecOf<8>::Type& value) { put_signs_of<8>(to, value); }

template <int Block>
typename VecOf<Block>::Type where_set_of(const std::uint8_t* from, const typename VecOf<Block>::Type& value) {
  const auto* lanes = reinterpret_cast<const float*>(&value);
  typename VecOf<Block>::Type kept{};
  for (int lane = 0; lane < Block; ++lane) kept[lane] = (from[lane / 8] >> (lane % 8) & 1) != 0 ? lanes[lane] : 0.0f;
  return kept;
}
VecOf<16>::Type where_set(const std::uint8_t* from, const VecOf<16>::Type& value) { return where_set_of<16>(from, value); }
VecOf<8>::Type where_set(const std::uint8_t* from, const VecOf<8>::Type& value) { return where_set_of<8>(from, value); }

}  // namespace
}  // namespace dtrain::nn::portable

#define DTRAIN_ISA portable
#include "src/nn/batch_norm_kernels.inc"

namespace dtrain::nn {

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

template <typename Element>
const NormKernels<Element>& norm_kernels(int block) {
  if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw")) {
    return avx512_bf16::norm_kernels<Element>(block);
  }
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw")) {
    return avx512::norm_kernels<Element>(block);
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2::norm_kernels<Element>(block);
  return portable::norm_kernels<Element>(block);
}
template const NormKernels<float>& norm_kernels<float>(int block);
template const NormKernels<BFloat16>& norm_kernels<BFloat16>(int block);

}  // namespace dtrain::nn
