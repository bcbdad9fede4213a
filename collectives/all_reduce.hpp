// Sums over ranks: each algorithm once, blocking, in place.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "collectives/communicator.hpp"
#include "collectives/node_window.hpp"
#include "collectives/waiting.hpp"

namespace dtrain {

enum class AllReduceAlgorithm { automatic, shm, ring, mpi, none };

/// "auto", "shm", "ring", "mpi", "none". Errors: ConfigError names the known ones; names of algorithms that are planned but not
/// built yet are refused with the one to use instead.
AllReduceAlgorithm parse_all_reduce(std::string_view name);
std::string to_text(AllReduceAlgorithm algorithm);

/// What `automatic` means here: shm when all ranks are on one node and the window is shared, else ring; none for one rank.
/// Errors: ConfigError: shm asked for across nodes or without a shared window.
AllReduceAlgorithm choose_all_reduce(AllReduceAlgorithm asked, const Communicator& communicator, bool window_is_shared);

/// Sums [offset, offset+count) of every rank's window segment, in place: rank r of the node sums part r out of all segments and
/// stores the sum into all of them. All ranks on one node.
/// Cost: each rank reads and writes count·4 bytes (its 1/p part, of p segments); two barriers.
/// Result: bitwise equal on all ranks; association order is that of the node ranks.
/// Errors: CommError: a rank of the node did not come in time.
void shm_all_reduce(NodeWindow& window, std::int64_t offset, std::int64_t count, const WaitPolicy& wait);

/// Sums `data` over all ranks around a ring, in segments in flight while the previous one is added.
/// data: equally long on every rank; any length, below the rank count too. scratch: ring_scratch_elements(); contents lost.
/// Cost: 2(p−1) block transfers in segments, 2(p−1)/p · 4·count bytes sent per rank.
/// Result: bitwise equal on all ranks; association order depends on p and count only.
/// Errors: CommError: MPI failed, or a peer stopped answering (names it, the block and the step). `data` and `scratch` must
/// then live until the job has ended. Source: Patarasuk & Yuan, JPDC 69 (2009) 117–124.
void ring_all_reduce(const Communicator& communicator, std::span<float> data, std::span<float> scratch, const WaitPolicy& wait);
std::int64_t ring_scratch_elements();

/// MPI_Allreduce, in place. Waits as MPI does, without a time-out.
void mpi_all_reduce(const Communicator& communicator, std::span<float> data);

/// Chosen algorithm over the window's own segment: what the comm thread runs for each bucket.
class AllReduce {
 public:
  /// algorithm: not automatic (choose_all_reduce decides). communicator and window outlive this.
  AllReduce(const Communicator& communicator, NodeWindow& window, AllReduceAlgorithm algorithm, WaitPolicy wait);
  /// Sums [offset, offset+count) of the window in place over all ranks. Blocking. Same order of calls on all ranks.
  void run(std::int64_t offset, std::int64_t count);
  AllReduceAlgorithm algorithm() const { return algorithm_; }

 private:
  const Communicator& communicator_;
  NodeWindow& window_;
  AllReduceAlgorithm algorithm_;
  WaitPolicy wait_;
  std::unique_ptr<float[]> scratch_;  ///< of the ring
};

}  // namespace dtrain
