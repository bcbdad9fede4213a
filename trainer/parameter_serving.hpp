// The serving side of a training with parameter servers: what a server does with a gradient, and the life of a rank that does
// nothing else.
//
//   worker (rank 0 speaks)                        rank that serves alone
//   layout, weights, state, steps done      ──▶   introduce_servers
//   steps                                   ◀─▶   ParameterServer::serve
//   pause                                   ──▶   serve returns; in async mode gives its weights
//   ServerTask                              ──▶   serve again, give its state, or end
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "collectives/parameter_server.hpp"
#include "dtrain/optimizer.hpp"
#include "dtrain/parameters.hpp"
#include "trainer/run_plan.hpp"
#include "trainer/training_ranks.hpp"

namespace dtrain {

/// The plan of a configuration that uses servers, for parameters of so many elements. first_step: steps done before. Errors:
/// ConfigError: --fusion-mb cuts them into too many partitions.
ParameterServerPlan plan_parameter_servers(const TrainConfig& config, const ServerRoles& roles, std::int64_t elements,
                                           std::int64_t first_step);

/// Memory that serving takes on a rank that also trains: the server's buffers, and its share of weights of its own. Empty where
/// this rank does not do both. The arguments outlive it.
std::function<std::size_t(std::int64_t parameters)> serving_bytes(const TrainConfig& config, const TrainingRanks& ranks);

/// Steps of the optimizer on a server's weights, by the run's schedule. In async mode every worker's gradient, which is scaled
/// for the whole batch, is an update of its own: it has its share of the weight decay, so that an epoch decays as much as in
/// the other modes; and adamw's averages count as what they are after the last gradient of the step, so that none is scaled up
/// too much; an average of the weights takes in the weights after each. Throws DivergedError where a weight is not finite any
/// more. All references outlive it.
/// slots    how the weights are laid out.
ParameterUpdate make_server_update(const RunPlan& plan, const ParameterServerPlan& servers, std::span<float> weights,
                                   const std::vector<Slot>& slots, Optimizer& optimizer);

/// Copies the partitions that a rank serves from one arena to another.
void copy_served(const ParameterServerPlan& plan, int rank, std::span<const float> from, std::span<float> to);

enum class ServerTask { serve, give_state, end };
/// Rank 0 speaks. Collective over all ranks; called on workers.
void tell_servers(const Communicator& all, ServerTask task);

/// What ranks that serve alone begin with.
struct ServedState {
  ParameterStore& parameters;
  std::span<const OptimizerState> states;
  std::int64_t first_step = 0;
};
/// Gives weights and the optimizer's state to the servers. Collective over all ranks; called on workers. Errors: CommError: a server lays
/// out weights otherwise (another CPU).
void introduce_servers(const TrainingRanks& ranks, const ServedState& state, bool has_plain_layout);

/// On a rank that serves alone: from the workers' introduction until they end. available_bytes: of memory; 0: not known.
/// Collective. Errors: ConfigError: it takes more memory; CommError, DivergedError.
void serve_training(const RunPlan& plan, const TrainConfig& config, const TrainingRanks& ranks, std::size_t available_bytes);

}  // namespace dtrain
