// The exchange by way of parameter servers, on a rank that trains: pushes gradients as backward finishes them, and has weights
// back from the servers before the layers need them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "collectives/comm_thread.hpp"
#include "collectives/parameter_server.hpp"
#include "dtrain/optimizer.hpp"
#include "schedules/shards.hpp"
#include "trainer/gradient_exchange.hpp"
#include "trainer/gradient_reducer.hpp"
#include "trainer/training_ranks.hpp"

namespace dtrain {

struct ServedOptions {
  ParameterServerPlan plan;
  WorkerMemory memory;                 ///< of the replica
  std::vector<Range> gradient_ranges;  ///< per node of the network; empty: it has no parameters
  Overlap overlap = Overlap::automatic;
  WaitPolicy wait;
  std::function<void()> on_comm_thread_start;
  // On a rank that serves too:
  std::span<float> served_weights;  ///< an arena as the replica's, with the same values in it
  ParameterUpdate update;           ///< of those; called on the comm thread
};

class ServedExchange final : public GradientExchange {
 public:
  ServedExchange(const TrainingRanks& ranks, ServedOptions options);

  void begin_forward() override;
  void before_forward(LayerIndex layer) override;
  void begin_backward(const StepGradients& step) override;
  void layer_done(LayerIndex layer) override;
  StepOutcome end_backward() override;
  void sum_now(std::span<double> values) override;
  void broadcast_now(std::span<float> values) override;
  /// In async mode, all ranks have the servers' weights after this.
  void settle() override;
  /// As a job of the comm thread, which serves peers where it has none.
  WayToMpi way_to_mpi() override;
  /// Servers end the job by themselves where weights are not finite, before all workers know of it.
  bool ends_alike() const override { return false; }

  /// Gives every rank the servers' values of the arenas that they update beside the weights. Collective, after settle().
  void gather(std::span<const OptimizerState> states);
  /// Releases ranks that serve alone. Collective, after settle(); the last call.
  void end();

  const Clock& clock() const override { return clock_; }
  double exchange_s() const override { return exchange_s_; }

 private:
  // Jobs of the comm thread, each of the present step; the partitions' numbers come first.
  int sums_job() const { return partitions(); }
  int finish_job() const { return partitions() + 1; }
  int pause_job() const { return partitions() + 2; }
  int call_job() const { return partitions() + 3; }
  int pull_job(LayerIndex layer) const { return partitions() + 4 + static_cast<int>(layer); }
  int partitions() const { return static_cast<int>(options_.plan.partitions.size()); }

  void run_job(int job);
  void submit(int job);
  /// Submits it and waits.
  void carry_out(int job);
  void push_complete();
  void finish_step();

  ServedOptions options_;
  const TrainingRanks& ranks_;
  bool pulls_in_forward_;
  std::optional<ParameterServer> own_server_;
  std::optional<ParameterWorker> worker_;
  StepGradients step_;
  std::int64_t final_elements_ = 0;
  int pushed_ = 0;     ///< partitions whose push is submitted
  int submitted_ = 0;  ///< jobs since the comm thread was reset
  const std::function<void()>* call_ = nullptr;  ///< of call_job
  bool is_finished_ = true;
  bool is_paused_ = false;
  std::vector<bool> is_pulled_;  ///< per node of the network: its weights, in this forward
  Clock clock_;
  double exchange_s_ = 0.0;
  std::unique_ptr<CommThread> comm_thread_;  ///< last: it uses the above
};

}  // namespace dtrain
