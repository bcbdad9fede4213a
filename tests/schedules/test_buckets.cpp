// Buckets cover the arena without gaps, cut on cache lines, none too small.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "schedules/buckets.hpp"

namespace dtrain {
namespace {

TEST(Buckets, CoverTheArenaInOrderWithCutsOnTheAlignment) {
  for (const std::int64_t elements : {1, 15, 16, 17, 1000, 100003, 25557032}) {
    for (const std::int64_t bucket : {1, 16, 1000, 65536, 30000000}) {
      for (const std::int64_t first : {0, 1, 4096}) {
        if (elements / bucket > 200000) continue;
        const std::vector<Range> buckets =
            plan_buckets({.elements = elements, .bucket_elements = bucket, .first_bucket_elements = first, .alignment = 16});

        ASSERT_FALSE(buckets.empty());
        std::int64_t begin = 0;
        for (const Range& range : buckets) {
          ASSERT_EQ(range.begin, begin);
          ASSERT_EQ(range.begin % 16, 0);
          ASSERT_GT(range.size(), 0);
          begin = range.end;
        }
        EXPECT_EQ(begin, elements);
      }
    }
  }
}

TEST(Buckets, HaveTheWishedSizeRoundedUpToTheAlignment) {
  const std::vector<Range> buckets = plan_buckets({.elements = 320, .bucket_elements = 100, .alignment = 16});

  EXPECT_EQ(buckets, (std::vector<Range>{{0, 112}, {112, 224}, {224, 320}}));
}

TEST(Buckets, StartWithASmallOne) {
  const std::vector<Range> buckets =
      plan_buckets({.elements = 400, .bucket_elements = 160, .first_bucket_elements = 20, .alignment = 16});

  EXPECT_EQ(buckets, (std::vector<Range>{{0, 32}, {32, 192}, {192, 400}}));
}

TEST(Buckets, JoinALastBucketShorterThanHalfToTheOneBeforeIt) {
  EXPECT_EQ(plan_buckets({.elements = 160 + 79, .bucket_elements = 160}), (std::vector<Range>{{0, 239}}));
  EXPECT_EQ(plan_buckets({.elements = 160 + 80, .bucket_elements = 160}), (std::vector<Range>{{0, 160}, {160, 240}}));
}

TEST(Buckets, AreNoneForAnEmptyArena) { EXPECT_TRUE(plan_buckets({.elements = 0, .bucket_elements = 16}).empty()); }

TEST(Buckets, AreOneWhenTheWishExceedsTheArenaHoweverFar) {
  const std::int64_t all = std::numeric_limits<std::int64_t>::max();

  EXPECT_EQ(plan_buckets({.elements = 100, .bucket_elements = all}), (std::vector<Range>{{0, 100}}));
  EXPECT_EQ(plan_buckets({.elements = 100, .bucket_elements = all, .first_bucket_elements = all}),
            (std::vector<Range>{{0, 100}}));
  EXPECT_EQ(plan_buckets({.elements = 100, .bucket_elements = all, .first_bucket_elements = 16}),
            (std::vector<Range>{{0, 100}}));
}

TEST(Buckets, RefuseASizeOfZero) { EXPECT_THROW(plan_buckets({.elements = 100, .bucket_elements = 0}), std::logic_error); }

}  // namespace
}  // namespace dtrain
