// Exact evaluation over all ranks: every sample once, whatever the rank count.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "collectives/communicator.hpp"
#include "dtrain/data.hpp"
#include "dtrain/loss.hpp"
#include "trainer/damage.hpp"
#include "trainer/patience.hpp"
#include "trainer/placement.hpp"
#include "trainer/replica.hpp"

namespace dtrain {

/// Pictures of this rank that have just been judged, in the order of the data set; valid during the call.
struct EvaluatedBatch {
  std::span<const float> logits;          ///< (pictures, classes) row-major
  std::span<const std::int64_t> samples;  ///< numbers in the data set; those that cannot be read are not among them
  std::span<const std::int32_t> labels;   ///< of the data set
  std::span<const std::int32_t> classes;  ///< the network's class for each label
};

struct EvaluationOptions {
  TransformOptions transform;
  int workers = 1;
  std::int64_t max_damaged = 100;
  Patience patience{};
  std::span<const std::int32_t> class_indices{};  ///< the network's class for each label; empty: the label itself
  std::function<void(const EvaluatedBatch&)> on_batch{};
};

struct EvaluationResult {
  LossSums sums;             ///< over all ranks
  std::int64_t classes = 0;  ///< of the network
  double seconds = 0.0;
  DamagedImages left_out;                    ///< by all ranks: not among the samples
  std::optional<std::int64_t> only_class{};  ///< of the network, that all images were taken for
  double loss() const { return sums.loss / static_cast<double>(sums.samples); }
  double top1() const { return static_cast<double>(sums.top1) / static_cast<double>(sums.samples); }
  /// Among five classes or fewer, every image is a hit: nothing is said of it then.
  bool has_top5() const { return classes > 5; }
  double top5() const { return static_cast<double>(sums.top5) / static_cast<double>(sums.samples); }
};

/// Runs the data set through the replica's evaluation graph; batch-norm uses the running statistics as they are (average them
/// before). What cannot be read is left out. Collective. Errors: DataError, on all ranks: more of that than is allowed, or
/// nothing else; CommError.
EvaluationResult evaluate(Replica& replica, const Dataset& dataset, const EvaluationOptions& options,
                          const Communicator& communicator, const Placement& placement);

/// Weights may be finite, and what they make of images not be so: then no figure of the result means anything. Errors, on all
/// ranks alike: DivergedError, with what was evaluated and what to try.
void require_finite(const EvaluationResult& result, const std::string& doing, const std::string& remedy);

}  // namespace dtrain
