// Sends buckets of gradients on their way as backward finishes them, and has the weights updated with their sums: when backward
// has ended, or in the next forward, each just before the layer that needs it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collectives/all_reduce.hpp"
#include "collectives/comm_thread.hpp"
#include "schedules/bucket_order.hpp"
#include "schedules/buckets.hpp"
#include "trainer/gradient_exchange.hpp"

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
  /// Passes over the sums of all buckets before the first update (Note [Norms are measured before the first weight changes]):
  /// measure() is called as update() is, in each pass, and end_measuring() after it. With any, forward cannot overlap.
  int measuring_passes = 0;
  std::function<void(int pass, const Range& part)> measure;
  std::function<void(int pass, const WaitPolicy& wait)> end_measuring;
  std::int64_t shard_alignment = kLineElements;  ///< shards are cut at multiples of this
  /// Updates weights whose gradients are summed: those of a bucket, or of this rank's shard of it, which may be empty; returns
  /// when those of the whole bucket are up to date. Called on the owner's thread, for the same buckets in the same order on all
  /// ranks. wait: for the other ranks of the node, while buckets may be travelling.
  std::function<void(const Range& part, const WaitPolicy& wait)> update;
};

class GradientReducer final : public GradientExchange {
 public:
  GradientReducer(const Communicator& communicator, NodeWindow& window, ReducerOptions options);

  void begin_forward() override;
  void before_forward(LayerIndex layer) override;
  void begin_backward(const StepGradients& step) override;
  void layer_done(LayerIndex layer) override;
  StepOutcome end_backward() override;
  void sum_now(std::span<double> values) override;
  void broadcast_now(std::span<float> values) override;
  void settle() override;
  WayToMpi way_to_mpi() override { return {.comm_thread = comm_thread_.get()}; }
  bool ends_alike() const override { return options_.algorithms != AllReduceAlgorithm::none; }

  /// After a few steps: from their times, rank 0 decides for all in which order buckets travel, and whether forward overlaps.
  /// Collective; settles first. Changes no bits.
  void plan_overlap();

  const Clock& clock() const override { return clock_; }
  double exchange_s() const override { return exchange_s_; }
  const AlgorithmTable& algorithms() const { return options_.algorithms; }
  Overlap overlap() const { return overlap_; }

 private:
  // Jobs of the comm thread beside the buckets, which are known by their numbers.
  static constexpr int kSumJob = -1;
  static constexpr int kBroadcastJob = -2;
  const std::string& name_of(int job) const;
  void run_job(int job);
  /// Result: its number since the comm thread was reset.
  int submit(int job);
  void reset_jobs();
  void submit_ready();
  void wait_for(int job, int number);
  /// Of the two other jobs; with one rank there is nothing to do.
  void carry_out(int job);
  void require_summed(int bucket);
  void require_measured();
  void require_updated(int bucket);
  /// What this rank updates of a bucket.
  const Range& own_part(int bucket) const;
  void look_for_stall(double waited_s);

  ReducerOptions options_;
  const Communicator& communicator_;
  WaitPolicy wait_;  ///< of the comm thread
  AllReduce all_reduce_;
  Overlap overlap_;  ///< never automatic
  StepGradients step_;
  BucketOrder order_;                         ///< in which buckets travel
  std::vector<int> numbers_;                  ///< of each bucket's job, once submitted
  std::vector<std::vector<int>> needed_by_;   ///< per node: buckets that its weights lie in, last one first
  std::vector<BucketTimes> times_;            ///< of the last step
  std::vector<bool> is_updated_, is_needed_;  ///< per bucket: its weights; a layer of this forward has asked for them
  std::size_t submitted_ = 0;                 ///< of order_
  int jobs_ = 0;                              ///< submitted since the comm thread was reset
  int awaited_ = 0;                           ///< job that is being waited for
  std::span<double> summed_;                  ///< by kSumJob
  std::span<float> broadcast_;                ///< by kBroadcastJob
  bool is_measured_ = true;                   ///< all buckets of the step, in all passes
  std::size_t ready_ = 0;                     ///< buckets whose gradients are final, from the first on
  std::int64_t final_elements_ = 0;           ///< of the window, from its beginning
  // For reports.
  const std::string statistics_name_ = "batch-norm's statistics";
  const std::string measuring_text_ = "the norms of all gradients";
  double backward_begin_s_ = 0.0, backward_s_ = 0.0, forward_begin_s_ = 0.0;
  Clock clock_, at_forward_;
  double exchange_s_ = 0.0;
  WaitPolicy owners_wait_;                   ///< for the other ranks of the node
  std::unique_ptr<CommThread> comm_thread_;  ///< none where there is nothing to exchange; last: it uses the above
};

}  // namespace dtrain
