// In which order buckets travel when the next forward pass may begin before all of them have arrived: pure, from measured
// times. The order changes no bits: every bucket's sum is its own.
#pragma once

#include <vector>

namespace dtrain {

/// One bucket's times in a step; a bucket holds the gradients of neighbouring layers.
struct BucketTimes {
  double ready_s = 0.0;     ///< its gradients are final, since backward began
  double exchange_s = 0.0;  ///< it travels
  double needed_s = 0.0;    ///< its first layer runs, since the next forward began, were nothing to wait for
};

/// Buckets in the order in which they travel.
using BucketOrder = std::vector<int>;

/// As backward finishes them: 0, 1, 2, …
BucketOrder order_of_readiness(int buckets);

/// Whenever the exchange is free, of the buckets that are ready the one that is needed first travels.
BucketOrder order_of_need(const std::vector<BucketTimes>& times);

/// Seconds that computing waits for the exchange, one bucket at a time in this order: until all are there when backward has
/// ended (backward_s after it began), or bucket by bucket, each just before the layer that needs it.
double exposed_after_backward_s(const std::vector<BucketTimes>& times, const BucketOrder& order, double backward_s);
double exposed_in_forward_s(const std::vector<BucketTimes>& times, const BucketOrder& order, double backward_s);

}  // namespace dtrain
