// Pushes and pulls of a step; see served_exchange.hpp.
#include "trainer/served_exchange.hpp"

#include <algorithm>
#include <utility>

#include "dtrain/error.hpp"
#include "trainer/clock.hpp"
#include "trainer/parameter_serving.hpp"

namespace dtrain {

ServedExchange::ServedExchange(const TrainingRanks& ranks, ServedOptions options)
    : options_(std::move(options)),
      ranks_(ranks),
      // With backup workers, what a push comes to is known when all of its weights are there.
      pulls_in_forward_(options_.plan.mode != ServerMode::backup &&
                        (options_.overlap == Overlap::forward || options_.overlap == Overlap::automatic)),
      is_pulled_(options_.gradient_ranges.size(), true) {
  if (!ranks.has_dedicated_servers()) {
    own_server_.emplace(ranks.all(), options_.plan, options_.served_weights, options_.update, options_.wait);
  }
  worker_.emplace(ranks.all(), options_.plan, options_.memory, options_.wait, own_server_ ? &*own_server_ : nullptr);
  const int capacity = pull_job(static_cast<LayerIndex>(options_.gradient_ranges.size()));
  comm_thread_ =
      std::make_unique<CommThread>([this](int job) { run_job(job); }, capacity, options_.on_comm_thread_start,
                                   std::function<void(int, double)>(), [this] { return worker_->progress_while_idle(); });
}

void ServedExchange::run_job(int job) {
  if (job < partitions()) return worker_->push(options_.plan.partitions[static_cast<std::size_t>(job)].range.end);
  if (job == sums_job()) return worker_->receive_sums();
  if (job == finish_job()) return worker_->finish_step();
  if (job == pause_job()) return worker_->pause();
  if (job == call_job()) return (*call_)();
  worker_->pull(options_.gradient_ranges[static_cast<std::size_t>(job - pull_job(0))]);
}

void ServedExchange::submit(int job) {
  comm_thread_->submit(job);
  ++submitted_;
}

void ServedExchange::carry_out(int job) {
  submit(job);
  clock_.waited_s += comm_thread_->wait(submitted_ - 1);
}

WayToMpi ServedExchange::way_to_mpi() {
  return {.run = [this](const std::function<void()>& call) {
    call_ = &call;
    submit(call_job());
    comm_thread_->wait(submitted_ - 1);
  }};
}

void ServedExchange::begin_forward() {
  if (is_paused_ && ranks_.has_dedicated_servers()) tell_servers(ranks_.all(), ServerTask::serve);
  is_paused_ = false;
  is_pulled_.assign(is_pulled_.size(), is_finished_);
}

void ServedExchange::before_forward(LayerIndex layer) {
  const auto at = static_cast<std::size_t>(layer);
  if (is_pulled_[at]) return;
  is_pulled_[at] = true;
  if (options_.gradient_ranges[at].size() > 0) carry_out(pull_job(layer));
}

void ServedExchange::begin_backward(const StepGradients& step) {
  finish_step();
  comm_thread_->reset();
  submitted_ = pushed_ = 0;
  final_elements_ = 0;
  step_ = step;
  worker_->begin_step(step);
  is_finished_ = false;
}

void ServedExchange::layer_done(LayerIndex layer) {
  final_elements_ = std::max(final_elements_, options_.gradient_ranges[static_cast<std::size_t>(layer)].end);
  if (options_.overlap != Overlap::off) push_complete();
}

StepOutcome ServedExchange::end_backward() {
  if (partitions() > 0) final_elements_ = options_.plan.partitions.back().range.end;
  push_complete();
  if (!pulls_in_forward_) {
    finish_step();
  } else if (options_.plan.mode == ServerMode::sync) {
    carry_out(sums_job());
  }
  const bool is_backup = options_.plan.mode == ServerMode::backup;
  return {.next_step = is_backup ? worker_->next_step() : step_.step + 1, .is_partial = is_backup};
}

void ServedExchange::push_complete() {
  while (pushed_ < partitions() && options_.plan.partitions[static_cast<std::size_t>(pushed_)].range.end <= final_elements_) {
    submit(pushed_++);
  }
}

void ServedExchange::finish_step() {
  if (is_finished_) return;
  carry_out(finish_job());
  exchange_s_ = comm_thread_->busy_s();
  is_finished_ = true;
}

void ServedExchange::sum_now(std::span<double>) { check(false, "ServedExchange: workers of servers keep no step"); }
void ServedExchange::broadcast_now(std::span<float>) { check(false, "ServedExchange: workers of servers keep no step"); }

void ServedExchange::settle() {
  if (is_paused_) return;
  finish_step();
  comm_thread_->reset();
  submitted_ = 0;
  carry_out(pause_job());
  is_paused_ = true;
  if (options_.plan.mode != ServerMode::async) return;  // in the other modes all ranks have them
  if (own_server_) copy_served(options_.plan, ranks_.all().rank(), options_.served_weights, options_.memory.weights);
  broadcast_partitions(ranks_.all(), options_.plan, options_.memory.weights);
}

void ServedExchange::gather(std::span<const OptimizerState> states) {
  if (ranks_.has_dedicated_servers()) tell_servers(ranks_.all(), ServerTask::give_state);
  for (const OptimizerState& state : states) broadcast_partitions(ranks_.all(), options_.plan, state.values);
}

void ServedExchange::end() {
  if (ranks_.has_dedicated_servers()) tell_servers(ranks_.all(), ServerTask::end);
}

}  // namespace dtrain
