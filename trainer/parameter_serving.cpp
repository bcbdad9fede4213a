// Updates on servers and the protocol beside the steps; see parameter_serving.hpp.
#include "trainer/parameter_serving.hpp"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "collectives/exchange.hpp"
#include "dtrain/error.hpp"
#include "dtrain/graph.hpp"
#include "trainer/divergence.hpp"
#include "trainer/rank_memory.hpp"
#include "trainer/replica.hpp"

namespace dtrain {
namespace {

/// What rank 0 tells of the run before the first step.
struct Introduction {
  std::int64_t first_step;
  bool has_plain_layout;
};

void require_few(const std::vector<ParameterPartition>& partitions, std::int64_t elements) {
  if (std::ssize(partitions) <= kMostPartitions) return;
  throw ConfigError(Fault{.doing = "cutting " + std::to_string(elements) + " weights among parameter servers (--fusion-mb)",
                          .expected = "at most " + std::to_string(kMostPartitions) + " partitions",
                          .found = std::to_string(partitions.size()),
                          .remedy = "a larger --fusion-mb, or leave it out"});
}

/// Of a rank that serves alone.
void require_memory(const ParameterServerPlan& plan, std::size_t arenas_bytes, int rank, std::size_t available_bytes) {
  const std::size_t needed = arenas_bytes + ParameterServer::buffer_bytes(plan, rank);
  if (available_bytes == 0 || needed <= available_bytes) return;
  throw ConfigError(Fault{
      .doing = "serving parameters on rank " + std::to_string(rank) + " of " + host_name(),
      .expected = gigabytes_text(needed) + " for weights, optimizer state and the gradients of " +
                  std::to_string(plan.roles.workers.size()) + " workers",
      .found = gigabytes_text(available_bytes) + " available to this rank",
      .remedy = "more --parameter-servers, --ps-mode sync, which keeps no worker's gradient, or fewer ranks on the node"});
}

void require_equal_layouts(const Communicator& all, const ParameterStore& parameters) {
  all.require_equal({{"layout of the weights (depends on the CPU)", std::to_string(parameters.layout_digest())}});
}

void broadcast_state(const Communicator& all, const ServedState& state) {
  all.broadcast(std::as_writable_bytes(state.parameters.weights()));
  if (state.first_step == 0) return;
  for (const OptimizerState& of_optimizer : state.states) all.broadcast(std::as_writable_bytes(of_optimizer.values));
}

}  // namespace

ParameterServerPlan plan_parameter_servers(const TrainConfig& config, const ServerRoles& roles, std::int64_t elements,
                                           std::int64_t first_step) {
  // By default no larger than what is sent without asking, see Note [Segments are sent at once]. Where it is larger than all
  // parameters it makes no difference, but might not fit the integer.
  const double asked_elements =
      config.fusion_mb ? *config.fusion_mb * kBytesPerMb / sizeof(float) : static_cast<double>(Exchange::segment_elements());
  const double partition_elements = std::min(asked_elements, static_cast<double>(elements) + kSlotAlignment);
  const ServerMode mode = parse_server_mode(config.ps_mode);
  std::vector<ParameterPartition> partitions = plan_parameter_shards(
      {.elements = elements,
       .servers = static_cast<int>(roles.servers.size()),
       .partition_elements = std::max<std::int64_t>(kSlotAlignment, static_cast<std::int64_t>(partition_elements)),
       .alignment = kSlotAlignment});
  require_few(partitions, elements);
  return {.roles = roles,
          .partitions = std::move(partitions),
          .sum_elements = kStepSumElements,
          .mode = mode,
          .backup_workers = mode == ServerMode::backup ? static_cast<int>(backup_workers_of(config)) : 0,
          .max_staleness = mode == ServerMode::async ? max_staleness_of(config) : 0,
          .first_step = first_step};
}

std::function<std::size_t(std::int64_t parameters)> serving_bytes(const TrainConfig& config, const TrainingRanks& ranks) {
  if (!ranks.roles() || ranks.has_dedicated_servers()) return {};
  return [&config, &ranks](std::int64_t parameters) {
    const int rank = ranks.all().rank();
    const ParameterServerPlan plan = plan_parameter_servers(config, *ranks.roles(), parameters, 0);
    std::int64_t own = 0;
    for (const ParameterPartition& partition : plan.partitions) {
      if (plan.roles.servers[static_cast<std::size_t>(partition.server)] == rank) own += partition.range.size();
    }
    return ParameterServer::buffer_bytes(plan, rank) + static_cast<std::size_t>(own) * sizeof(float);
  };
}

ParameterUpdate make_server_update(const RunPlan& plan, const ParameterServerPlan& servers, std::span<float> weights,
                                   const std::vector<Slot>& slots, Optimizer& optimizer) {
  const auto updates_a_step = static_cast<int>(servers.mode == ServerMode::async ? servers.roles.workers.size() : 1);
  return [&plan, &slots, &optimizer, weights, updates_a_step](const Range& partition, std::span<const float> gradient,
                                                              std::int64_t step) {
    UpdateRates rates = rates_of_step(plan, step);
    rates.weight_decay *= 1.0f / static_cast<float>(updates_a_step);
    rates.updates *= updates_a_step;
    if (optimizer.update(weights, gradient, {partition.begin, partition.end}, rates)) return;
    throw diverged({.step = step + 1,
                    .learning_rate = rates.learning_rate,
                    .loss = 0.0,
                    .weights_are_finite = false,
                    .place = place_in_weights(weights, slots, plan.network)});
  };
}

void copy_served(const ParameterServerPlan& plan, int rank, std::span<const float> from, std::span<float> to) {
  for (const ParameterPartition& partition : plan.partitions) {
    if (plan.roles.servers[static_cast<std::size_t>(partition.server)] != rank) continue;
    std::copy(from.begin() + partition.range.begin, from.begin() + partition.range.end, to.begin() + partition.range.begin);
  }
}

void tell_servers(const Communicator& all, ServerTask task) { all.broadcast_value(task); }

void introduce_servers(const TrainingRanks& ranks, const ServedState& state, bool has_plain_layout) {
  ranks.all().broadcast_value(Introduction{state.first_step, has_plain_layout});
  require_equal_layouts(ranks.all(), state.parameters);
  broadcast_state(ranks.all(), state);
}

void serve_training(const RunPlan& plan, const TrainConfig& config, const TrainingRanks& ranks, std::size_t available_bytes) {
  const Communicator& all = ranks.all();
  const auto [first_step, has_plain_layout] = all.broadcast_value(Introduction{});
  ParameterStore parameters(Graph::plan_parameters(plan.network, plan.compile, has_plain_layout));
  require_equal_layouts(all, parameters);
  const ParameterServerPlan servers =
      plan_parameter_servers(config, *ranks.roles(), std::ssize(parameters.weights()), first_step);
  const std::int64_t elements = std::ssize(parameters.weights());
  const std::int64_t arenas_elements = elements + Optimizer::state_elements(plan.optimizer, elements);
  require_memory(servers, static_cast<std::size_t>(arenas_elements) * sizeof(float), all.rank(), available_bytes);
  Optimizer optimizer(plan.optimizer, parameters);
  broadcast_state(all, {parameters, optimizer.states(), first_step});
  if (first_step == 0) optimizer.begin_average(parameters.weights());
  ParameterServer server(all, servers, parameters.weights(),
                         make_server_update(plan, servers, parameters.weights(), parameters.trained_slots(), optimizer),
                         {.spins = kPoliteWait.spins, .timeout_s = config.stall_timeout_s, .watch = &all.watch()});
  for (ServerTask task = ServerTask::serve; task != ServerTask::end; task = all.broadcast_value(ServerTask::end)) {
    if (task == ServerTask::give_state) {
      for (const OptimizerState& state : optimizer.states()) broadcast_partitions(all, servers, state.values);
      continue;
    }
    server.serve();
    if (servers.mode == ServerMode::async) broadcast_partitions(all, servers, parameters.weights());
  }
}

}  // namespace dtrain
