// What a rank's memory goes to: planned before anything large is allocated, and reported after a run. One account for both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "dtrain/graph.hpp"
#include "trainer/run_plan.hpp"

namespace dtrain {

/// Batches that a loader holds: one being computed on, one ready or being filled.
inline constexpr int kPrefetchBatches = 2;

/// What a rank is going to do, as far as memory depends on it.
struct RankWork {
  std::vector<std::int64_t> training_batches;  ///< distinct micro-batch sizes; empty: no training
  std::vector<std::int64_t> training_crops{};  ///< sides of the pictures that stages train on; empty: the network's alone
  std::int64_t evaluation_batch = 0;           ///< 0: no evaluation
  std::int64_t loader_batch = 0;               ///< pictures of a training batch for which the loader has room
  std::int64_t samples = 0;                    ///< whose order the training loader keeps
  OptimizerSettings optimizer{};               ///< of training
  int ranks = 1;                               ///< that exchange messages, this one included
  int sharing_ranks = 1;                       ///< of a node that have one copy of weights and the optimizer's state
  std::function<std::size_t(std::int64_t parameters)> serving_bytes{};  ///< what serving parameters takes; empty: it does not
  bool saves = false;                 ///< writes checkpoints, which are copied row-major first
  std::int64_t saved_statistics = 0;  ///< sets of running statistics, one a rank, that are gathered for them
  std::size_t resident_bytes = 0;     ///< what the process had before: program, libraries, MPI, list of pictures
};

/// A graph of training.
struct TrainingShape {
  std::int64_t batch = 0;
  std::int64_t crop = 0;
};
/// Every batch with every size of pictures, the network's own size and the largest batch first.
std::vector<TrainingShape> training_shapes(const NetworkSpec& network, const RankWork& work);

/// The computing of one rank of a training run; the rest is the caller's to fill in.
RankWork training_work(const RunPlan& plan, int ranks, int rank, bool evaluates);

struct RankMemory {
  std::size_t activations_bytes = 0;  ///< arena of all graphs: activations and their gradients, reused by liveness
  std::size_t scratch_bytes = 0;      ///< part of the arena
  std::size_t weights_bytes = 0;  ///< f32 master weights; this and the next but one: this rank's part, where they are shared
  std::size_t gradients_bytes = 0;
  std::size_t optimizer_bytes = 0;   ///< velocity and the like
  std::size_t statistics_bytes = 0;  ///< of batch-norm, the running ones
  std::size_t serving_bytes = 0;     ///< weights and buffers of a parameter server
  std::size_t kernels_bytes = 0;     ///< generated code and what describes it; estimated
  std::size_t peers_bytes = 0;       ///< what MPI keeps for each other rank once it is spoken to; estimated
  std::size_t pictures_bytes = 0;    ///< loaded ahead, and their order
  std::size_t checkpoint_bytes = 0;  ///< one that is being written
  std::size_t resident_bytes = 0;    ///< before compiling, measured

  std::size_t total_bytes() const;

  struct Line {
    const char* key;   ///< in report.json
    const char* text;  ///< for people
    std::size_t bytes;
  };
  /// The parts of the total, in order.
  std::vector<Line> lines() const;
};

/// The account of parameters and graphs, whether they exist or are merely planned.
RankMemory account_memory(const NetworkSpec& network, const ParameterStore& parameters, const std::vector<MemoryPlan>& graphs,
                          const RankWork& work);

/// Plans a rank's memory without allocating any of it. Cost: that of compiling every graph once, 0.1 s each for large networks.
/// Errors: ConfigError, as compiling.
RankMemory plan_memory(const NetworkSpec& network, const CompileOptions& options, const RankWork& work);

/// One line for the log.
std::string describe(const RankMemory& memory);

/// Resident memory of this process.
std::size_t resident_bytes();

/// "1.76 GB".
std::string gigabytes_text(std::size_t bytes);

}  // namespace dtrain
