// Evaluates several files of weights of one network, each by itself and all together: an ensemble, whose probabilities are the
// mean of its members'.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "trainer/evaluation.hpp"
#include "trainer/predictions.hpp"

namespace dtrain {

/// How often members say the same: shares of the pictures.
struct Agreement {
  double pairs = 0.0;  ///< two members, mean over the pairs
  double all = 0.0;    ///< all of them
};

struct EnsembleResult {
  std::vector<EvaluationResult> members;  ///< in the order of the files; the bits of each file evaluated alone
  EvaluationResult ensemble;              ///< of all together, its seconds those of all members; one file: that member's
  std::optional<Agreement> agreement;     ///< none of one file
  std::vector<Prediction> predictions;    ///< of the whole ensemble, for this rank's pictures
};

/// Evaluates each file's weights in turn, decoding the pictures anew for each (Note [Members one after the other]).
/// files    ≥ 1, all of the replica's network. Each is read and taken over before the first picture is looked at.
/// options  on_batch is called for every member.
/// replica  compiled for evaluation. Has the last file's weights, statistics and batches_tracked afterwards, also where the
///          ranks of a node share them.
/// Memory   beside one file: ensemble_bytes().
/// Collective. Errors: DataError: a file that cannot be read or does not fit the network, damaged pictures; CommError.
EnsembleResult evaluate_ensemble(Replica& replica, const std::vector<std::string>& files, const Dataset& dataset,
                                 const EvaluationOptions& options, const Communicator& communicator,
                                 const Placement& placement);

/// What a rank keeps from member to member.
std::size_t ensemble_bytes(std::int64_t samples, std::int64_t num_classes, std::size_t members, int ranks);

}  // namespace dtrain
