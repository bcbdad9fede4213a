// What the machine can do at most, measured with the threads that compute: the yardsticks of a profile.
#include <algorithm>
#include <chrono>
#include <vector>

#include "dtrain/graph.hpp"
#include "src/nn/layer.hpp"

namespace dtrain {
namespace {

using namespace nn;

/// Seconds of the fastest of a few calls: neighbours only ever slow a machine down.
template <typename Work>
double fastest_s(Work work) {
  double fastest = 0.0;
  for (int repetition = 0; repetition < 5; ++repetition) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    fastest = repetition == 0 ? elapsed : std::min(fastest, elapsed);
  }
  return fastest;
}

double matmul_gflops(Precision precision) {
  constexpr std::int64_t kSide = 1536;
  const Device device;
  const Desc desc({kSide, kSide}, activation_type({.precision = precision}), dnnl::memory::format_tag::ab);
  dnnl::memory src(desc, device.engine), weights(desc, device.engine), dst(desc, device.engine);
  for (const dnnl::memory& memory : {src, weights})
    std::fill_n(static_cast<char*>(memory.get_data_handle()), desc.get_size(), 0);
  const dnnl::primitive_attr attributes;
  const PrimitiveCall matmul(dnnl::matmul(describe_primitive<dnnl::matmul>({device.engine, attributes}, desc, desc, desc)),
                             {{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, dst}});
  return 2.0 * kSide * kSide * kSide / fastest_s([&] { matmul.run(device.stream); }) / 1e9;
}

/// a = b + s·c over arrays larger than any cache: two reads and a write of 8 bytes. Source: McCalpin, STREAM.
double triad_gb_per_s() {
  constexpr std::int64_t kElements = std::int64_t{8} << 20;
  const AlignedMemory memory(3 * kElements * sizeof(double));
  auto* a = reinterpret_cast<double*>(memory.data());
  double* b = a + kElements;
  double* c = b + kElements;
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < kElements; ++i) a[i] = 0.0, b[i] = 1.0, c[i] = 2.0;
  const double elapsed = fastest_s([&] {
#pragma omp parallel for simd schedule(static)
    for (std::int64_t i = 0; i < kElements; ++i) a[i] = b[i] + 3.0 * c[i];
  });
  return 3.0 * kElements * sizeof(double) / elapsed / 1e9;
}

}  // namespace

MachinePeaks measure_peaks(Precision precision) {
  return {.matmul_gflops = matmul_gflops(precision), .triad_gb_per_s = triad_gb_per_s()};
}

}  // namespace dtrain
