// The ranks of a run: all of them, and those that share this node's memory. Wraps MPI for everything outside collectives/,
// which therefore never sees <mpi.h>.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace dtrain {

class CallWatch;
class LastWords;
class NoticeMail;
class StallWatch;

/// Initialises MPI (THREAD_SERIALIZED or better) and finalises it; one per process. Catch errors inside its life, say what
/// happened and call abort(): a session that an exception unwinds ends the job, since finalising would wait for the peers.
/// calls: watches over the start and the end of MPI; outlives this; may be null.
/// Errors: CommError: MPI cannot be had at that thread level; NotJoinedError (collectives/joining.hpp).
class MpiSession {
 public:
  MpiSession(int* argc, char*** argv, CallWatch* calls = nullptr);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  /// Ends all ranks of the job with this exit code; does not return. Safe before and after other errors, and outside a session
  /// (then it ends this process). Where the launcher cannot be reached, this process ends by itself within kAbort_s.
  [[noreturn]] static void abort(int exit_code);
  /// Ends this process with this exit code after so many seconds, whatever it is doing then.
  static void end_process_after(double seconds, int exit_code);

  static constexpr double kAbort_s = 2.0;

 private:
  int exceptions_at_start_;
  CallWatch* calls_;
};

class Communicator {
 public:
  /// Splits MPI_COMM_WORLD. ranks_per_node > 0: every so many consecutive ranks of a machine count as a node (several "nodes"
  /// on one machine). Errors: CommError: MPI; NotJoinedError (collectives/joining.hpp): a launcher started N processes that do
  /// not see each other (size 1 here, but the environment of mpirun, srun or Hydra says N > 1).
  /// calls: watches over calls that wait inside MPI, here and in windows, and its time-out is that of watch() for stopped
  /// ranks; outlives this; may be null.
  explicit Communicator(int ranks_per_node = 0, CallWatch* calls = nullptr);
  /// Those ranks of `whole` that give the same part, in their order; nodes are those of `whole`. Collective over all of it; it
  /// outlives this, and its watch is watch(). Errors: CommError: MPI.
  Communicator(const Communicator& whole, int part);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  int node_rank() const { return node_rank_; }  ///< among the ranks of this node
  int node_size() const { return node_size_; }
  int node_index() const { return node_index_; }  ///< which node this is, in the order of the nodes' first ranks
  int nodes() const { return nodes_; }
  bool is_root() const { return rank_ == 0; }
  /// By which the job, and so its messages, know a rank of this communicator: another number only in a part.
  int job_rank(int rank) const { return job_ranks_[static_cast<std::size_t>(rank)]; }
  /// Ranks of all nodes, node by node: neighbours share a node wherever they can.
  const std::vector<int>& ranks_by_node() const { return ranks_by_node_; }
  /// Index of the node that a rank is on.
  int node_of(int rank) const { return node_of_[static_cast<std::size_t>(rank)]; }
  /// Lanes lead from each node to the others: ranks of the same node rank, as many as the smallest node has ranks.
  int lanes() const { return lanes_; }
  /// This rank's lane in the order of the nodes; empty where the node rank is beyond lanes().
  const std::vector<int>& lane_ranks() const { return lane_ranks_; }

  /// Watches over the waits of these ranks for each other: those of the collectives below, and those that name it in their
  /// WaitPolicy. A rank whose process has ended ends all of them at once with a LostRanksError.
  StallWatch& watch() const { return *watch_; }
  /// Null: nobody watches over calls that wait inside MPI.
  CallWatch* calls() const { return calls_; }

  /// The MPI communicators, for collectives/ alone (collectives/mpi_handles.hpp defines them).
  struct Handles;
  const Handles& handles() const { return *handles_; }

  // All of the following are collective, wait without burning the core and give up after kCollectiveTimeout_s, or when a rank's
  // process has ended, with a LostRanksError.
  // Threads: one of the process's threads in MPI at a time, so never while a CommThread has jobs to do.

  void barrier() const;
  /// The same in destructors, which cannot throw: the watch over calls ends the process in place of an error. Nothing where
  /// calls() is null.
  void meet_at_end() const;
  void broadcast(std::span<std::byte> bytes, int root = 0) const;
  /// Of a value that is nothing but its bytes.
  template <typename Value>
  Value broadcast_value(Value value, int root = 0) const {
    static_assert(std::is_trivially_copyable_v<Value>);
    broadcast(std::as_writable_bytes(std::span(&value, 1)), root);
    return value;
  }
  std::string broadcast_text(const std::string& text, int root = 0) const;
  /// Sums in place over all ranks, in rank order on every rank: bitwise equal everywhere and run to run. For statistics and
  /// metrics; gradients go through AllReduce. Cost: up to about 1 MB of values are gathered from all ranks by all, larger ones
  /// are summed block by block, one rank each (2 × the values' bytes sent).
  void sum(std::span<double> values) const;
  void sum(std::span<float> values) const;
  double max(double value) const;
  double min(double value) const;
  bool all(bool value) const;
  bool any(bool value) const;
  /// One text from each rank, on every rank.
  std::vector<std::string> gather_texts(const std::string& text) const;
  /// The same among the ranks of this node.
  std::vector<std::string> gather_node_texts(const std::string& text) const;

  /// Start-up check: every rank passes named values ("version", "configuration", "layout"); where a value differs, throws
  /// CommError on every rank, naming the value, the ranks and hosts that differ from rank 0.
  struct NamedValue {
    std::string name;
    std::string value;
  };
  void require_equal(const std::vector<NamedValue>& values) const;

 private:
  /// From world and node in handles_.
  void find_places();

  std::unique_ptr<Handles> handles_;
  std::unique_ptr<NoticeMail> mail_;
  std::unique_ptr<StallWatch> own_watch_;
  StallWatch* watch_ = nullptr;  ///< that of the whole, in a part of it
  CallWatch* calls_ = nullptr;
  std::unique_ptr<LastWords> last_words_;
  int rank_ = 0, size_ = 1, node_rank_ = 0, node_size_ = 1, node_index_ = 0, nodes_ = 1, lanes_ = 1;
  std::vector<int> ranks_by_node_, lane_ranks_, node_of_, job_ranks_;
};

/// How long a collective of a Communicator waits for the slowest rank: one may be listing millions of files meanwhile.
inline constexpr double kCollectiveTimeout_s = 3600.0;

/// Host name of this process.
std::string host_name();

}  // namespace dtrain
