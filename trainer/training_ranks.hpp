// Which ranks of a job train, and which serve them parameters.
#pragma once

#include <optional>

#include "collectives/communicator.hpp"
#include "schedules/parameter_shards.hpp"
#include "trainer/config.hpp"

namespace dtrain {

class TrainingRanks {
 public:
  /// Collective. The configuration is valid for all.size() ranks, and the same on all of them. all: outlives this.
  TrainingRanks(const TrainConfig& config, const Communicator& all);
  TrainingRanks(const TrainingRanks&) = delete;
  TrainingRanks& operator=(const TrainingRanks&) = delete;

  const Communicator& all() const { return all_; }
  /// Those that train; on a rank that serves alone, those that do so. Rank 0 of the job is the workers' rank 0.
  const Communicator& workers() const { return part_ ? *part_ : all_; }
  bool trains() const { return trains_; }
  /// None: gradients are summed by the ranks themselves.
  const std::optional<ServerRoles>& roles() const { return roles_; }
  /// Some ranks serve alone.
  bool has_dedicated_servers() const { return part_.has_value(); }

 private:
  const Communicator& all_;
  std::optional<ServerRoles> roles_;
  std::optional<Communicator> part_;
  bool trains_ = true;
};

}  // namespace dtrain
