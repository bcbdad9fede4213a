// What parameter workers and servers send each other beside gradients and weights, and the tags of all of it. For the files of
// collectives/ alone.
//
//   worker → server   request   push: gradients of this step follow (in sync mode: these are the step's sums)
//                               weights: answer again when this step is open (backup mode)
//                               pause: nothing follows for a while
//                     gradient  one partition
//   server → worker   answer    sums, and the step to go on with
//                     weights   one partition
// Gradients need no header: a worker pushes its partitions in arena order, step after step, each under a tag of its own. In
// backup mode, where a step may be skipped, a request comes before.
#pragma once

#include <array>
#include <cstdint>

#include "collectives/parameter_server.hpp"

namespace dtrain {

enum class RequestKind : std::int64_t { push, weights, pause };

struct ServerMessage {
  RequestKind kind = RequestKind::push;  ///< of requests
  std::int64_t step = 0;
  std::int64_t samples = 0;        ///< push
  std::int64_t batch_samples = 0;  ///< push
  std::array<float, kMostSums> sums{};
};

inline constexpr int kRequestTag = 16;
inline constexpr int kAnswerTag = 17;
/// MPI promises tags up to 32767: enough for kMostPartitions.
inline int gradient_tag(int partition) { return 18 + 2 * partition; }
inline int weights_tag(int partition) { return 19 + 2 * partition; }

/// Whether only the first server takes the step's sums: where all gradients count, the others need none.
inline bool is_asked(const ParameterServerPlan& plan, int server) {
  return plan.mode == ServerMode::backup || (plan.mode == ServerMode::sync && server == 0);
}

/// Throws std::logic_error unless the plan can be carried out.
void check_plan(const ParameterServerPlan& plan);

}  // namespace dtrain
