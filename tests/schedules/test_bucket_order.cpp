// Orders of buckets on small schedules that can be followed by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "dtrain/random.hpp"
#include "schedules/bucket_order.hpp"

namespace dtrain {
namespace {

/// Three buckets, ready at 1, 2, 3; needed the other way round at 2, 1, 0; each travels two seconds. Backward takes 3.
const std::vector<BucketTimes> kSlow{{.ready_s = 1, .exchange_s = 2, .needed_s = 2},
                                     {.ready_s = 2, .exchange_s = 2, .needed_s = 1},
                                     {.ready_s = 3, .exchange_s = 2, .needed_s = 0}};

TEST(BucketOrder, OfReadinessIsThatOfBackward) { EXPECT_EQ(order_of_readiness(3), (BucketOrder{0, 1, 2})); }

TEST(BucketOrder, OfNeedLetsTheFirstLayersOvertake) {
  // Bucket 0 leaves at 1, alone; at 3 both others are ready, and the last one is needed first.
  EXPECT_EQ(order_of_need(kSlow), (BucketOrder{0, 2, 1}));
}

TEST(BucketOrder, OfNeedIsThatOfReadinessWhereNothingWaits) {
  std::vector<BucketTimes> fast = kSlow;
  for (BucketTimes& bucket : fast) bucket.exchange_s = 0.5;

  EXPECT_EQ(order_of_need(fast), order_of_readiness(3));
}

TEST(ExposedExchange, IsWhatIsLeftWhenBackwardHasEnded) {
  // Arrivals at 3, 5, 7.
  EXPECT_DOUBLE_EQ(exposed_after_backward_s(kSlow, {0, 1, 2}, 3.0), 4.0);
  EXPECT_DOUBLE_EQ(exposed_after_backward_s(kSlow, {0, 1, 2}, 9.0), 0.0);
  EXPECT_DOUBLE_EQ(exposed_after_backward_s({}, {}, 3.0), 0.0);
}

TEST(ExposedExchange, IsLessWhenForwardGoesAheadInTheOrderOfNeed) {
  // Arrivals of {0, 2, 1} at 3, 5, 7: the first layer waits 2, the second one then runs at 3+2+1 = 6 and waits 1 more.
  EXPECT_DOUBLE_EQ(exposed_in_forward_s(kSlow, {0, 2, 1}, 3.0), 3.0);
  // In the order of readiness the first layer waits for all.
  EXPECT_DOUBLE_EQ(exposed_in_forward_s(kSlow, {0, 1, 2}, 3.0), 4.0);
}

TEST(BucketOrder, OfNeedIsAPermutationAndNeverWorseThanReadinessInForward) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed, RandomPurpose::perturbation, {});
    std::vector<BucketTimes> times(1 + static_cast<std::size_t>(random.below(12)));
    double ready_s = 0.0;
    double needed_s = 10.0;
    for (BucketTimes& bucket : times) {
      bucket = {.ready_s = ready_s += random.uniform(0, 1), .exchange_s = 0.7, .needed_s = needed_s -= random.uniform(0, 0.8)};
    }
    const BucketOrder by_readiness = order_of_readiness(static_cast<int>(times.size()));
    const BucketOrder by_need = order_of_need(times);
    BucketOrder sorted = by_need;
    std::sort(sorted.begin(), sorted.end());

    EXPECT_EQ(sorted, by_readiness);
    EXPECT_LE(exposed_in_forward_s(times, by_need, ready_s), exposed_in_forward_s(times, by_readiness, ready_s) + 1e-12);
    EXPECT_LE(exposed_in_forward_s(times, by_need, ready_s), exposed_after_backward_s(times, by_readiness, ready_s) + 1e-12);
  }
}

}  // namespace
}  // namespace dtrain
