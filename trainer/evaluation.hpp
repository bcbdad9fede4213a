// Exact evaluation over all ranks: every sample once, whatever the rank count.
#pragma once

#include "collectives/communicator.hpp"
#include "dtrain/data.hpp"
#include "dtrain/loss.hpp"
#include "trainer/placement.hpp"
#include "trainer/replica.hpp"

namespace dtrain {

struct EvaluationOptions {
  TransformOptions transform;
  int workers = 1;
  std::int64_t max_damaged = 100;
  std::span<const std::int32_t> class_indices{};  ///< the network's class for each label; empty: the label itself
  bool keeps_logits = false;                      ///< this rank's logits, (samples of the rank, classes) row-major
};

struct EvaluationResult {
  LossSums sums;  ///< over all ranks
  double seconds = 0.0;
  std::vector<float> logits;
  DataFaults faults;  ///< damaged pictures that this rank met
  double loss() const { return sums.loss / static_cast<double>(sums.samples); }
  double top1() const { return static_cast<double>(sums.top1) / static_cast<double>(sums.samples); }
  double top5() const { return static_cast<double>(sums.top5) / static_cast<double>(sums.samples); }
};

/// Runs the data set through the replica's evaluation graph; batch-norm uses the running statistics as they are (average them
/// before). Collective. Errors: DataError, CommError.
EvaluationResult evaluate(Replica& replica, const Dataset& dataset, const EvaluationOptions& options,
                          const Communicator& communicator, const Placement& placement);

}  // namespace dtrain
