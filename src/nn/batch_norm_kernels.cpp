// Chooses the batch-norm kernels that this CPU can run; the portable ones are compiled here.
#include "src/nn/batch_norm_kernels.hpp"

namespace dtrain::nn::portable {
namespace {

/// Without an instruction set to rely on: an ordinary store.
template <typename Vec>
void stream(float* to, const Vec& value) {
  *reinterpret_cast<Vec*>(to) = value;
}

}  // namespace
}  // namespace dtrain::nn::portable

#define DTRAIN_ISA portable
#include "src/nn/batch_norm_kernels.inc"

namespace dtrain::nn {

namespace avx2 {
const NormKernels& norm_kernels(int block);
}
namespace avx512 {
const NormKernels& norm_kernels(int block);
}

const NormKernels& norm_kernels(int block) {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    return avx512::norm_kernels(block);
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2::norm_kernels(block);
  return portable::norm_kernels(block);
}

}  // namespace dtrain::nn
