// The mean of members' probabilities against numbers worked out by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "trainer/mean_probabilities.hpp"

namespace dtrain {
namespace {

using Classes = std::vector<std::int32_t>;
using Logits = std::vector<float>;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// Logits whose softmax are these probabilities, to the rounding of a float.
Logits logits_of(const std::vector<double>& probabilities) {
  Logits logits;
  for (const double probability : probabilities) logits.push_back(static_cast<float>(std::log(probability)));
  return logits;
}

MeanProbabilities mean_of(std::int64_t num_classes, const std::vector<Logits>& members, const Classes& classes) {
  MeanProbabilities mean(num_classes, std::ssize(classes), members.size());
  for (const Logits& logits : members) {
    mean.begin_member();
    mean.add(logits, classes);
  }
  return mean;
}

// (0.7, 0.2, 0.1) and (0.1, 0.6, 0.3): the mean is (0.4, 0.4, 0.2) and rounds one way or the other, so the second member says
// 0.5 for class 1 instead: (0.4, 0.35, 0.25).
TEST(MeanProbabilities, AreOfProbabilitiesNotOfLogits) {
  const MeanProbabilities mean = mean_of(3, {logits_of({0.7, 0.2, 0.1}), logits_of({0.1, 0.5, 0.4})}, {1});

  const LossSums sums = mean.sums();

  EXPECT_EQ(sums.samples, 1);
  EXPECT_EQ(sums.top1, 0);
  EXPECT_EQ(sums.top5, 1);
  // Logits are rounded to 2⁻²⁴ of at most 2.4, which moves log p by as much.
  EXPECT_NEAR(sums.loss, -std::log(0.35), 4e-7);
  EXPECT_EQ(mean.most_likely_of(0), 0);
}

TEST(MeanProbabilities, OfOneMemberAreItsOwn) {
  const Logits logits{3.0f, -1.0f, 0.5f, 8.0f, 7.0f, 9.0f, 0.25f, 0.5f, 0.75f};
  const Classes classes{0, 2, 1};

  const LossSums mean = mean_of(3, {logits}, classes).sums();

  const LossSums own = softmax_cross_entropy(logits, classes, 3, 0.0f, 0.0f, {});
  EXPECT_EQ(mean.top1, own.top1);
  EXPECT_EQ(mean.top5, own.top5);
  EXPECT_NEAR(mean.loss, own.loss, 1e-14 * own.loss);
}

TEST(MeanProbabilities, CountTheFiveLargestWithTheLowestOfEqualOnesFirst) {
  const std::vector<Logits> members{{0, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0}};

  EXPECT_EQ(mean_of(7, members, {0}).sums().top1, 1);
  EXPECT_EQ(mean_of(7, members, {1}).sums().top1, 0);
  EXPECT_EQ(mean_of(7, members, {4}).sums().top5, 1);
  EXPECT_EQ(mean_of(7, members, {5}).sums().top5, 0);
}

// e⁻²⁰⁰ and e⁻³⁰⁰ are no floats, and their mean's logarithm is −200 − log 2 to within e⁻¹⁰⁰.
TEST(MeanProbabilities, HaveALossWhereNoFloatIsSmallEnough) {
  const LossSums sums = mean_of(2, {{200.0f, 0.0f}, {300.0f, 0.0f}}, {1}).sums();

  EXPECT_NEAR(sums.loss, 200.0 + std::log(2.0), 1e-12);
  EXPECT_EQ(sums.top1, 0);
}

TEST(MeanProbabilities, AreNeverRightWhereAMemberIsNotANumber) {
  for (const Logits& broken : {Logits{kNaN, 0.0f}, Logits{0.0f, kNaN}, Logits{HUGE_VALF, 0.0f}}) {
    const MeanProbabilities mean = mean_of(2, {{9.0f, 0.0f}, broken}, {0});

    EXPECT_FALSE(std::isfinite(mean.sums().loss));
    EXPECT_EQ(mean.sums().top1, 0);
    EXPECT_EQ(mean.sums().top5, 0);
    EXPECT_EQ(mean.most_likely_of(0), -1);
    EXPECT_EQ(mean.agreement().pairs, 0);
  }
}

// Of three members, pictures on which all, two and none agree; the last in a call of its own.
TEST(MeanProbabilities, CountPairsAndPicturesOnWhichMembersAgree) {
  const std::vector<std::vector<std::int32_t>> said{{2, 0, 0}, {2, 1, 1}, {2, 1, 2}};  // of members, per picture
  MeanProbabilities mean(3, 3, 3);
  for (const auto& member : said) {
    mean.begin_member();
    for (const auto& [begin, end] : {std::pair{0, 2}, std::pair{2, 3}}) {
      Logits logits;
      for (int picture = begin; picture < end; ++picture) {
        for (std::int32_t c = 0; c < 3; ++c) logits.push_back(c == member[static_cast<std::size_t>(picture)] ? 1.0f : 0.0f);
      }
      mean.add(logits, Classes(static_cast<std::size_t>(end - begin), 0));
    }
  }

  EXPECT_EQ(mean.samples(), 3);
  EXPECT_EQ(mean.agreement().pairs, 3 + 1 + 0);
  EXPECT_EQ(mean.agreement().all, 1);
}

TEST(MeanProbabilities, RefuseOtherPicturesForTheNextMember) {
  MeanProbabilities mean(2, 2, 3);
  mean.begin_member();
  mean.add(Logits{0, 0, 0, 0}, Classes{0, 1});
  mean.begin_member();

  EXPECT_THROW(mean.add(Logits{0, 0}, Classes{1}), std::logic_error);
  mean.add(Logits{0, 0}, Classes{0});
  EXPECT_THROW(mean.begin_member(), std::logic_error) << "the second picture is missing";
}

}  // namespace
}  // namespace dtrain
