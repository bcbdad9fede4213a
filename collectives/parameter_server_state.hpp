// What a parameter server keeps of its partitions and its workers: carried from message to message (parameter_server.cpp) by
// the rules of its mode (parameter_updates.cpp).
//
//   a landing   receiving ──▶ landed ──▶ (taken into an update) ──▶ receiving             sync
//               receiving ──▶ landed ──▶ (taken, or dropped) ──▶ leaving ──▶ receiving    backup, async
//
// Note [Weights leave from where gradients landed]
// In backup and async mode a slow worker must not hold up the others, so weights are copied before they are sent: the next
// update need not wait until the last worker has received them. The copy goes where that worker's gradient was, which is not
// needed any more, and which is filled again only by a push that follows upon these very weights. In sync mode all wait for all
// anyway: weights are sent from the arena, and a partition is updated only when none of it is leaving any more.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "collectives/mpi_handles.hpp"
#include "collectives/parameter_messages.hpp"
#include "collectives/parameter_server.hpp"

namespace dtrain {

inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

enum class LandingState { idle, receiving, landed, leaving };

/// Where gradients of a worker arrive.
struct Landing {
  LandingState state = LandingState::idle;
  std::int64_t position = 0;  ///< in the worker's stream of partitions for this server, step after step
};

/// A partition of this server.
struct OwnPartition {
  Range range;
  int number = 0;        ///< in the plan
  float* sum = nullptr;  ///< sync
  int added = 0;         ///< sync: workers in the sum
  int leaving = 0;       ///< sync: workers to which its weights are on their way
  std::int64_t updates = 0;
  std::size_t elements() const { return static_cast<std::size_t>(range.size()); }
};

struct WorkerRecord {
  ServerMessage received, answer;
  ServerMessage push;                     ///< the last request of that kind
  std::array<float, kMostSums> unsent{};  ///< backup: sums of the steps that were closed since the last answer
  bool has_announced = false;
  int landed = 0;                ///< backup: partitions that are here
  std::int64_t awaits = kNever;  ///< backup: answered once this step is open
  std::int64_t pauses = 0;
  std::int64_t came = 0;  ///< partitions and announcements, since the start
};

/// Elements of the server's buffers.
struct BufferSizes {
  int landings = 0;  ///< of each worker
  std::int64_t landing_elements = 0;
  std::int64_t sum_elements = 0;
};

struct ParameterServer::State {
  State(const Communicator& communicator, const ParameterServerPlan& given_plan, std::span<const float> arena,
        ParameterUpdate given_update, WaitPolicy given_wait);

  MPI_Comm comm;
  int rank;
  int exceptions_at_start = std::uncaught_exceptions();
  ParameterServerPlan plan;
  std::span<const float> weights;
  ParameterUpdate update;
  WaitPolicy wait;
  PollPace pace;
  int workers;
  std::vector<OwnPartition> own;
  int count;  ///< of own
  BufferSizes sizes;
  std::vector<WorkerRecord> record;
  std::vector<Landing> landing;  ///< worker by worker; outside sync mode landing k is partition k's
  std::unique_ptr<float[]> landing_memory, sum_memory;
  std::vector<MPI_Request> requests;  ///< worker by worker: landings, request, weights, answer
  std::vector<int> completed;         ///< room for MPI_Testsome

  std::int64_t open_step;  ///< sync (of the sums), backup
  int announced = 0;       ///< pushes that have begun: in sync mode until all sums are here, in backup mode until it has ended
  std::vector<int> counted;             ///< backup: workers whose gradient is here
  std::array<float, kMostSums> sums{};  ///< sync: of the last step
  std::int64_t sends = 0;               ///< on their way
  std::int64_t unanswered = 0;          ///< gradients here whose weights were not sent yet
  std::int64_t pauses_passed = 0;       ///< by all workers, and followed by resume()

  // Places of requests. Sends of weights are by partition, receives by landing.
  int stride() const { return sizes.landings + count + 2; }
  MPI_Request& receive_of(int worker, int slot) { return requests[static_cast<std::size_t>(worker * stride() + slot)]; }
  MPI_Request& request_of(int worker) { return receive_of(worker, sizes.landings); }
  MPI_Request& weights_of(int worker, int k) { return receive_of(worker, sizes.landings + 1 + k); }
  MPI_Request& answer_of(int worker) { return receive_of(worker, sizes.landings + 1 + count); }

  WorkerRecord& record_of(int worker) { return record[static_cast<std::size_t>(worker)]; }
  OwnPartition& own_partition(int k) { return own[static_cast<std::size_t>(k)]; }
  int rank_of(int worker) const { return plan.roles.workers[static_cast<std::size_t>(worker)]; }
  Landing& landing_of(int worker, int slot) { return landing[static_cast<std::size_t>(worker * sizes.landings + slot)]; }
  float* landing_elements(int worker, int slot) {
    return landing_memory.get() + (worker * sizes.landings + slot) * sizes.landing_elements;
  }

  // Messages.
  void receive_gradient(int worker, int slot);
  void receive_request(int worker);
  void send_weights(int worker, int k, const float* from);
  void send_answer(int worker, std::int64_t step, const std::array<float, kMostSums>& its_sums);

  // What comes.
  bool progress();
  void handle(int place);
  void gradient_came(int worker, int slot);
  void weights_left(int worker, int k);
  void request_came(int worker);

  void sum_in_order(int k);
  void sum_sums();
  void count_if_complete(int worker);
  void close_step(std::int64_t samples, std::int64_t batch_samples);
  void answer_if_due(int worker);
  void apply(int worker, int k);
  void release(int k);

  bool has_paused(const WorkerRecord& worker) const { return worker.pauses > pauses_passed; }
  bool are_all_paused() const {
    return std::ranges::all_of(record, [this](const WorkerRecord& worker) { return has_paused(worker); });
  }
  bool is_between_steps() const { return unanswered == 0 && announced == 0 && sends == 0; }
  [[noreturn]] void refuse_step(int worker, std::int64_t step) const;
  std::string describe_wait() const;
  void end_requests();
};

}  // namespace dtrain
