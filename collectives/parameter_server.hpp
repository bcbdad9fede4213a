// Parameter servers, the other way to train in parallel: servers hold the weights, each a share of them; workers push gradients
// and get updated weights back. What an update is, the caller says.
//
// Note [Which gradients an update takes]
// A server decides for its share alone; servers do not talk to each other.
//   sync    All workers' gradients of a step, partition by partition as they arrive, added in worker order: the same bits in
//           every run. A partition's weights return while later ones are still being pushed.
//   backup  The first n−b gradients of a step that have arrived in whole (Chen et al.: "first N gradients"): all of a worker's
//           partitions at this server. Different servers may count different workers in a step; a partition never does. They
//           are added in worker order and scaled by batch/samples, so that the update stays the mean over the pictures that
//           counted. Where the first n−b bring no picture at all, the next ones are waited for. Later gradients of the step are
//           dropped, and their worker is sent on to the step that is open now: what it skips, it skips on all servers.
//           Because a gradient counts or not as a whole, no weights return before the push has ended.
//   async   Every worker's gradient by itself, partition by partition, as it arrives. A worker is sent the weights of a
//           partition only once it is at most max_staleness steps ahead of the slowest worker there; 0: all in lockstep.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collectives/communicator.hpp"
#include "collectives/waiting.hpp"
#include "schedules/parameter_shards.hpp"

namespace dtrain {

enum class ServerMode { sync, backup, async };

/// What all ranks agree on.
struct ParameterServerPlan {
  ServerRoles roles;
  std::vector<ParameterPartition> partitions;  ///< of the parameters, from 0 on; places in roles.servers
  std::int64_t sum_elements = 0;               ///< behind the parameters in the gradient arena, at most kMostSums
  ServerMode mode = ServerMode::sync;
  int backup_workers = 0;          ///< backup: b of the n workers
  std::int64_t max_staleness = 0;  ///< async
  std::int64_t first_step = 0;     ///< steps done before
};
inline constexpr std::int64_t kMostSums = 16;
inline constexpr std::int64_t kMostPartitions = 16000;  ///< of a plan

/// Applies a gradient to the server's weights. partition: of the arena; gradient: as long, valid during the call; step: from 0,
/// over the whole run; in async mode that of the worker whose gradient it is.
using ParameterUpdate = std::function<void(const Range& partition, std::span<const float> gradient, std::int64_t step)>;

/// A rank's share of the weights. Never blocks but in serve(); allocates nothing after construction.
/// Threads: one at a time in the server and, on a rank that also trains, in its worker: the comm thread.
class ParameterServer {
 public:
  /// weights: an arena of all parameters, of which the server reads (and the update writes) its own partitions; equal to the
  /// workers' at first. On a rank that also trains, not the replica's own: gradients of others are applied while it computes.
  /// All references outlive this. Buffers: see buffer_bytes. Where ranks make one after another, they meet in between: the
  /// earlier one of a slow rank could take what is meant for the later.
  ParameterServer(const Communicator& communicator, const ParameterServerPlan& plan, std::span<const float> weights,
                  ParameterUpdate update, WaitPolicy wait);
  /// Takes its receives back where all workers have paused; otherwise they, and the buffers, are left to the end of the job.
  ~ParameterServer();
  ParameterServer(const ParameterServer&) = delete;
  ParameterServer& operator=(const ParameterServer&) = delete;

  /// On a rank that serves alone: serves until all workers have paused; may be called again for what follows. Sleeps when
  /// nothing comes. Errors: CommError: MPI; workers that are out of step; a step that was begun and not gone on with within the
  /// time-out (names the workers that are missing), or an hour without a step.
  void serve();

  // On a rank that also trains its worker calls these.

  /// Deals with what has come, and returns at once. Result: whether anything had.
  bool progress();
  /// All workers have paused: until resume() no call of this server is needed.
  bool is_paused() const;
  void resume();

  /// Memory of the server on `rank`: gradients that arrive, of each worker two partitions at a time in sync mode and the
  /// server's whole share otherwise; and in sync mode their sums. 0 for a rank that does not serve.
  static std::size_t buffer_bytes(const ParameterServerPlan& plan, int rank);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What a worker knows of a step before it pushes.
struct StepGradients {
  std::int64_t step = 0;           ///< from 0, over the whole run
  std::int64_t samples = 0;        ///< in this worker's gradients
  std::int64_t batch_samples = 0;  ///< in those of all workers
};

/// A worker's memory; outlives the worker.
struct WorkerMemory {
  std::span<float> gradients;  ///< of the parameters, then the step's sums
  std::span<float> weights;    ///< of the parameters
};

/// The side of a rank that trains. Every step: begin_step, push as backward goes on, pull as weights are needed, finish_step.
/// Threads: begin_step, next_step: any, while no other call is under way; all others: the comm thread.
class ParameterWorker {
 public:
  /// own_server: of a rank that also serves; its server then makes progress in every call of the worker. May be null.
  ParameterWorker(const Communicator& communicator, const ParameterServerPlan& plan, WorkerMemory memory, WaitPolicy wait,
                  ParameterServer* own_server = nullptr);
  ~ParameterWorker();
  ParameterWorker(const ParameterWorker&) = delete;
  ParameterWorker& operator=(const ParameterWorker&) = delete;

  /// The step's sums are final, and travel with the first push.
  void begin_step(const StepGradients& step);
  /// Gradients [0, final_elements) are final, and their weights are not read any more until they are pulled: pushes the
  /// partitions that are complete, and returns when the gradients have left. final_elements: grows within a step, to all
  /// parameters or more. Errors: CommError: MPI, or a server does not take them.
  void push(std::int64_t final_elements);
  /// Waits until the weights of all partitions that overlap `elements` are there; in backup mode until all are.
  /// Errors: CommError: MPI, or a server does not answer (names it and the partition).
  void pull(const Range& elements);
  /// Sync mode: waits for the sums over all workers, while weights may still be on their way. Errors: as pull.
  void receive_sums();
  /// Waits for all weights and for the sums: over all workers in sync mode; in backup mode over those that counted at the first
  /// server, in all steps from this one up to the next to go on with; left as they are in async mode. Errors: as pull.
  void finish_step();
  /// After finish_step: the step to go on with, the next one unless backup workers were too late.
  std::int64_t next_step() const;

  /// Tells the servers that this worker's next step may take its time. On a rank that also serves, serves until all workers
  /// have paused. After that no rank needs this one, and other threads may use MPI until the next push. Between steps only, and
  /// after the same step on all workers.
  void pause();

  /// For the comm thread while it has no job: lets weights arrive and the own server serve, with polite pauses. Result: whether
  /// there is more to expect.
  bool progress_while_idle();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Gives every rank the servers' values of an arena of all parameters: weights, or an optimizer's state. Collective over all
/// ranks, while the workers pause. Errors: CommError.
void broadcast_partitions(const Communicator& communicator, const ParameterServerPlan& plan, std::span<float> arena);

/// "sync", "backup", "async". Errors: ConfigError.
ServerMode parse_server_mode(std::string_view name);
std::string to_text(ServerMode mode);

}  // namespace dtrain
