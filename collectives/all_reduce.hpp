// Sums of gradients over all ranks: slices of the node-shared window are prepared once, then summed step after step, in place,
// blocking, each by the algorithm that the table says for its size.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "collectives/communicator.hpp"
#include "collectives/exchange.hpp"
#include "collectives/node_window.hpp"
#include "collectives/waiting.hpp"
#include "schedules/algorithms.hpp"

namespace dtrain {

/// What `asked` means here: a table without automatic. The same on all ranks. Collective.
/// Errors: ConfigError: shm asked for across nodes; shm or hierarchical without shared windows; a bf16 wire where no algorithm
/// of the table sends rounded values.
AlgorithmTable choose_algorithms(const AlgorithmTable& asked, const Communicator& communicator, const NodeWindow& window,
                                 WireType wire);

/// MPI_Allreduce, in place. Waits as MPI does, without a time-out.
void mpi_all_reduce(const Communicator& communicator, std::span<float> data);

class AllReduce {
 public:
  /// algorithms: not automatic (choose_algorithms decides). communicator and window outlive this.
  AllReduce(const Communicator& communicator, NodeWindow& window, const AlgorithmTable& algorithms, WireType wire,
            WaitPolicy wait);

  /// Plans the sum of a slice of the window, the same on all ranks. Result: its number, from 0 on.
  int prepare(Range slice);
  /// Sums the prepared slice over all ranks, in every rank's segment. Blocking. Same order of calls on all ranks. Allocates
  /// nothing. Result: bitwise equal on all ranks; association order depends on algorithm, ranks and the slice's size only.
  void run(int prepared);
  AllReduceAlgorithm algorithm(int prepared) const { return prepared_[static_cast<std::size_t>(prepared)].algorithm; }

 private:
  struct Prepared {
    Range slice;
    AllReduceAlgorithm algorithm = AllReduceAlgorithm::none;
    Range shard;        ///< of the slice, this rank's; empty where there are no shards
    ExchangePlan plan;  ///< with the other ranks, or with the other nodes' ranks of this lane
  };

  const Communicator& communicator_;
  NodeWindow& window_;
  AlgorithmTable algorithms_;
  WaitPolicy wait_;
  RankGroup everyone_, lane_;
  std::function<void(const Range&)> sum_on_own_node_;
  std::optional<Exchange> exchange_;  ///< where the table has algorithms that send
  std::vector<Prepared> prepared_;
};

}  // namespace dtrain
