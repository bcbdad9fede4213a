// Roles, and the communicator of those who share one; see training_ranks.hpp.
#include "trainer/training_ranks.hpp"

#include <algorithm>
#include <vector>

namespace dtrain {

TrainingRanks::TrainingRanks(const TrainConfig& config, const Communicator& all) : all_(all) {
  if (!uses_parameter_servers(config)) return;
  std::vector<int> node_of_rank;
  for (int rank = 0; rank < all.size(); ++rank) node_of_rank.push_back(all.node_of(rank));
  roles_ = plan_server_roles({.node_of_rank = node_of_rank, .servers = config.parameter_servers});
  if (config.parameter_servers == 0) return;
  trains_ = std::ranges::binary_search(roles_->workers, all.rank());
  part_.emplace(all, trains_ ? 0 : 1);
}

}  // namespace dtrain
