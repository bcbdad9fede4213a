// Plans and steps of the small training.
#include "tests/collectives/parameter_ranks.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "dtrain/random.hpp"
#include "schedules/shards.hpp"

namespace dtrain {

ParameterServerPlan plan_of(const Communicator& communicator, const RankOptions& options) {
  const std::vector<int> one_node(static_cast<std::size_t>(communicator.size()), 0);
  ParameterServerPlan plan;
  plan.roles = options.roles ? *options.roles : plan_server_roles({.node_of_rank = one_node, .servers = options.servers});
  plan.partitions = plan_parameter_shards({.elements = options.elements,
                                           .servers = static_cast<int>(plan.roles.servers.size()),
                                           .partition_elements = options.partition_elements});
  plan.sum_elements = options.sum_elements;
  plan.mode = options.mode;
  plan.backup_workers = options.backup_workers;
  plan.max_staleness = options.max_staleness;
  plan.first_step = options.first_step;
  return plan;
}

ParameterRank::ParameterRank(const Communicator& communicator, const RankOptions& given_options, float rate)
    : options(given_options),
      plan(plan_of(communicator, options)),
      gradients(static_cast<std::size_t>(options.elements + options.sum_elements)) {
  for (std::int64_t i = 0; i < options.elements; ++i) weights.push_back(start(i));
  server_weights = weights;
  communicator.barrier();  // an earlier server of another rank could still take what is meant for this one
  if (std::ranges::binary_search(plan.roles.servers, communicator.rank())) {
    const auto update = [this, rate](const Range& partition, std::span<const float> gradient, std::int64_t step) {
      if (updated_partition.size() == 0 || updated_partition == partition) {
        updated_partition = partition;
        updated_steps.push_back(step);
      }
      float* weight = server_weights.data() + partition.begin;
      for (const float g : gradient) *weight++ -= rate * g;
    };
    server.emplace(communicator, plan, server_weights, update, options.wait);
  }
  if (std::ranges::binary_search(plan.roles.workers, communicator.rank())) {
    worker.emplace(communicator, plan, WorkerMemory{.gradients = gradients, .weights = weights}, options.wait,
                   server ? &*server : nullptr);
  }
}

std::int64_t ParameterRank::step(const StepGradients& of, const std::function<float(std::int64_t i)>& gradient) {
  worker->begin_step(of);
  const Range all{0, options.elements};
  for (std::int64_t bucket = 0; bucket < options.buckets; ++bucket) {
    const Range range = split_range(all, options.buckets, bucket);
    for (std::int64_t i = range.begin; i < range.end; ++i) gradients[static_cast<std::size_t>(i)] = gradient(i);
    const bool is_last = bucket + 1 == options.buckets;
    worker->push(is_last ? options.elements + options.sum_elements : range.end);
  }
  for (std::int64_t bucket = options.buckets - 1; bucket >= 0; --bucket) {
    worker->pull(split_range(all, options.buckets, bucket));
  }
  worker->finish_step();
  return worker->next_step();
}

void ParameterRank::run(std::int64_t first, std::int64_t last, const std::function<std::int64_t(std::int64_t step)>& train) {
  if (trains()) {
    for (std::int64_t step = first; step < last;) step = train(step);
    worker->pause();
  } else if (serves()) {
    server->serve();
  }
}

float integer_gradient(int rank, std::int64_t step, std::int64_t i) {
  return static_cast<float>((i * 7 + rank * 3 + step * 5) % 11 - 5);
}

float real_gradient(int rank, std::int64_t step, std::int64_t i) {
  Random random(1, RandomPurpose::perturbation,
                {static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(i)});
  return static_cast<float>(random.normal() * std::exp(random.uniform(-8.0, 8.0)));
}

std::string bits_of(std::span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

bool are_equal_on_workers(const Communicator& communicator, const ParameterRank& rank) {
  const std::vector<std::string> texts = communicator.gather_texts(rank.trains() ? bits_of(rank.weights) : "");
  const std::string& first = texts[static_cast<std::size_t>(rank.plan.roles.workers.front())];
  for (const int worker : rank.plan.roles.workers) {
    if (texts[static_cast<std::size_t>(worker)] != first) return false;
  }
  return true;
}

void sleep_ms(std::int64_t milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

}  // namespace dtrain
