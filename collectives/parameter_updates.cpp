// What a parameter server does with gradients, mode by mode: Note [Which gradients an update takes].
#include <algorithm>
#include <cstddef>

#include "collectives/parameter_server_state.hpp"
#include "collectives/sum_kernels.hpp"

namespace dtrain {

// --- sync -----------------------------------------------------------------------------------------------------------------

/// Adds what is here of partition k, as far as worker order allows; the last worker's gradient completes the update.
void ParameterServer::State::sum_in_order(int k) {
  OwnPartition& partition = own_partition(k);
  const std::int64_t position = partition.updates * count + k;
  const int slot = static_cast<int>(position % sizes.landings);
  for (; partition.added < workers; ++partition.added) {
    Landing& at = landing_of(partition.added, slot);
    if (at.state != LandingState::landed || at.position != position) return;
    const float* gradient = landing_elements(partition.added, slot);
    if (partition.added == 0) {
      std::copy_n(gradient, partition.elements(), partition.sum);
    } else {
      sum_kernels().add_into(partition.sum, gradient, partition.range.size());
    }
    at.position += sizes.landings;
    receive_gradient(partition.added, slot);
  }
  if (partition.leaving > 0) return;
  update(partition.range, {partition.sum, partition.elements()}, plan.first_step + partition.updates);
  ++partition.updates;
  partition.added = 0;
  unanswered -= workers;
  partition.leaving = workers;
  for (int worker = 0; worker < workers; ++worker) send_weights(worker, k, weights.data() + partition.range.begin);
}

void ParameterServer::State::sum_sums() {
  if (announced < workers) return;
  announced = 0;
  ++open_step;
  sums = record.front().push.sums;
  for (auto from = record.begin() + 1; from != record.end(); ++from) {
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += from->push.sums[i];
  }
  for (int worker = 0; worker < workers; ++worker) send_answer(worker, open_step, sums);
}

// --- backup ---------------------------------------------------------------------------------------------------------------

/// A gradient that is here in whole: counts when its step is open yet, and is dropped otherwise.
void ParameterServer::State::count_if_complete(int worker) {
  WorkerRecord& from = record_of(worker);
  if (!from.has_announced || from.landed < count) return;
  from.has_announced = false;
  --announced;
  from.landed = 0;
  if (from.push.step < open_step) {
    from.awaits = open_step;
    return answer_if_due(worker);
  }
  from.awaits = open_step + 1;
  counted.insert(std::ranges::upper_bound(counted, worker), worker);
  std::int64_t samples = 0;
  for (const int one : counted) samples += record_of(one).push.samples;
  const auto arrived = static_cast<int>(counted.size());
  if (arrived == workers || (arrived >= workers - plan.backup_workers && samples > 0)) {
    close_step(samples, from.push.batch_samples);
  }
}

void ParameterServer::State::close_step(std::int64_t samples, std::int64_t batch_samples) {
  const int first = counted.front();
  const bool rescales = samples != batch_samples && samples > 0;
  const auto scale =
      static_cast<float>(static_cast<double>(batch_samples) / static_cast<double>(std::max<std::int64_t>(samples, 1)));
  for (int k = 0; k < count; ++k) {
    OwnPartition& partition = own_partition(k);
    const std::span<float> sum{landing_elements(first, k), partition.elements()};
    for (auto worker = counted.begin() + 1; worker != counted.end(); ++worker) {
      sum_kernels().add_into(sum.data(), landing_elements(*worker, k), partition.range.size());
    }
    if (rescales) {
      for (float& value : sum) value *= scale;
    }
    update(partition.range, sum, open_step);
  }
  for (const int worker : counted) {
    for (WorkerRecord& to : record) {
      for (std::size_t i = 0; i < to.unsent.size(); ++i) to.unsent[i] += record_of(worker).push.sums[i];
    }
  }
  ++open_step;
  counted.clear();
  for (int worker = 0; worker < workers; ++worker) answer_if_due(worker);
}

void ParameterServer::State::answer_if_due(int worker) {
  WorkerRecord& to = record_of(worker);
  if (to.awaits > open_step) return;
  for (int k = 0; k < count; ++k) {
    if (landing_of(worker, k).state == LandingState::leaving) return;  // of the answer before; we come back
  }
  to.awaits = kNever;
  for (int k = 0; k < count; ++k) {
    Landing& at = landing_of(worker, k);
    if (at.state == LandingState::landed) --unanswered;
    at.state = LandingState::leaving;
    const OwnPartition& partition = own_partition(k);
    std::copy_n(weights.data() + partition.range.begin, partition.elements(), landing_elements(worker, k));
    send_weights(worker, k, landing_elements(worker, k));
  }
  send_answer(worker, open_step, to.unsent);
  to.unsent = {};
}

// --- async ----------------------------------------------------------------------------------------------------------------

void ParameterServer::State::apply(int worker, int k) {
  const OwnPartition& partition = own_partition(k);
  Landing& at = landing_of(worker, k);
  update(partition.range, {landing_elements(worker, k), partition.elements()}, plan.first_step + at.position / count);
  at.position += count;
  release(k);
}

/// Sends partition k to all workers that wait for it and are not too far ahead of the slowest.
void ParameterServer::State::release(int k) {
  std::int64_t slowest = kNever;
  for (int worker = 0; worker < workers; ++worker) {
    slowest = std::min(slowest, landing_of(worker, k).position / count);
  }
  const OwnPartition& partition = own_partition(k);
  for (int worker = 0; worker < workers; ++worker) {
    Landing& at = landing_of(worker, k);
    if (at.state != LandingState::landed || at.position / count - plan.max_staleness > slowest) continue;
    at.state = LandingState::leaving;
    --unanswered;
    std::copy_n(weights.data() + partition.range.begin, partition.elements(), landing_elements(worker, k));
    send_weights(worker, k, landing_elements(worker, k));
  }
}

}  // namespace dtrain
