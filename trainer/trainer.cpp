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
                 DataLoader& loader, DamageRecord& damage, GradientExchange& exchange, Optimizer& optimizer,
                 const std::atomic<bool>* stop_requested, std::int64_t first_step)
    : plan_(plan),
      stage_(stage),
      crop_(stage_transform(plan, stage).crop),
      communicator_(communicator),
      replica_(replica),
      loader_(loader),
      damage_(damage),
      exchange_(exchange),
      optimizer_(optimizer),
      stop_requested_(stop_requested),
      step_(first_step),
      diff_logits_(Shape{std::ssize(plan.network.outputs), plan.local_batch, plan.network.num_classes}),
      across_ranks_({.broadcast = [this](std::span<float> values) { exchange_.broadcast_now(values); },
                     .sum = [this](std::span<double> values) { exchange_.sum_now(values); }}) {}

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
  for (const MicroBatch& micro_batch : micro_batches_of(position, share)) {
    micro_batch.positions.size() > 0 ? run_micro_batch(micro_batch, share) : run_without_pictures(micro_batch, share);
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

std::vector<Trainer::MicroBatch> Trainer::micro_batches_of(const StepPosition& position, const StepShare& share) const {
  std::vector<MicroBatch> all;
  for (const Range& positions : share.micro_batches) {
    const std::int64_t own = std::max<std::int64_t>(share.positions.size(), 1);
    all.push_back({.positions = positions, .statistics_share = static_cast<float>(positions.size()) / static_cast<float>(own)});
  }
  if (plan_.syncs_norms) {
    const std::vector<std::int64_t> pictures = pictures_by_round(position, communicator_.size(), plan_.local_batch);
    const Range none{share.positions.begin, share.positions.begin};
    all.insert(all.begin(), pictures.size() - all.size(), {.positions = none});
    for (std::size_t round = 0; round < all.size(); ++round) {
      all[round].statistics_share = static_cast<float>(pictures[round]) / static_cast<float>(true_batch_);
    }
  }
  float before = 0.0f;
  for (MicroBatch& micro_batch : all) {
    micro_batch.statistics_before = before;
    before += micro_batch.statistics_share;
    micro_batch.is_first = &micro_batch == &all.front();
    micro_batch.is_last = &micro_batch == &all.back();
  }
  return all;
}

PassOptions Trainer::pass_of(const MicroBatch& micro_batch) const {
  return {.step = stage_.position(step_),
          .first_sample = micro_batch.positions.begin,
          .is_first_micro_batch = micro_batch.is_first,
          .statistics_share = micro_batch.statistics_share,
          .statistics_before = micro_batch.statistics_before,
          .across_ranks = plan_.syncs_norms ? &across_ranks_ : nullptr};
}

void Trainer::begin_backward(const MicroBatch& micro_batch, const StepShare& share) {
  if (!micro_batch.is_first) return;
  exchange_.begin_backward({.step = step_, .samples = share.positions.size(), .batch_samples = true_batch_});
  rates_ = rates_of_step(plan_, step_);
}

void Trainer::run_without_pictures(const MicroBatch& micro_batch, const StepShare& share) {
  Graph* const graph = plan_.syncs_norms ? &replica_.largest_training_graph() : nullptr;
  if (graph != nullptr) {
    graph->forward_without_pictures(pass_of(micro_batch), [&](LayerIndex layer) { exchange_.before_forward(layer); });
  }
  begin_backward(micro_batch, share);
  if (micro_batch.is_first) std::ranges::fill(replica_.parameters().gradients(), 0.0f);
  write_step_sums();
  if (graph != nullptr) {
    graph->backward_without_pictures([&](LayerIndex layer) {
      if (micro_batch.is_last) exchange_.layer_done(layer);
    });
  }
}

const Batch& Trainer::next_batch() {
  await_batch(loader_, plan_.patience, communicator_, exchange_.way_to_mpi());
  const Batch& batch = loader_.next();
  if (!batch.damaged.empty()) damage_.met(batch.damaged);
  return batch;
}

void Trainer::run_micro_batch(const MicroBatch& micro_batch, const StepShare& share) {
  const std::int64_t pictures = micro_batch.positions.size();
  Graph& graph = replica_.training_graph(pictures, crop_);
  const Batch& batch = next_batch();
  phases_.data += loader_.waited_s();

  const double forward_s = seconds();
  const GradientExchange::Clock at_forward = exchange_.clock();
  const PassOptions pass = pass_of(micro_batch);
  const Tensor& logits = graph.forward(batch.images, pass, [&](LayerIndex layer) { exchange_.before_forward(layer); });
  const auto diff_logits = diff_logits_.values().first(logits.values().size());
  sums_ += training_loss(logits.values(), batch.labels, plan_.network.outputs, static_cast<float>(stage_.stage.label_smoothing),
                         1.0f / static_cast<float>(true_batch_), diff_logits);
  if (!std::isfinite(loss_sum())) look_for_divergence(graph, batch, pass);
  if (!plan_.syncs_norms) replica_.count_pictures(pictures);  // else the ranks' statistics are alike already
  begin_backward(micro_batch, share);
  write_step_sums();

  const double backward_s = seconds();
  const GradientExchange::Clock at_backward = exchange_.clock();
  graph.backward(diff_logits, [&](LayerIndex layer) {
    if (micro_batch.is_last) exchange_.layer_done(layer);
  });
  phases_.forward +=
      backward_s - forward_s - (at_backward.waited_s - at_forward.waited_s) - (at_backward.update_s - at_forward.update_s);
  phases_.backward += seconds() - backward_s - (exchange_.clock().waited_s - at_backward.waited_s);
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
  step_sums.damaged = static_cast<float>(damage_.news());
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
      if (positions.size() > 0) next_batch();
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
                    .stop_requested = replica_.step_sums().stops > 0.0f,
                    .met_damage = replica_.step_sums().damaged > 0.0f};
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
