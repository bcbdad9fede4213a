// One step: micro-batches forward and backward, buckets exchanged meanwhile, one update.
#include "trainer/trainer.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "dtrain/error.hpp"
#include "trainer/clock.hpp"
#include "trainer/divergence.hpp"

namespace dtrain {

Trainer::Trainer(const RunPlan& plan, const PlannedStage& stage, const Communicator& communicator, Replica& replica,
                 DataLoader& loader, GradientExchange& exchange, Optimizer& optimizer, const std::atomic<bool>* stop_requested,
                 std::int64_t first_step)
    : plan_(plan),
      stage_(stage),
      crop_(stage_transform(plan, stage).crop),
      communicator_(communicator),
      replica_(replica),
      loader_(loader),
      exchange_(exchange),
      optimizer_(optimizer),
      stop_requested_(stop_requested),
      step_(first_step),
      diff_logits_(Shape{std::ssize(plan.network.outputs), plan.local_batch, plan.network.num_classes}) {}

StepReport Trainer::step() {
  const double begin_s = seconds();
  const StepPosition position = position_of(step_);
  const StepShare share = share_of(position);
  true_batch_ = position.positions.size();
  sums_ = {};
  non_finite_.reset();
  phases_ = {};

  const GradientExchange::Clock before = exchange_.clock();
  exchange_.begin_forward();
  for (std::size_t index = 0; index < share.micro_batches.size(); ++index) {
    run_micro_batch(share.micro_batches[index], index, share);
  }
  const StepOutcome outcome = exchange_.end_backward();
  phases_.exchange = exchange_.clock().waited_s - before.waited_s;
  phases_.update = exchange_.clock().update_s - before.update_s;
  return finish_report(outcome, begin_s);
}

void Trainer::settle() {
  exchange_.settle();
  require_finite(0.0);
}

Slice Trainer::trained(const Range& part) const {
  const std::int64_t elements = std::ssize(replica_.parameters().gradients());
  return {std::min(part.begin, elements), std::min(part.end, elements)};
}

void Trainer::measure(int pass, const Range& part) { optimizer_.measure(pass, replica_.parameters(), trained(part), rates_); }

void Trainer::end_measuring(int pass, const WaitPolicy& wait) {
  replica_.meet_before_update(wait);
  optimizer_.end_measuring(pass, rates_);
}

void Trainer::update(const Range& part, const WaitPolicy& wait) {
  const bool are_finite = optimizer_.update(replica_.parameters(), trained(part), rates_);
  weights_are_finite_ = replica_.meet_after_update(are_finite, wait) && weights_are_finite_;
}

void Trainer::run_micro_batch(const Range& positions, std::size_t index, const StepShare& share) {
  const auto releases = [&](LayerIndex layer) {
    if (index + 1 == share.micro_batches.size()) exchange_.layer_done(layer);
  };
  const auto begin_backward = [&] {
    if (index > 0) return;
    exchange_.begin_backward({.step = step_, .samples = share.positions.size(), .batch_samples = true_batch_});
    rates_ = rates_of_step(plan_, step_);
  };
  if (positions.size() == 0) {  // fewer samples than ranks: this rank adds nothing
    begin_backward();
    std::ranges::fill(replica_.parameters().gradients(), 0.0f);
    write_step_sums();
    return;
  }
  Graph& graph = replica_.training_graph(positions.size(), crop_);
  const Batch& batch = loader_.next();
  phases_.data += loader_.waited_s();

  const double forward_s = seconds();
  const GradientExchange::Clock at_forward = exchange_.clock();
  const PassOptions pass{.step = stage_.position(step_),
                         .first_sample = positions.begin,
                         .is_first_micro_batch = index == 0,
                         .statistics_share = static_cast<float>(positions.size()) / static_cast<float>(share.positions.size())};
  const Tensor& logits = graph.forward(batch.images, pass, [&](LayerIndex layer) { exchange_.before_forward(layer); });
  const auto diff_logits = diff_logits_.values().first(logits.values().size());
  sums_ += training_loss(logits.values(), batch.labels, plan_.network.outputs, static_cast<float>(stage_.stage.label_smoothing),
                         1.0f / static_cast<float>(true_batch_), diff_logits);
  if (!std::isfinite(loss_sum())) look_for_divergence(graph, batch, pass);
  replica_.count_pictures(positions.size());
  begin_backward();
  write_step_sums();

  const double backward_s = seconds();
  graph.backward(diff_logits, releases);
  const GradientExchange::Clock& clock = exchange_.clock();
  phases_.forward += backward_s - forward_s - (clock.waited_s - at_forward.waited_s) - (clock.update_s - at_forward.update_s);
  phases_.backward += seconds() - backward_s;
}

void Trainer::look_for_divergence(Graph& graph, const Batch& batch, const PassOptions& pass) {
  if (non_finite_) return;
  // Of this rank's pictures alone, whatever the ranks do together in forward: the others may have nothing to look for.
  non_finite_ = graph.find_non_finite(batch.images, {.step = pass.step, .first_sample = pass.first_sample});
  if (exchange_.ends_alike()) return;
  throw diverged({.step = step_ + 1,
                  .learning_rate = rates_of_step(plan_, step_).learning_rate,
                  .loss = loss_sum() / static_cast<double>(sums_.samples),
                  .weights_are_finite = true,
                  .place = place_of(non_finite_, plan_.network)});
}

void Trainer::write_step_sums() {
  StepSums& step_sums = replica_.step_sums();
  step_sums.loss = static_cast<float>(sums_.loss);
  step_sums.aux_loss = static_cast<float>(sums_.aux_loss);
  step_sums.top1 = static_cast<float>(sums_.top1);
  step_sums.samples = static_cast<float>(sums_.samples);
  step_sums.stops = stop_requested_ != nullptr && stop_requested_->load() ? 1.0f : 0.0f;
}

StepPosition Trainer::position_of(std::int64_t step) const {
  return step_position(stage_.position(step), plan_.samples, plan_.global_batch);
}

StepShare Trainer::share_of(const StepPosition& position) const {
  return step_share(position, communicator_.size(), communicator_.rank(), plan_.local_batch);
}

void Trainer::skip_to(std::int64_t step) {
  for (; step_ < step; ++step_) {
    const StepShare share = share_of(position_of(step_));
    for (const Range& positions : share.micro_batches) {
      if (positions.size() > 0) loader_.next();
    }
  }
}

StepReport Trainer::finish_report(const StepOutcome& outcome, double begin_s) {
  ++step_;
  skip_to(outcome.next_step);
  const StepPosition position = position_of(step_ - 1);
  const UpdateRates rates = rates_of_step(plan_, step_ - 1);
  ++replica_.parameters().batches_tracked;
  if (replica_.step_sums().samples > 0.0f) seen_ = replica_.step_sums();
  StepReport report{.step = step_,
                    .epoch = static_cast<double>(position.epoch) +
                             static_cast<double>(position.positions.end) / static_cast<double>(plan_.samples),
                    .loss = seen_.loss / seen_.samples,
                    .top1 = seen_.top1 / seen_.samples,
                    .learning_rate = rates.learning_rate,
                    .weight_decay = rates.weight_decay,
                    .samples = outcome.is_partial ? std::llround(seen_.samples) : true_batch_,
                    .step_s = seconds() - begin_s,
                    .phases = phases_,
                    .exchange_s = exchange_.exchange_s(),
                    .stop_requested = replica_.step_sums().stops > 0.0f};
  if (plan_.network.outputs.size() > 1) report.aux_loss = seen_.aux_loss / seen_.samples;
  require_finite(report.loss + report.aux_loss.value_or(0.0));
  return report;
}

// Weights that a step's forward brings up to date are those of the step before, and found out with this one.
void Trainer::require_finite(double loss) {
  if (std::isfinite(loss) && weights_are_finite_) return;
  Divergence divergence{.step = step_,
                        .learning_rate = rates_.learning_rate,
                        .loss = loss,
                        .weights_are_finite = weights_are_finite_,
                        .place = {}};
  if (!std::isfinite(loss)) {
    if (exchange_.ends_alike()) {  // then all ranks come here with this loss, and rank 0, which speaks, may have found nothing
      exchange_.settle();
      non_finite_ = first_of_all(non_finite_, communicator_);
    }
    divergence.place = place_of(non_finite_, plan_.network);
  } else {
    divergence.place = place_in_weights(replica_.parameters().weights(), replica_.parameters().trained_slots(), plan_.network);
  }
  throw diverged(divergence);
}

BatchSequence training_sequence(const RunPlan& plan, const PlannedStage& stage, int ranks, int rank, std::int64_t first_step) {
  struct Position {
    std::int64_t step;
    std::size_t micro_batch = 0;
    std::int64_t epoch = -1;  // of `order`
    std::vector<std::int64_t> order;
  };
  auto at = std::make_shared<Position>(Position{.step = first_step});  // std::function must be copyable
  return [=, &plan, &stage](std::int64_t) {
    std::vector<SampleRequest> requests;
    while (requests.empty() && at->step < stage.end) {
      const StepPosition position = step_position(stage.position(at->step), plan.samples, plan.global_batch);
      const StepShare share = step_share(position, ranks, rank, plan.local_batch);
      if (at->epoch != position.epoch) {
        at->order = {};  // not two of them at once: 10 MB each for ImageNet
        at->order = epoch_order(plan.samples, plan.seed, position.epoch, plan.shuffle);
        at->epoch = position.epoch;
      }
      const Range& range = share.micro_batches[at->micro_batch];
      for (std::int64_t i = range.begin; i < range.end; ++i) {
        requests.push_back({.sample = at->order[static_cast<std::size_t>(i)], .epoch = position.epoch});
      }
      if (++at->micro_batch == share.micro_batches.size()) {
        at->micro_batch = 0;
        ++at->step;
      }
    }
    return requests;
  };
}

}  // namespace dtrain
