// Run by run; see finite.hpp.
#include "src/nn/finite.hpp"

#include <span>

namespace dtrain::nn {
namespace {

bool are_all_finite(const BFloat16* values, std::int64_t count) {
  constexpr int kExponent = 0x7f80;  // all ones in infinities and NaNs
  int found = 0;
#pragma omp simd reduction(| : found)
  for (std::int64_t i = 0; i < count; ++i) found |= (values[i].bits & kExponent) == kExponent ? 1 : 0;
  return found == 0;
}

}  // namespace

bool is_finite(const Runs& values) {
  int found = 0;
#pragma omp parallel for schedule(static) reduction(| : found)
  for (std::int64_t run = 0; run < values.count; ++run) {
    const bool is_good = values.is_bf16 ? are_all_finite(values.at<const BFloat16>(run), values.length)
                                        : all_finite({values.at<const float>(run), static_cast<std::size_t>(values.length)});
    found |= is_good ? 0 : 1;
  }
  return found == 0;
}

}  // namespace dtrain::nn
