// Chooses the batch-norm kernels that this CPU can run; the portable ones are compiled here.
#include "src/nn/batch_norm_kernels.hpp"

namespace dtrain::nn::portable {
namespace {

/// Without an instruction set to rely on: an ordinary store.
template <typename Element, typename Vec>
void stream(Element* to, const Vec& value) {
  *reinterpret_cast<Vec*>(to) = value;
}

template <int Block>
typename VecOf<Block>::Half halves_of(const typename VecOf<Block>::Type& value) {
  return __builtin_convertvector(rounded_to_halves<Block>(value) >> 16, typename VecOf<Block>::Half);
}
VecOf<16>::Half halves(const VecOf<16>::Type& value) { return halves_of<16>(value); }
VecOf<8>::Half halves(const VecOf<8>::Type& value) { return halves_of<8>(value); }

VecOf<16>::Bits widened(const VecOf<16>::Half& value) { return __builtin_convertvector(value, VecOf<16>::Bits); }
VecOf<8>::Bits widened(const VecOf<8>::Half& value) { return __builtin_convertvector(value, VecOf<8>::Bits); }
VecOf<16>::Int widened(const VecOf<16>::Byte& value) { return __builtin_convertvector(value, VecOf<16>::Int); }
VecOf<8>::Int widened(const VecOf<8>::Byte& value) { return __builtin_convertvector(value, VecOf<8>::Int); }
VecOf<16>::Byte narrowed(const VecOf<16>::Int& value) { return __builtin_convertvector(value, VecOf<16>::Byte); }
VecOf<8>::Byte narrowed(const VecOf<8>::Int& value) { return __builtin_convertvector(value, VecOf<8>::Byte); }

template <typename Vec>
constexpr int kLanes = sizeof(Vec) / sizeof(float);

template <typename Vec>
void put_signs(std::uint8_t* to, const Vec& value) {
  for (int byte = 0; byte < kLanes<Vec> / 8; ++byte) {
    unsigned bits = 0;
    for (int bit = 0; bit < 8; ++bit) bits |= (value[byte * 8 + bit] > 0.0f ? 1u : 0u) << bit;
    to[byte] = static_cast<std::uint8_t>(bits);
  }
}

template <typename Vec>
Vec where_set(const std::uint8_t* from, const Vec& value) {
  Vec kept{};
  for (int lane = 0; lane < kLanes<Vec>; ++lane) kept[lane] = (from[lane / 8] >> (lane % 8) & 1) != 0 ? value[lane] : 0.0f;
  return kept;
}

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
