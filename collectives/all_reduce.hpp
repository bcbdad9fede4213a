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
#include "collectives/node_sum.hpp"
#include "collectives/node_window.hpp"
#include "collectives/waiting.hpp"
#include "schedules/algorithms.hpp"
#include "schedules/exchange_cost.hpp"

namespace dtrain {

/// What `asked` means here: a table without automatic. The same on all ranks. Collective.
/// Errors: ConfigError: shm asked for across nodes; shm or hierarchical without shared windows; a bf16 wire where no algorithm
/// of the table sends rounded values.
AlgorithmTable choose_algorithms(const AlgorithmTable& asked, const Communicator& communicator, const NodeWindow& window,
                                 WireType wire);

/// The communicator's ranks as the cost model sees them; nodes of unequal size count as the average, rounded up.
Cluster cluster_of(const Communicator& communicator);

/// MPI_Allreduce, in place. Waits as MPI does, without a time-out.
void mpi_all_reduce(const Communicator& communicator, std::span<float> data);

/// Sums a few values over all ranks, in place: by MPI to rank 0, and from there to all, so that all of them get the same bits.
/// Beside the training loop's other messages. Cost: about 2·log2(ranks) messages, one after the other. Errors: CommError: MPI;
/// LostRanksError, from the watch.
void sum_at_root(const Communicator& communicator, std::span<double> values, const WaitPolicy& wait);
/// Gives all ranks the values of rank 0. Cost: about log2(ranks) messages. Errors: as above.
void broadcast_from_root(const Communicator& communicator, std::span<float> values, const WaitPolicy& wait);

/// Where a slice's sums are to be found: in every rank's segment, or each shard in its owner's, for owners who need no more
/// (the ranks of a node share the update of common weights). The latter saves the stores, or the copies, to the others.
enum class SumsAt { every_rank, shard_owner };

struct SliceTraits {
  SumsAt where = SumsAt::every_rank;             ///< the same for all ranks of a node
  bool is_exact = false;                         ///< travels in fp32 also where the wire is bf16
  std::int64_t shard_alignment = kLineElements;  ///< shards are cut at multiples of this; the same on all ranks
};

class AllReduce {
 public:
  /// algorithms: not automatic (choose_algorithms decides). communicator and window outlive this.
  AllReduce(const Communicator& communicator, NodeWindow& window, const AlgorithmTable& algorithms, WireType wire,
            WaitPolicy wait);

  /// Plans the sum of a slice of the window, the same on all ranks. Result: its number, from 0 on.
  int prepare(Range slice, SliceTraits traits = {});
  /// Sums the prepared slice over all ranks. Blocking. Same order of calls on all ranks. Allocates nothing. With shard_owner,
  /// nobody may write the slice in its segment until all ranks of the node have returned. Result: bitwise equal on all ranks;
  /// association order depends on algorithm, ranks, the slice's size and the shards' alignment only.
  void run(int prepared);
  /// Bytes that this rank sends to other nodes, headers not counted; 0 where MPI plans.
  std::int64_t bytes_to_other_nodes(int prepared) const;
  /// The part of the slice that is this rank's among the ranks of its node, who together have all of it.
  const Range& shard(int prepared) const { return prepared_[static_cast<std::size_t>(prepared)].shard; }
  AllReduceAlgorithm algorithm(int prepared) const { return prepared_[static_cast<std::size_t>(prepared)].algorithm; }

 private:
  struct Prepared {
    Range slice;
    SumsAt where = SumsAt::every_rank;
    WireType wire = WireType::fp32;
    AllReduceAlgorithm algorithm = AllReduceAlgorithm::none;
    Range shard;  ///< may be empty
    std::int64_t shard_alignment = kLineElements;
    ExchangePlan plan;  ///< with the other ranks, or with the other nodes' ranks of this lane
  };

  const Communicator& communicator_;
  NodeWindow& window_;
  AlgorithmTable algorithms_;
  WireType wire_;
  WaitPolicy wait_;
  RankGroup everyone_, lane_;
  std::function<void(const Range&)> sum_on_own_node_;
  std::optional<Exchange> exchange_;  ///< where the table has algorithms that send
  std::vector<Prepared> prepared_;
};

}  // namespace dtrain
