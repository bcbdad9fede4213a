// A rank of a small training with parameter servers: its memory, its side of the exchange, and steps made of given gradients.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "collectives/node_window.hpp"
#include "collectives/parameter_server.hpp"

namespace dtrain {

inline constexpr WaitPolicy kServerTestWait{.spins = 100, .timeout_s = 60.0};

struct RankOptions {
  std::int64_t elements = 1000;
  std::int64_t partition_elements = 64;
  int servers = 0;  ///< dedicated; 0: every rank serves
  ServerMode mode = ServerMode::sync;
  int backup_workers = 0;
  std::int64_t max_staleness = 0;
  std::int64_t sum_elements = 3;
  std::int64_t first_step = 0;
  std::int64_t buckets = 3;  ///< in which a step is pushed
  std::optional<ServerRoles> roles{};
  WaitPolicy wait = kServerTestWait;
};

ParameterServerPlan plan_of(const Communicator& communicator, const RankOptions& options);

class ParameterRank {
 public:
  /// Weights begin as start(i). An update subtracts rate · gradient.
  ParameterRank(const Communicator& communicator, const RankOptions& options, float rate = 1.0f);

  static float start(std::int64_t i) { return static_cast<float>(i % 7); }

  bool trains() const { return worker.has_value(); }
  bool serves() const { return server.has_value(); }
  int workers() const { return static_cast<int>(plan.roles.workers.size()); }

  /// One step: gradient(i) for all elements, pushed in buckets, weights pulled in reverse. Result: the step to go on with.
  std::int64_t step(const StepGradients& of, const std::function<float(std::int64_t i)>& gradient);
  /// On ranks that train: steps from first to last by `train(step)`, which returns the next one; then a pause. On others:
  /// serves.
  void run(std::int64_t first, std::int64_t last, const std::function<std::int64_t(std::int64_t step)>& train);

  ParameterRank(const ParameterRank&) = delete;  // the update holds its address
  ParameterRank& operator=(const ParameterRank&) = delete;

  const RankOptions options;
  const ParameterServerPlan plan;
  std::vector<float> gradients, weights, server_weights;
  Range updated_partition;                  ///< the first that was updated
  std::vector<std::int64_t> updated_steps;  ///< and in which steps
  std::optional<ParameterServer> server;
  std::optional<ParameterWorker> worker;
};

/// Whether all workers hold the same bits. Collective over all ranks.
bool are_equal_on_workers(const Communicator& communicator, const ParameterRank& rank);

/// Element i of a rank's gradient in a step: a small integer, so that sums are exact in any order.
float integer_gradient(int rank, std::int64_t step, std::int64_t i);
/// Of mixed magnitude, so that another order of additions would show.
float real_gradient(int rank, std::int64_t step, std::int64_t i);

std::string bits_of(std::span<const float> values);
void sleep_ms(std::int64_t milliseconds);

/// A number of each rank of this machine that all of them see.
class Board {
 public:
  explicit Board(const Communicator& communicator) : window_(communicator, 1) {}
  void write(float value) { std::atomic_ref(window_.own()[0]).store(value); }
  float read(int rank) const { return std::atomic_ref(window_.segment(rank)[0]).load(); }

 private:
  NodeWindow window_;
};

}  // namespace dtrain
