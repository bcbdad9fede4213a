// Buckets on their way; see gradient_reducer.hpp.
#include "trainer/gradient_reducer.hpp"

namespace dtrain {

// Note [Buckets are submitted in index order]: slots stand in the order in which backward finishes them, so what is final is
// always a prefix of the arena, full buckets are a prefix of the list, and all ranks submit the same buckets in the same order.

GradientReducer::GradientReducer(const Communicator& communicator, NodeWindow& window, ReducerOptions options)
    : options_(std::move(options)),
      all_reduce_(communicator, window, options_.algorithms, options_.wire, options_.has_comm_core ? kEagerWait : kPoliteWait) {
  if (options_.algorithms == AllReduceAlgorithm::none) return;
  for (const Range& bucket : options_.buckets) all_reduce_.prepare(bucket);  // numbered as the buckets are
  comm_thread_ = std::make_unique<CommThread>([this](int bucket) { all_reduce_.run(bucket); },
                                              static_cast<int>(options_.buckets.size()), options_.on_comm_thread_start);
}

void GradientReducer::layer_done(LayerIndex layer) {
  if (options_.overlap) submit_until(options_.gradient_ends[static_cast<std::size_t>(layer)]);
}

void GradientReducer::submit_until(std::int64_t final_elements) {
  if (!comm_thread_) return;
  while (submitted_ < options_.buckets.size() && options_.buckets[submitted_].end <= final_elements) {
    comm_thread_->submit(static_cast<int>(submitted_++));
  }
}

double GradientReducer::drain(const std::function<void(const Range& bucket)>& update) {
  double waited_s = 0.0;
  if (!options_.buckets.empty()) submit_until(options_.buckets.back().end);
  for (std::size_t bucket = 0; bucket < options_.buckets.size(); ++bucket) {
    if (comm_thread_) waited_s += comm_thread_->wait(static_cast<int>(bucket));
    update(options_.buckets[bucket]);
  }
  if (comm_thread_) {
    exchange_s_ = comm_thread_->busy_s();
    comm_thread_->reset();
  }
  submitted_ = 0;
  return waited_s;
}

}  // namespace dtrain
