// The training step.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "dtrain/data.hpp"
#include "dtrain/loss.hpp"
#include "dtrain/optimizer.hpp"
#include "schedules/shards.hpp"
#include "trainer/damage.hpp"
#include "trainer/gradient_exchange.hpp"
#include "trainer/replica.hpp"
#include "trainer/run_plan.hpp"

namespace dtrain {

/// Seconds of one step on this rank.
struct StepPhases {
  double data = 0.0;     ///< waiting for pictures
  double forward = 0.0;  ///< with the loss
  double backward = 0.0;
  double exchange = 0.0;  ///< waiting for the exchange
  double update = 0.0;
};

struct StepReport {
  std::int64_t step = 0;             ///< from 1
  double epoch = 0.0;                ///< epochs done after this step
  double loss = 0.0;                 ///< of the main output, mean over the global batch
  std::optional<double> aux_loss{};  ///< of the auxiliary heads, each times its weight; none: the network has no such heads
  double top1 = 0.0;                 ///< share of the global batch
  double learning_rate = 0.0;
  double weight_decay = 0.0;
  std::int64_t samples = 0;  ///< true size of the global batch, or as much of it as counted
  double step_s = 0.0;
  StepPhases phases;
  double exchange_s = 0.0;      ///< duration of the exchange itself, hidden or not
  bool stop_requested = false;  ///< a rank was asked to stop (all ranks learn it in the same step)
  bool met_damage = false;      ///< a rank has news of damaged images, likewise

  /// For the other ranks, after the step.
  void add_wait(double wait_s) {
    step_s += wait_s;
    phases.exchange += wait_s;
  }
};

class Trainer {
 public:
  /// Of one stage of the plan. All references outlive the trainer. stop_requested: set by a signal; may be null. first_step:
  /// steps of the run done before.
  Trainer(const RunPlan& plan, const PlannedStage& stage, const Communicator& communicator, Replica& replica,
          DataLoader& loader, DamageRecord& damage, GradientExchange& exchange, Optimizer& optimizer,
          const std::atomic<bool>* stop_requested, std::int64_t first_step);

  /// One step of all ranks, or, where they did not wait for this one, all that they did meanwhile; may leave updates of weights
  /// to the next one, or to settle(). Errors: CommError, DataError; DivergedError on all ranks alike when the loss or a weight
  /// is not finite.
  StepReport step();
  /// Brings the weights up to date. Errors: CommError, DivergedError.
  void settle();
  // For a GradientReducer that measures.
  void measure(int pass, const Range& part);
  void end_measuring(int pass, const WaitPolicy& wait);
  /// For a GradientReducer: gradients are summed, of a bucket or of this rank's part of it.
  void update(const Range& part, const WaitPolicy& wait);
  std::int64_t steps_done() const { return step_; }

 private:
  /// What a rank computes at once.
  struct MicroBatch {
    Range positions;  ///< may be empty
    bool is_first = true, is_last = true;
    float statistics_share = 1.0f, statistics_before = 0.0f;  ///< as in PassOptions
  };
  /// In order. Where batch-norms sum over ranks, as many as rank 0 has, the first of them empty where this rank has fewer.
  std::vector<MicroBatch> micro_batches_of(const StepPosition& position, const StepShare& share) const;

  /// loss: of a step; any finite one otherwise.
  void require_finite(double loss);
  /// What a part of the window has of the weights: behind them lie the step's sums.
  Slice trained(const Range& part) const;
  /// Forward, loss and backward of one micro-batch; the last one releases the buckets.
  void run_micro_batch(const MicroBatch& micro_batch, const StepShare& share);
  /// The same without pictures: this rank adds nothing.
  void run_without_pictures(const MicroBatch& micro_batch, const StepShare& share);
  void begin_backward(const MicroBatch& micro_batch, const StepShare& share);
  /// The loader's next batch; what is damaged there is recorded.
  const Batch& next_batch();
  PassOptions pass_of(const MicroBatch& micro_batch) const;
  /// Of this rank's pictures so far, with the auxiliary one, as it travels.
  float loss_sum() const { return static_cast<float>(sums_.loss + sums_.aux_loss); }
  /// This rank's loss is not finite: finds out where that began. All ranks learn of the loss with the step's sums; where they
  /// share none, throws.
  void look_for_divergence(Graph& graph, const Batch& batch, const PassOptions& pass);
  /// Puts the sums so far where the last bucket takes them along.
  void write_step_sums();
  /// Where the pictures of a step stand.
  StepPosition position_of(std::int64_t step) const;
  StepShare share_of(const StepPosition& position) const;
  /// Passes over the pictures of steps that the other ranks did without this one.
  void skip_to(std::int64_t step);
  StepReport finish_report(const StepOutcome& outcome, double begin_s);

  const RunPlan& plan_;
  const PlannedStage& stage_;
  std::int64_t crop_;  ///< of the stage's pictures
  const Communicator& communicator_;
  Replica& replica_;
  DataLoader& loader_;
  DamageRecord& damage_;
  GradientExchange& exchange_;
  Optimizer& optimizer_;
  const std::atomic<bool>* stop_requested_;
  std::int64_t step_;
  UpdateRates rates_;  ///< of the last step whose backward has begun
  bool weights_are_finite_ = true;
  std::optional<NonFiniteNode> non_finite_;  ///< where this rank's loss first left the finite numbers
  std::int64_t true_batch_ = 0;              ///< samples of the step over all ranks
  /// Of the last step with a picture: a rank whose sums are its own has none in a batch that is smaller than the ranks are
  /// many.
  StepSums seen_{.samples = 1.0f};
  LossSums sums_;
  StepPhases phases_;
  Tensor diff_logits_;               ///< of all outputs
  StatisticsExchange across_ranks_;  ///< by the exchange
};

/// The batches that this rank's trainer asks for in a stage from step `first_step` of the run on, in order.
BatchSequence training_sequence(const RunPlan& plan, const PlannedStage& stage, int ranks, int rank, std::int64_t first_step);

}  // namespace dtrain
