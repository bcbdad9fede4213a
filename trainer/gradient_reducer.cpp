// Buckets on their way; see gradient_reducer.hpp.
//
// Note [What is final is a prefix of the arena]: slots stand in the order in which backward finishes them, so buckets become
// ready in index order. They travel in order_, which all ranks have alike; the next of it waits until it is ready. Weights are
// updated bucket by bucket, on all ranks in the same order: that in which forward needs them, or, before forward, in which they
// travel.
//
// Note [Statistics take their turn among the buckets]: what is summed or broadcast at once goes through the comm thread too,
// behind the buckets submitted before it. Those are the same on all ranks: layers are done, and ask for statistics, in the
// order of the graph, and all buckets of a step have been submitted before the next forward begins.
#include "trainer/gradient_reducer.hpp"

#include <algorithm>
#include <cstddef>

#include "collectives/stall_watch.hpp"
#include "dtrain/error.hpp"
#include "trainer/clock.hpp"

namespace dtrain {

namespace {

/// Overlapping forward too must save this share of a step to be chosen.
constexpr double kWorthwhileShare = 0.002;

WaitPolicy watched(WaitPolicy wait, const ReducerOptions& options, const Communicator& communicator) {
  wait.timeout_s = options.stall_timeout_s;
  wait.watch = &communicator.watch();
  return wait;
}

}  // namespace

Overlap parse_overlap(std::string_view text) {
  if (text == "on") return Overlap::automatic;
  for (const Overlap overlap : {Overlap::off, Overlap::backward, Overlap::forward}) {
    if (text == to_text(overlap)) return overlap;
  }
  throw ConfigError(Fault{.doing = "--overlap",
                          .expected = "on, forward, backward or off",
                          .found = "'" + std::string(text) + "'",
                          .remedy = "--overlap on"});
}

const char* to_text(Overlap overlap) {
  switch (overlap) {
    case Overlap::off:
      return "off";
    case Overlap::backward:
      return "backward";
    case Overlap::forward:
      return "forward";
    case Overlap::automatic:
      return "on";
  }
  return "";
}

GradientReducer::GradientReducer(const Communicator& communicator, NodeWindow& window, ReducerOptions options)
    : options_(std::move(options)),
      communicator_(communicator),
      wait_(watched(options_.has_comm_core ? kEagerWait : kPoliteWait, options_, communicator)),
      all_reduce_(communicator, window, options_.algorithms, options_.wire, wait_),
      overlap_(options_.overlap == Overlap::automatic ? Overlap::backward : options_.overlap),
      order_(order_of_readiness(static_cast<int>(options_.buckets.size()))),
      numbers_(options_.buckets.size()),
      times_(options_.buckets.size()),
      is_updated_(options_.buckets.size(), true),
      is_needed_(options_.buckets.size(), false),
      owners_wait_(watched(kPoliteWait, options_, communicator)) {
  check(options_.bucket_names.size() == options_.buckets.size(), "GradientReducer: a name for each bucket");
  if (options_.measuring_passes > 0 && options_.overlap == Overlap::automatic) options_.overlap = Overlap::backward;
  check(options_.measuring_passes == 0 || options_.overlap != Overlap::forward,
        "GradientReducer: no weight is updated before all gradients are measured");
  for (const Range& gradients : options_.gradient_ranges) {
    std::vector<int>& needed = needed_by_.emplace_back();
    for (auto bucket = static_cast<int>(options_.buckets.size()) - 1; bucket >= 0; --bucket) {
      const Range& range = options_.buckets[static_cast<std::size_t>(bucket)];
      if (range.begin < gradients.end && gradients.begin < range.end) needed.push_back(bucket);
    }
  }
  if (options_.algorithms == AllReduceAlgorithm::none) return;
  for (const Range& bucket : options_.buckets) {  // prepared in their order, so that they have their numbers
    const bool has_step_sums = bucket.end == options_.buckets.back().end;  // of which every rank needs the exact total
    const bool is_sharded = options_.shares_update && !has_step_sums;
    all_reduce_.prepare(bucket, {.where = is_sharded ? SumsAt::shard_owner : SumsAt::every_rank,
                                 .is_exact = has_step_sums,
                                 .shard_alignment = options_.shard_alignment});
  }
  comm_thread_ =
      std::make_unique<CommThread>([this](int job) { run_job(job); }, static_cast<int>(options_.buckets.size()) + 1,
                                   options_.on_comm_thread_start, [this](int, double waited_s) { look_for_stall(waited_s); });
  owners_wait_.beside = comm_thread_.get();
}

const std::string& GradientReducer::name_of(int job) const {
  return job < 0 ? statistics_name_ : options_.bucket_names[static_cast<std::size_t>(job)];
}

/// On the comm thread.
void GradientReducer::run_job(int job) {
  const StallWatch::Subject subject(communicator_.watch(), name_of(job));
  if (job == kSumJob) return sum_at_root(communicator_, summed_, wait_);
  if (job == kBroadcastJob) return broadcast_from_root(communicator_, broadcast_, wait_);
  const double begin_s = seconds();
  all_reduce_.run(job);
  times_[static_cast<std::size_t>(job)].exchange_s = seconds() - begin_s;
}

int GradientReducer::submit(int job) {
  comm_thread_->submit(job);
  return jobs_++;
}

void GradientReducer::wait_for(int job, int number) {
  awaited_ = job;
  clock_.waited_s += comm_thread_->wait(number);
}

void GradientReducer::begin_forward() {
  forward_begin_s_ = seconds();
  at_forward_ = clock_;
  is_needed_.assign(is_needed_.size(), false);
}

void GradientReducer::before_forward(LayerIndex layer) {
  for (const int bucket : needed_by_[static_cast<std::size_t>(layer)]) {
    const auto at = static_cast<std::size_t>(bucket);
    if (is_needed_[at]) continue;
    is_needed_[at] = true;
    // As if there had been nothing to wait for.
    const double held_up_s = clock_.waited_s - at_forward_.waited_s + clock_.update_s - at_forward_.update_s;
    times_[at].needed_s = seconds() - forward_begin_s_ - held_up_s;
    require_updated(bucket);
  }
}

void GradientReducer::begin_backward(const StepGradients& step) {
  settle();
  step_ = step;
  reset_jobs();
  is_updated_.assign(is_updated_.size(), false);
  is_measured_ = false;
  submitted_ = ready_ = 0;
  final_elements_ = 0;
  backward_begin_s_ = seconds();
}

void GradientReducer::layer_done(LayerIndex layer) {
  if (comm_thread_) comm_thread_->rethrow_failure();
  final_elements_ = std::max(final_elements_, options_.gradient_ranges[static_cast<std::size_t>(layer)].end);
  while (ready_ < options_.buckets.size() && options_.buckets[ready_].end <= final_elements_) {
    times_[ready_++].ready_s = seconds() - backward_begin_s_;
  }
  if (overlap_ != Overlap::off) submit_ready();
}

StepOutcome GradientReducer::end_backward() {
  const double begin_s = seconds();
  backward_s_ = begin_s - backward_begin_s_;
  for (; ready_ < options_.buckets.size(); ++ready_) times_[ready_].ready_s = backward_s_;
  submit_ready();
  clock_.waited_s += seconds() - begin_s;  // on a core of one's own the comm thread may take over at once
  if (overlap_ != Overlap::forward) {
    settle();
  } else if (!options_.buckets.empty()) {
    require_updated(static_cast<int>(options_.buckets.size()) - 1);  // has the step's sums
  }
  return {.next_step = step_.step + 1};
}

void GradientReducer::reset_jobs() {
  if (comm_thread_) comm_thread_->reset();
  jobs_ = 0;
}

void GradientReducer::submit_ready() {
  if (!comm_thread_) return;
  while (submitted_ < order_.size() && static_cast<std::size_t>(order_[submitted_]) < ready_) {
    const int bucket = order_[submitted_++];
    numbers_[static_cast<std::size_t>(bucket)] = submit(bucket);
  }
}

void GradientReducer::sum_now(std::span<double> values) {
  summed_ = values;
  carry_out(kSumJob);
}

void GradientReducer::broadcast_now(std::span<float> values) {
  broadcast_ = values;
  carry_out(kBroadcastJob);
}

void GradientReducer::carry_out(int job) {
  if (communicator_.size() == 1) return;
  check(comm_thread_ != nullptr, "GradientReducer: ranks that exchange");
  wait_for(job, submit(job));
}

const Range& GradientReducer::own_part(int bucket) const {
  return options_.shares_update ? all_reduce_.shard(bucket) : options_.buckets[static_cast<std::size_t>(bucket)];
}

void GradientReducer::require_summed(int bucket) {
  if (comm_thread_) wait_for(bucket, numbers_[static_cast<std::size_t>(bucket)]);
}

/// In the first pass, later buckets travel meanwhile.
void GradientReducer::require_measured() {
  if (is_measured_) return;
  for (int pass = 0; pass < options_.measuring_passes; ++pass) {
    for (const int bucket : order_) {
      require_summed(bucket);
      const double begin_s = seconds();
      options_.measure(pass, own_part(bucket));
      clock_.update_s += seconds() - begin_s;
    }
    const StallWatch::Subject subject(communicator_.watch(), measuring_text_, StallWatch::Waiter::beside_mpi);
    const double begin_s = seconds();
    options_.end_measuring(pass, owners_wait_);
    clock_.update_s += seconds() - begin_s;
  }
  is_measured_ = true;
}

void GradientReducer::require_updated(int bucket) {
  const auto at = static_cast<std::size_t>(bucket);
  if (is_updated_[at]) return;
  require_summed(bucket);
  const StallWatch::Subject subject(communicator_.watch(), options_.bucket_names[at], StallWatch::Waiter::beside_mpi);
  const double begin_s = seconds();
  options_.update(own_part(bucket), owners_wait_);
  clock_.update_s += seconds() - begin_s;
  is_updated_[at] = true;
}

/// MPI's own all-reduce does not return while a rank is missing. Our algorithms look for themselves, unless they are stuck in a
/// call that should not have waited.
void GradientReducer::look_for_stall(double waited_s) {
  constexpr double kGrace_s = 5.0;
  // A job beside the buckets waits for those before it, too.
  const bool looks_itself = awaited_ < 0 ? !options_.algorithms.uses(AllReduceAlgorithm::mpi)
                                         : all_reduce_.algorithm(awaited_) != AllReduceAlgorithm::mpi;
  const double timeout_s = options_.stall_timeout_s * (looks_itself ? 4.0 / 3.0 : 1.0) + (looks_itself ? kGrace_s : 0.0);
  if (looks_itself && waited_s < timeout_s) return;
  communicator_.watch().look_beside_mpi({.waited_s = waited_s, .timeout_s = timeout_s, .is_stuck = true},
                                        [this] { return "exchanging " + name_of(awaited_); });
}

void GradientReducer::settle() {
  require_measured();
  if (overlap_ == Overlap::forward) {
    for (auto bucket = static_cast<int>(options_.buckets.size()) - 1; bucket >= 0; --bucket) require_updated(bucket);
  } else {
    for (const int bucket : order_) require_updated(bucket);
  }
  if (comm_thread_) exchange_s_ = comm_thread_->busy_s();
}

void GradientReducer::plan_overlap() {
  settle();
  if (!comm_thread_ || options_.overlap == Overlap::off || options_.overlap == Overlap::backward) return;
  reset_jobs();
  const BucketOrder by_need = order_of_need(times_);
  const double in_forward_s = exposed_in_forward_s(times_, by_need, backward_s_);
  const double after_backward_s =
      exposed_after_backward_s(times_, order_of_readiness(static_cast<int>(order_.size())), backward_s_);
  const bool is_worthwhile = after_backward_s - in_forward_s > kWorthwhileShare * backward_s_;
  // Rank 0's times speak for all.
  const bool overlaps_forward = communicator_.broadcast_value(options_.overlap == Overlap::forward || is_worthwhile);
  std::vector<int> order = overlaps_forward ? by_need : order_of_readiness(static_cast<int>(order_.size()));
  communicator_.broadcast(std::as_writable_bytes(std::span(order)));
  overlap_ = overlaps_forward ? Overlap::forward : Overlap::backward;
  order_ = std::move(order);
}

}  // namespace dtrain
