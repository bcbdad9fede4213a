// The average of the ranks' running statistics in the place of each rank's own, while the network is evaluated or kept; and
// the ranks' own, gathered for a checkpoint and handed out again.
#pragma once

#include <span>
#include <vector>

#include "collectives/communicator.hpp"
#include "dtrain/checkpoint.hpp"
#include "trainer/replica.hpp"

namespace dtrain {

// Note [Averages leave no trace]
// Every rank moves running statistics of its own, which nothing in training reads. What is evaluated, and what files of weights
// hold, is their average; it is taken on a copy, and afterwards each rank has its own to the bit. So a run does not depend on
// when it is evaluated or saved, and one that was stopped, which saves once more, goes on to the bits of one that was not.

/// While it lives, batch-norm's statistics are the average over the ranks, each by the images that it counted; without any,
/// they are alike already.
class AveragedStatistics {
 public:
  /// Collective.
  AveragedStatistics(Replica& replica, const Communicator& communicator);
  ~AveragedStatistics();
  AveragedStatistics(const AveragedStatistics&) = delete;
  AveragedStatistics& operator=(const AveragedStatistics&) = delete;

  /// The ranks' own, on the root; empty on the others, and where all are alike. Collective.
  /// Cost: one broadcast a rank, of its statistics.
  RankStatistics gather() const;

 private:
  Replica& replica_;
  const Communicator& communicator_;
  std::vector<float> own_;
  bool are_alike_;
};

/// Gives each rank its own of the root's `statistics`, where there are as many sets as ranks; otherwise the ranks keep those
/// beside the weights, which are the average. Collective. Result: how many sets there were; 0: none.
std::int64_t hand_out(const RankStatistics& statistics, Replica& replica, const Communicator& communicator);

}  // namespace dtrain
