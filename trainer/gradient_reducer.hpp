// Sends buckets of gradients on their way as backward finishes them, and hands them back, summed, to the update.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "collectives/all_reduce.hpp"
#include "collectives/comm_thread.hpp"
#include "dtrain/layers.hpp"
#include "dtrain/optimizer.hpp"
#include "schedules/buckets.hpp"

namespace dtrain {

struct ReducerOptions {
  std::vector<Range> buckets;               ///< of the window: gradients, then the step's sums
  std::vector<std::int64_t> gradient_ends;  ///< per node: [0, end) is final when backward has done it
  AlgorithmTable algorithms = AllReduceAlgorithm::none;
  WireType wire = WireType::fp32;
  bool overlap = true;  ///< false: everything is exchanged after backward
  bool has_comm_core = false;
  std::function<void()> on_comm_thread_start;
};

class GradientReducer {
 public:
  GradientReducer(const Communicator& communicator, NodeWindow& window, ReducerOptions options);

  /// Counts a layer down; buckets that are full now are exchanged, in order, while the caller goes on.
  void layer_done(LayerIndex layer);
  /// All gradients are final: exchanges the rest, then calls update(bucket) for each bucket in order, as soon as it is summed.
  /// Result: seconds in which this thread had to wait for the exchange. Errors: what the exchange threw.
  double drain(const std::function<void(const Range& bucket)>& update);

  /// Seconds the exchange itself took in the last step, hidden or not.
  double exchange_s() const { return exchange_s_; }
  const AlgorithmTable& algorithms() const { return options_.algorithms; }

 private:
  void submit_until(std::int64_t final_elements);

  ReducerOptions options_;
  AllReduce all_reduce_;
  std::unique_ptr<CommThread> comm_thread_;  ///< none where there is nothing to exchange
  std::size_t submitted_ = 0;
  double exchange_s_ = 0.0;
};

}  // namespace dtrain
