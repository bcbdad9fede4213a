// This rank's copy of the network: parameters, the gradient window that the node shares, and the compiled graphs of every batch
// size that the rank meets, all in one activation arena.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "collectives/node_window.hpp"
#include "collectives/waiting.hpp"
#include "dtrain/graph.hpp"
#include "dtrain/optimizer.hpp"
#include "schedules/shards.hpp"
#include "trainer/rank_memory.hpp"

namespace dtrain {

/// What travels with the gradients in the last bucket: sums over the ranks' pictures.
struct StepSums {
  float loss = 0.0f;
  float aux_loss = 0.0f;
  float top1 = 0.0f;
  float samples = 0.0f;
  float stops = 0.0f;    ///< ranks that were asked to stop
  float damaged = 0.0f;  ///< damaged images that some rank met and not all know of
};

inline constexpr std::int64_t kStepSumElements = kSlotAlignment;  ///< one cache line behind the gradients

class Replica {
 public:
  /// Collective. Agrees on the parameters' layout with all ranks (plain where they differ) and allocates the gradient window.
  /// options.training false: no window is needed, gradients stay private. shared_optimizer: the ranks of a node are to have
  /// one copy of the weights and of what this optimizer keeps, of which each updates its shards; where they can have no shared
  /// memory, each has its own, and update_is_private_because() says why. Null: each has its own.
  Replica(const NetworkSpec& network, const CompileOptions& options, const Communicator& communicator,
          const OptimizerSettings* shared_optimizer = nullptr);

  /// Compiles for the work's batch sizes; later calls of training_graph take one of them. Then one arena for all is allocated.
  /// Result: what all of it takes. work.sharing_ranks is found here.
  RankMemory compile(RankWork work);

  /// crop: side of the pictures.
  Graph& training_graph(std::int64_t batch, std::int64_t crop);
  Graph& largest_training_graph();
  Graph& evaluation_graph();

  const NetworkSpec& network() const { return network_; }
  ParameterStore& parameters() { return *parameters_; }
  NodeWindow& window() { return *window_; }
  const NodeWindow& window() const { return *window_; }
  const ParameterStore& parameters() const { return *parameters_; }
  /// Tensor names in torchvision's order, for files.
  const std::vector<std::string>& tensor_names() const { return names_; }
  /// The sums behind the gradients in the window: they are exchanged with the last bucket.
  StepSums& step_sums();
  /// Every node's gradients in the arena; empty where it has no parameters. When backward has done a node, all that lies before
  /// the end of its range is final.
  const std::vector<Range>& gradient_ranges() const { return gradient_ranges_; }
  /// Whether the ranks of this node have one copy of the weights. What one of them writes, all of them see.
  bool shares_update() const { return common_ != nullptr; }
  const std::string& update_is_private_because() const { return private_because_; }
  /// For the optimizer that the node's ranks share; empty where they do not.
  std::span<float> common_optimizer_memory() const;
  /// This rank has measured its shards. All ranks of the node have measured theirs then. Errors: as meet_after_update.
  void meet_before_update(const WaitPolicy& wait);
  /// This rank has updated its shard, and found its weights finite or not. Result: whether all shards' are; all ranks of the
  /// node have updated theirs then. Errors: LostRanksError: a rank of the node did not come in time.
  bool meet_after_update(bool are_finite, const WaitPolicy& wait);

  /// Exchanges the weights with the values of another arena, which is laid out as they are, and shared where they are.
  /// Collective.
  void swap_weights(std::span<float> others);

  bool has_plain_layout() const { return has_plain_layout_; }

  /// Batch-norm statistics have moved by this many pictures.
  void count_pictures(std::int64_t pictures) { pictures_ += pictures; }
  /// Images that this rank's statistics are of, as counted; 0 on all ranks: their statistics are alike.
  std::int64_t images_counted() const { return pictures_; }
  /// From now on the ranks' statistics are alike.
  void mark_statistics_alike() { pictures_ = 0; }
  /// Statistics of an earlier run, in the place of those beside the weights.
  void take_statistics(std::span<const float> values, std::int64_t images);
  /// Batch-norm's running mean and variance begin anew.
  void reset_statistics();

 private:
  NetworkSpec network_;
  CompileOptions options_;
  const Communicator& communicator_;
  bool has_plain_layout_ = false;
  std::unique_ptr<NodeWindow> window_;
  std::unique_ptr<NodeWindow> common_;  ///< weights, the optimizer's memory, and a flag; none where every rank has its own
  std::string private_because_;
  std::unique_ptr<ParameterStore> parameters_;
  std::vector<std::string> names_;
  std::vector<Range> gradient_ranges_;
  struct SizedGraph {
    std::int64_t crop;
    Graph graph;
  };
  std::vector<SizedGraph> training_graphs_;  ///< of the network's own pictures first, and among them the largest batch
  std::vector<Graph> evaluation_graph_;      ///< none or one
  AlignedMemory arena_;
  std::int64_t pictures_ = 0;  ///< since statistics were alike
};

}  // namespace dtrain
