// Sends buckets of gradients on their way as backward finishes them, and has the weights updated with their sums: when backward
// has ended, or in the next forward, each just before the layer that needs it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "collectives/all_reduce.hpp"
#include "collectives/comm_thread.hpp"
#include "dtrain/layers.hpp"
#include "schedules/bucket_order.hpp"
#include "schedules/buckets.hpp"

namespace dtrain {

/// When gradients travel. off: when backward has ended. backward: while it runs. forward: also while the next forward runs.
/// automatic: backward or forward, whichever is found to wait less. All give the same bits.
enum class Overlap { off, backward, forward, automatic };
/// "off", "backward", "forward", "on" (automatic). Errors: ConfigError.
Overlap parse_overlap(std::string_view text);
const char* to_text(Overlap overlap);

struct ReducerOptions {
  std::vector<Range> buckets;  ///< of the window: gradients, then the step's sums, in the last one, which is not rounded
  std::vector<Range> gradient_ranges;  ///< per node of the network, in the window; empty: it has no parameters
  AlgorithmTable algorithms = AllReduceAlgorithm::none;
  WireType wire = WireType::fp32;
  Overlap overlap = Overlap::automatic;
  bool shares_update = false;  ///< the ranks of a node have one copy of the weights, and each updates its shards
  bool has_comm_core = false;
  double stall_timeout_s = 60.0;          ///< a bucket that is late by this is an error
  std::vector<std::string> bucket_names;  ///< one a bucket, for reports
  std::function<void()> on_comm_thread_start;
  /// Updates weights whose gradients are summed: those of a bucket, or of this rank's shard of it, which may be empty; returns
  /// when those of the whole bucket are up to date. Called on the owner's thread, for the same buckets in the same order on all
  /// ranks.
  std::function<void(const Range& part)> update;
};

class GradientReducer {
 public:
  GradientReducer(const Communicator& communicator, NodeWindow& window, ReducerOptions options);

  // A step, in this order. Threads: the owner's alone. Errors of all that wait: what the exchange threw.

  /// Before the step's first layer runs forward.
  void begin_forward();
  /// Before a layer runs forward: its weights have been updated after this.
  void before_forward(LayerIndex layer);
  /// Gradients will be final from now on. All weights have been updated after this.
  void begin_backward();
  /// A layer's gradients are final: buckets that are full now travel, in their order, while the caller goes on.
  void layer_done(LayerIndex layer);
  /// All gradients are final: the rest travels. The step's sums are there after this; so are the updated weights, unless they
  /// are left to the next forward.
  void end_backward();

  /// Brings the weights up to date, wherever the step stands.
  void settle();

  /// After a few steps: from their times, rank 0 decides for all in which order buckets travel, and whether forward overlaps.
  /// Collective; settles first. Changes no bits.
  void plan_overlap();

  /// What the owner's thread spent, since the reducer was made.
  struct Clock {
    double waited_s = 0.0;
    double update_s = 0.0;
  };
  const Clock& clock() const { return clock_; }
  /// Seconds the exchange itself took in the last whole step, hidden or not.
  double exchange_s() const { return exchange_s_; }
  const AlgorithmTable& algorithms() const { return options_.algorithms; }
  Overlap overlap() const { return overlap_; }
  /// How the owner waits for the other ranks of its node while buckets may be travelling.
  const WaitPolicy& owners_wait() const { return owners_wait_; }

 private:
  void submit_ready();
  void require_updated(int bucket);
  void look_for_stall(int bucket, double waited_s);

  ReducerOptions options_;
  const Communicator& communicator_;
  AllReduce all_reduce_;
  Overlap overlap_;                           ///< never automatic
  BucketOrder order_;                         ///< in which buckets travel
  std::vector<int> places_;                   ///< of each bucket in order_
  std::vector<std::vector<int>> needed_by_;   ///< per node: buckets that its weights lie in, last one first
  std::vector<BucketTimes> times_;            ///< of the last step
  std::vector<bool> is_updated_, is_needed_;  ///< per bucket: its weights; a layer of this forward has asked for them
  std::size_t submitted_ = 0;                 ///< of order_
  std::size_t ready_ = 0;                     ///< buckets whose gradients are final, from the first on
  std::int64_t final_elements_ = 0;           ///< of the window, from its beginning
  double backward_begin_s_ = 0.0, backward_s_ = 0.0, forward_begin_s_ = 0.0;
  Clock clock_, at_forward_;
  double exchange_s_ = 0.0;
  WaitPolicy owners_wait_;
  std::unique_ptr<CommThread> comm_thread_;  ///< none where there is nothing to exchange; last: it uses the above
};

}  // namespace dtrain
