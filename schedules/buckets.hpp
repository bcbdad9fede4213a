// Cuts the gradient arena into buckets: contiguous slices, in the order in which backward finishes them.
#pragma once

#include <cstdint>
#include <vector>

#include "schedules/shards.hpp"

namespace dtrain {

struct BucketRequest {
  std::int64_t elements = 0;               ///< length of the arena
  std::int64_t bucket_elements = 0;        ///< wished size, > 0
  std::int64_t first_bucket_elements = 0;  ///< the first bucket is small, so that the exchange starts early; 0: as the others
  std::int64_t alignment = 16;             ///< cuts fall on multiples of this (one cache line)
};

/// Slices in order; they cover [0, elements) without gaps; empty when elements is 0. Slots may be cut. A last bucket shorter
/// than half a bucket joins the one before it.
std::vector<Range> plan_buckets(const BucketRequest& request);

}  // namespace dtrain
