// List scheduling on one machine, the exchange: buckets have release times (ready) and due times (needed).
//
//   backward          |── layer 3 ──|── layer 2 ──|── layer 1 ──|   forward |─ 1 ─|─ 2 ─|─ 3 ─|
//   ready                           3             2             1
//   travels                         [   bucket 3   ]            [ bucket 1 ][ bucket 2 ]
//                                                                           └ layer 1 runs, layer 2 waits a little
#include "schedules/bucket_order.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "dtrain/error.hpp"

namespace dtrain {

namespace {

/// When each bucket has arrived, since backward began.
std::vector<double> arrivals(const std::vector<BucketTimes>& times, const BucketOrder& order) {
  check(order.size() == times.size(), "an order of all buckets");
  std::vector<double> arrived_s(times.size());
  double free_s = 0.0;
  for (const int bucket : order) {
    const auto at = static_cast<std::size_t>(bucket);
    free_s = std::max(free_s, times[at].ready_s) + times[at].exchange_s;
    arrived_s[at] = free_s;
  }
  return arrived_s;
}

}  // namespace

BucketOrder order_of_readiness(int buckets) {
  BucketOrder order(static_cast<std::size_t>(buckets));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

BucketOrder order_of_need(const std::vector<BucketTimes>& times) {
  BucketOrder order;
  std::vector<bool> has_left(times.size(), false);
  double now_s = 0.0;
  while (order.size() < times.size()) {
    std::size_t chosen = times.size();
    double next_ready_s = std::numeric_limits<double>::infinity();
    for (std::size_t bucket = 0; bucket < times.size(); ++bucket) {
      if (has_left[bucket]) continue;
      next_ready_s = std::min(next_ready_s, times[bucket].ready_s);
      if (times[bucket].ready_s > now_s) continue;
      if (chosen == times.size() || times[bucket].needed_s < times[chosen].needed_s) chosen = bucket;
    }
    if (chosen == times.size()) {
      now_s = next_ready_s;
      continue;
    }
    has_left[chosen] = true;
    now_s += times[chosen].exchange_s;
    order.push_back(static_cast<int>(chosen));
  }
  return order;
}

double exposed_after_backward_s(const std::vector<BucketTimes>& times, const BucketOrder& order, double backward_s) {
  const std::vector<double> arrived_s = arrivals(times, order);
  const double last_s = arrived_s.empty() ? 0.0 : *std::max_element(arrived_s.begin(), arrived_s.end());
  return std::max(0.0, last_s - backward_s);
}

double exposed_in_forward_s(const std::vector<BucketTimes>& times, const BucketOrder& order, double backward_s) {
  const std::vector<double> arrived_s = arrivals(times, order);
  // A wait delays all that comes after it, so the longest one that any bucket asks for is what all of them cost.
  double waited_s = 0.0;
  for (std::size_t bucket = 0; bucket < times.size(); ++bucket) {
    waited_s = std::max(waited_s, arrived_s[bucket] - backward_s - times[bucket].needed_s);
  }
  return waited_s;
}

}  // namespace dtrain
