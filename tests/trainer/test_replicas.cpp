// The comparison of replicas, on real ranks: silence while they agree, and the slot, ranks and hosts when they do not.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "dtrain/error.hpp"
#include "dtrain/layers.hpp"
#include "dtrain/models.hpp"
#include "trainer/averaged_statistics.hpp"
#include "trainer/averaged_weights.hpp"
#include "trainer/replica.hpp"
#include "trainer/replica_agreement.hpp"

namespace dtrain {
namespace {

class Replicas : public testing::Test {
 protected:
  Replicas() { initialize(network_, 1, replica_.parameters()); }

  Communicator communicator_;
  NetworkSpec network_ = build_model("lenet5", {.num_classes = 10});
  Replica replica_{network_, CompileOptions{.batch = 2}, communicator_};
};

TEST_F(Replicas, AreAcceptedWhileTheyHaveTheSameBits) {
  EXPECT_NO_THROW(require_equal_replicas(replica_.parameters(), communicator_, 7));
}

TEST_F(Replicas, AreRefusedWithTheFirstSlotThatDiffersOnEveryRank) {
  if (communicator_.size() == 1) GTEST_SKIP() << "one replica has nobody to differ from";
  const std::vector<Slot>& slots = replica_.parameters().trained_slots();
  const int last = communicator_.size() - 1;
  if (communicator_.rank() == last) {
    // The smallest difference that there is, and another one in a later slot.
    float& weight = replica_.parameters().values(slots[2])[1];
    weight = std::nextafter(weight, 10.0f);
    replica_.parameters().values(slots[3])[0] += 1.0f;
  }

  try {
    require_equal_replicas(replica_.parameters(), communicator_, 7);
    ADD_FAILURE() << "rank " << last << " differs";
  } catch (const CommError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("after step 7"), std::string::npos) << text;
    EXPECT_NE(text.find(slots[2].spec.name + " on ranks " + std::to_string(last)), std::string::npos) << text;
    EXPECT_NE(text.find(host_name()), std::string::npos) << text;
  }
  communicator_.barrier();
}

// Of one copy a node, and of a copy a rank.
TEST(ReplicaWeights, AreTheAverageWhileTheyAreJudgedAndTheSameBitsAfterwards) {
  const Communicator communicator;
  const NetworkSpec network = build_model("lenet5", {.num_classes = 10});
  const OptimizerSettings settings{.kind = OptimizerKind::adamw, .ema = 0.5};
  for (const OptimizerSettings* const shared : {&settings, static_cast<const OptimizerSettings*>(nullptr)}) {
    Replica replica(network, CompileOptions{.batch = 2}, communicator, shared);
    Optimizer optimizer(settings, replica.parameters(), replica.common_optimizer_memory());
    initialize(network, 1, replica.parameters());
    communicator.barrier();
    const std::vector<float> weights(replica.parameters().weights().begin(), replica.parameters().weights().end());
    std::vector<float> average = weights;
    for (float& value : average) value += 0.25f;
    optimizer.begin_average(average);

    with_averaged_weights(replica, optimizer, [&] {
      EXPECT_TRUE(std::ranges::equal(replica.parameters().weights(), average));
      EXPECT_TRUE(std::ranges::equal(optimizer.weight_average(), weights));
    });

    EXPECT_TRUE(std::ranges::equal(replica.parameters().weights(), weights));
    EXPECT_TRUE(std::ranges::equal(optimizer.weight_average(), average));
    communicator.barrier();
  }
}

TEST(ReplicaStatistics, AreAveragedByThePicturesThatEachRankSaw) {
  const Communicator communicator;
  const NetworkSpec network = build_model("resnet20", {.num_classes = 10});
  Replica replica(network, CompileOptions{.batch = 2}, communicator);
  // Rank r has seen r pictures, and has r everywhere: Σr² / Σr.
  const auto rank = static_cast<float>(communicator.rank());
  std::ranges::fill(replica.parameters().statistics(), rank);
  replica.count_pictures(communicator.rank());

  const int last = communicator.size() - 1;
  const float expected = static_cast<float>(2 * last + 1) / 3.0f;
  {
    const AveragedStatistics average(replica, communicator);
    for (const float value : replica.parameters().statistics()) {
      if (last > 0) {
        ASSERT_NEAR(value, expected, 1e-6f);
      } else {
        ASSERT_EQ(value, 0.0f);
      }
    }
  }
  for (const float value : replica.parameters().statistics()) ASSERT_EQ(value, rank);
  EXPECT_EQ(replica.images_counted(), communicator.rank());

  replica.mark_statistics_alike();
  const AveragedStatistics average(replica, communicator);
  EXPECT_EQ(replica.parameters().statistics().front(), rank);
}

TEST(ReplicaStatistics, AreGatheredAndHandedOutToTheSameNumberOfRanks) {
  const Communicator communicator;
  const NetworkSpec network = build_model("resnet20", {.num_classes = 10});
  Replica replica(network, CompileOptions{.batch = 2}, communicator);
  const auto rank = static_cast<float>(communicator.rank());
  std::ranges::fill(replica.parameters().statistics(), rank);
  replica.count_pictures(communicator.rank() + 1);

  RankStatistics all = AveragedStatistics(replica, communicator).gather();

  if (communicator.size() == 1) {
    EXPECT_TRUE(all.images.empty()) << "one rank's are those beside the weights";
    return;
  }
  EXPECT_EQ(std::ssize(all.images), communicator.is_root() ? communicator.size() : 0);
  std::ranges::fill(replica.parameters().statistics(), -1.0f);
  replica.mark_statistics_alike();
  EXPECT_EQ(hand_out(all, replica, communicator), communicator.size());
  for (const float value : replica.parameters().statistics()) ASSERT_EQ(value, rank);
  EXPECT_EQ(replica.images_counted(), communicator.rank() + 1);

  if (communicator.is_root()) all.images.push_back(1);  // of one rank more
  std::ranges::fill(replica.parameters().statistics(), -1.0f);
  EXPECT_EQ(hand_out(all, replica, communicator), communicator.size() + 1);
  for (const float value : replica.parameters().statistics()) ASSERT_EQ(value, -1.0f);
}

}  // namespace
}  // namespace dtrain
