// Cuts of the gradient arena at multiples of the wished size.
#include "schedules/buckets.hpp"

#include <algorithm>

#include "dtrain/error.hpp"

namespace dtrain {

std::vector<Range> plan_buckets(const BucketRequest& request) {
  check(request.elements >= 0 && request.bucket_elements > 0 && request.first_bucket_elements >= 0 && request.alignment > 0,
        "plan_buckets: elements, first_bucket_elements >= 0; bucket_elements, alignment > 0");
  // Compared before it is rounded up: a wish for "all of it" may be as large as an int64.
  const auto rounded_up = [&](std::int64_t elements) {
    if (elements >= request.elements) return request.elements;
    return (elements + request.alignment - 1) / request.alignment * request.alignment;
  };
  const std::int64_t usual = rounded_up(request.bucket_elements);
  const std::int64_t first = request.first_bucket_elements > 0 ? rounded_up(request.first_bucket_elements) : usual;

  std::vector<Range> buckets;
  for (std::int64_t begin = 0; begin < request.elements;) {
    const std::int64_t wished = buckets.empty() ? first : usual;
    const std::int64_t end = request.elements - begin <= wished ? request.elements : begin + wished;
    buckets.push_back({begin, end});
    begin = end;
  }
  if (buckets.size() > 1 && buckets.back().size() < request.bucket_elements / 2 + request.bucket_elements % 2) {
    buckets[buckets.size() - 2].end = buckets.back().end;
    buckets.pop_back();
  }
  return buckets;
}

}  // namespace dtrain
