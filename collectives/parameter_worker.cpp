// The worker's side: pushes partitions to their servers as they become final, and lets their weights arrive meanwhile.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "collectives/mpi_handles.hpp"
#include "collectives/parameter_messages.hpp"
#include "collectives/parameter_server.hpp"
#include "dtrain/error.hpp"

namespace dtrain {

namespace {

using Clock = std::chrono::steady_clock;

struct ModeName {
  ServerMode mode;
  const char* name;
};
constexpr std::array<ModeName, 3> kModeNames{
    {{ServerMode::sync, "sync"}, {ServerMode::backup, "backup"}, {ServerMode::async, "async"}}};

/// Whether all of these are done; then they are null.
bool are_done(std::span<MPI_Request> some) {
  int done = 0;
  check_mpi(MPI_Testall(mpi_count(std::ssize(some)), some.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
  return done != 0;
}

}  // namespace

ServerMode parse_server_mode(std::string_view name) {
  for (const ModeName& entry : kModeNames) {
    if (name == entry.name) return entry.mode;
  }
  throw ConfigError(Fault{.doing = "choosing how parameter servers update",
                          .expected = "sync, backup or async",
                          .found = "\"" + std::string(name) + "\"",
                          .remedy = "sync"});
}

std::string to_text(ServerMode mode) { return kModeNames[static_cast<std::size_t>(mode)].name; }

void check_plan(const ParameterServerPlan& plan) {
  const auto workers = static_cast<int>(plan.roles.workers.size());
  check(workers > 0 && !plan.roles.servers.empty(), "ParameterServerPlan: a worker and a server");
  check(std::ssize(plan.partitions) <= kMostPartitions, "ParameterServerPlan: at most kMostPartitions");
  check(plan.sum_elements >= 0 && plan.sum_elements <= kMostSums, "ParameterServerPlan: at most kMostSums");
  check(plan.backup_workers >= 0 && plan.backup_workers < workers, "ParameterServerPlan: 0 <= backup_workers < workers");
  check(plan.backup_workers == 0 || plan.mode == ServerMode::backup, "ParameterServerPlan: backup workers in backup mode");
  check(plan.max_staleness >= 0, "ParameterServerPlan: max_staleness >= 0");
}

struct ParameterWorker::State {
  State(const Communicator& communicator, const ParameterServerPlan& given_plan, WorkerMemory given_memory,
        WaitPolicy given_wait, ParameterServer* server)
      : comm(communicator.handles().exchange),
        rank(communicator.rank()),
        plan(given_plan),
        memory(given_memory),
        wait(given_wait),
        own_server(server),
        gradients(plan.partitions.size(), MPI_REQUEST_NULL),
        weights(plan.partitions.size(), MPI_REQUEST_NULL),
        requests(plan.roles.servers.size(), MPI_REQUEST_NULL),
        answers(plan.roles.servers.size(), MPI_REQUEST_NULL),
        asked(plan.roles.servers.size()),
        answered(plan.roles.servers.size()),
        next_step(plan.first_step) {}

  MPI_Comm comm;
  int rank;
  ParameterServerPlan plan;
  WorkerMemory memory;
  WaitPolicy wait;
  ParameterServer* own_server;
  std::vector<MPI_Request> gradients, weights;  ///< by partition
  std::vector<MPI_Request> requests, answers;   ///< by server
  std::vector<ServerMessage> asked, answered;
  StepGradients step;
  bool is_announced = false;
  bool is_finished = false;
  std::size_t pushed = 0;  ///< partitions
  std::int64_t next_step;
  std::array<float, kMostSums> earlier_sums{};  ///< backup: of the first server's answers in this step before the last one
  PollPace pace;

  bool is_paused = false;  ///< no MPI before the next push: other threads may be in it
  // While the comm thread has no job.
  bool is_idle = false;
  Clock::time_point last_served;
  std::int64_t polls = 0;  ///< since then
  PollPace idle_pace;

  int servers() const { return static_cast<int>(plan.roles.servers.size()); }
  int rank_of(int server) const { return plan.roles.servers[static_cast<std::size_t>(server)]; }
  std::int64_t parameters() const { return plan.partitions.empty() ? 0 : plan.partitions.back().range.end; }
  std::span<float> sums() const { return memory.gradients.subspan(static_cast<std::size_t>(parameters())); }

  void receive_weights(std::size_t partition);
  void receive_answer(int server);
  void send_gradient(std::size_t partition);
  void send_request(int server, RequestKind kind, std::int64_t at_step);
  void announce();
  void receive_all();
  bool ask_those_behind();
  /// Requests [first, last) of one of the lists above.
  void wait_for(std::vector<MPI_Request>& list, std::size_t first, std::size_t last, const char* doing);
  void wait_for(std::vector<MPI_Request>& list, const char* doing) { wait_for(list, 0, list.size(), doing); }
  std::string describe(const std::vector<MPI_Request>& list, std::size_t first, const char* doing) const;
};

void ParameterWorker::State::receive_weights(std::size_t partition) {
  const ParameterPartition& part = plan.partitions[partition];
  check_mpi(MPI_Irecv(memory.weights.data() + part.range.begin, mpi_count(part.range.size()), MPI_FLOAT, rank_of(part.server),
                      weights_tag(static_cast<int>(partition)), comm, &weights[partition]),
            "MPI_Irecv");
}

void ParameterWorker::State::receive_answer(int server) {
  const auto place = static_cast<std::size_t>(server);
  check_mpi(MPI_Irecv(&answered[place], static_cast<int>(sizeof(ServerMessage)), MPI_BYTE, rank_of(server), kAnswerTag, comm,
                      &answers[place]),
            "MPI_Irecv");
}

void ParameterWorker::State::send_gradient(std::size_t partition) {
  const ParameterPartition& part = plan.partitions[partition];
  check_mpi(MPI_Isend(memory.gradients.data() + part.range.begin, mpi_count(part.range.size()), MPI_FLOAT, rank_of(part.server),
                      gradient_tag(static_cast<int>(partition)), comm, &gradients[partition]),
            "MPI_Isend");
}

/// The request to this server before has been waited for.
void ParameterWorker::State::send_request(int server, RequestKind kind, std::int64_t at_step) {
  const auto place = static_cast<std::size_t>(server);
  ServerMessage& message = asked[place];
  message = {.kind = kind, .step = at_step, .samples = step.samples, .batch_samples = step.batch_samples};
  std::ranges::copy(sums(), message.sums.begin());
  check_mpi(MPI_Isend(&message, static_cast<int>(sizeof(ServerMessage)), MPI_BYTE, rank_of(server), kRequestTag, comm,
                      &requests[place]),
            "MPI_Isend");
}

void ParameterWorker::State::announce() {
  is_announced = true;
  is_paused = false;
  earlier_sums = {};
  if (own_server != nullptr) own_server->resume();
  for (int server = 0; server < servers(); ++server) {
    if (!is_asked(plan, server)) continue;
    receive_answer(server);
    send_request(server, RequestKind::push, step.step);
  }
}

/// All weights and answers. In backup mode a server may be a step behind another, for each closes a step when it has counted
/// enough gradients itself; then its weights are asked for anew, so that those of a step belong together on every worker.
void ParameterWorker::State::receive_all() {
  wait_for(weights, "pulling weights");
  wait_for(answers, "waiting for the answer to a push");
  wait_for(requests, "announcing a push");
  next_step = step.step + 1;
  if (plan.mode != ServerMode::backup) return;
  for (const ServerMessage& answer : answered) next_step = std::max(next_step, answer.step);
  while (ask_those_behind()) {
    wait_for(weights, "pulling weights of a later step");
    wait_for(answers, "waiting for a later step");
    wait_for(requests, "asking for a later step");
    for (const ServerMessage& answer : answered) next_step = std::max(next_step, answer.step);
  }
}

/// Asks the servers whose answer was not for next_step. Result: whether there were any.
bool ParameterWorker::State::ask_those_behind() {
  bool has_asked = false;
  for (int server = 0; server < servers(); ++server) {
    if (answered[static_cast<std::size_t>(server)].step == next_step) continue;
    has_asked = true;
    if (server == 0) std::ranges::transform(earlier_sums, answered.front().sums, earlier_sums.begin(), std::plus<>());
    for (std::size_t partition = 0; partition < plan.partitions.size(); ++partition) {
      if (plan.partitions[partition].server == server) receive_weights(partition);
    }
    receive_answer(server);
    send_request(server, RequestKind::weights, next_step);
  }
  return has_asked;
}

void ParameterWorker::State::wait_for(std::vector<MPI_Request>& list, std::size_t first, std::size_t last, const char* doing) {
  // Held by one pointer, so that std::function does not allocate.
  struct Awaited {
    State* worker;
    std::vector<MPI_Request>* list;
    std::size_t first, last;
    const char* doing;
  };
  const Awaited awaited{this, &list, first, last, doing};
  wait_until(
      [&awaited] {
        if (awaited.worker->own_server != nullptr) awaited.worker->own_server->progress();
        return are_done(std::span(*awaited.list).subspan(awaited.first, awaited.last - awaited.first));
      },
      wait, [&awaited] { return awaited.worker->describe(*awaited.list, awaited.first, awaited.doing); }, pace);
  is_idle = false;
}

/// Names the first of those that are missing, and whose it is.
std::string ParameterWorker::State::describe(const std::vector<MPI_Request>& list, std::size_t first, const char* doing) const {
  const auto missing = std::find_if(list.begin() + static_cast<std::ptrdiff_t>(first), list.end(),
                                    [](MPI_Request request) { return request != MPI_REQUEST_NULL; });
  const auto place = static_cast<std::size_t>(missing - list.begin());
  const bool is_of_partitions = &list == &gradients || &list == &weights;
  const int server = is_of_partitions ? plan.partitions[place].server : static_cast<int>(place);
  return "step " + std::to_string(step.step) + " on rank " + std::to_string(rank) + ", " + doing +
         (is_of_partitions ? ", partition " + std::to_string(place) : "") + ": waiting for the parameter server on rank " +
         std::to_string(rank_of(server));
}

ParameterWorker::ParameterWorker(const Communicator& communicator, const ParameterServerPlan& plan, WorkerMemory memory,
                                 WaitPolicy wait, ParameterServer* own_server) {
  check_plan(plan);
  state_ = std::make_unique<State>(communicator, plan, memory, wait, own_server);
  check(std::ranges::binary_search(plan.roles.workers, state_->rank), "ParameterWorker: on a rank that trains");
  check(std::ranges::binary_search(plan.roles.servers, state_->rank) == (own_server != nullptr),
        "ParameterWorker: knows the server of its rank");
  check(static_cast<std::int64_t>(memory.gradients.size()) == state_->parameters() + plan.sum_elements &&
            static_cast<std::int64_t>(memory.weights.size()) >= state_->parameters(),
        "ParameterWorker: memory for all parameters, and the sums");
}

ParameterWorker::~ParameterWorker() {
  const auto is_null = [](MPI_Request request) { return request == MPI_REQUEST_NULL; };
  const bool is_done = std::ranges::all_of(state_->gradients, is_null) && std::ranges::all_of(state_->weights, is_null) &&
                       std::ranges::all_of(state_->requests, is_null) && std::ranges::all_of(state_->answers, is_null);
  if (!is_done) (void)state_.release();  // a server may still write into it
}

void ParameterWorker::begin_step(const StepGradients& step) {
  state_->step = step;
  state_->is_announced = false;
  state_->is_finished = false;
  state_->pushed = 0;
}

void ParameterWorker::push(std::int64_t final_elements) {
  State& state = *state_;
  if (!state.is_announced) state.announce();
  const std::size_t first = state.pushed;
  for (; state.pushed < state.plan.partitions.size(); ++state.pushed) {
    if (state.plan.partitions[state.pushed].range.end > final_elements) break;
    state.receive_weights(state.pushed);
    state.send_gradient(state.pushed);
  }
  state.wait_for(state.gradients, first, state.pushed, "pushing gradients");
}

void ParameterWorker::pull(const Range& elements) {
  State& state = *state_;
  if (elements.size() <= 0) return;
  if (state.plan.mode == ServerMode::backup) return finish_step();
  const auto overlaps_from = [&](const ParameterPartition& partition) { return partition.range.end <= elements.begin; };
  const auto overlaps_until = [&](const ParameterPartition& partition) { return partition.range.begin < elements.end; };
  const auto& partitions = state.plan.partitions;
  const auto first = std::partition_point(partitions.begin(), partitions.end(), overlaps_from);
  const auto last = std::partition_point(first, partitions.end(), overlaps_until);
  check(last - partitions.begin() <= static_cast<std::ptrdiff_t>(state.pushed), "ParameterWorker::pull: what was pushed");
  state.wait_for(state.weights, static_cast<std::size_t>(first - partitions.begin()),
                 static_cast<std::size_t>(last - partitions.begin()), "pulling weights");
}

void ParameterWorker::receive_sums() {
  State& state = *state_;
  check(state.plan.mode == ServerMode::sync && state.is_announced, "ParameterWorker::receive_sums: of a step that was pushed");
  state.wait_for(state.answers, "waiting for the answer to a push");
  std::copy_n(state.answered.front().sums.begin(), state.plan.sum_elements, state.sums().begin());
}

void ParameterWorker::finish_step() {
  State& state = *state_;
  check(state.is_announced && state.pushed == state.plan.partitions.size(), "ParameterWorker::finish_step: all was pushed");
  if (state.is_finished) return;
  state.receive_all();
  state.is_finished = true;
  if (state.plan.mode == ServerMode::async) return;
  const auto& last_sums = state.answered.front().sums;
  for (std::size_t i = 0; i < state.sums().size(); ++i) state.sums()[i] = state.earlier_sums[i] + last_sums[i];
}

std::int64_t ParameterWorker::next_step() const { return state_->next_step; }

void ParameterWorker::pause() {
  State& state = *state_;
  for (int server = 0; server < state.servers(); ++server) state.send_request(server, RequestKind::pause, state.next_step);
  state.wait_for(state.requests, "telling of a pause");
  state.is_paused = true;
  if (state.own_server == nullptr) return;
  // The other workers may have several steps to go.
  wait_until(
      [&state] {
        state.own_server->progress();
        return state.own_server->is_paused();
      },
      {.spins = state.wait.spins, .timeout_s = kCollectiveTimeout_s, .watch = state.wait.watch},
      [&state] { return "rank " + std::to_string(state.rank) + " serves parameters until all workers have paused"; },
      state.pace);
}

bool ParameterWorker::progress_while_idle() {
  State& state = *state_;
  if (state.is_paused) return false;
  const bool serves = state.own_server != nullptr && !state.own_server->is_paused();
  const bool has_served = serves && state.own_server->progress();
  const bool has_all = are_done(state.weights) && are_done(state.answers);
  if (has_all && !serves) return false;
  const auto now = Clock::now();
  if (has_served || !state.is_idle) {
    if (state.is_idle) state.idle_pace.record_wait(now - state.last_served);
    state.is_idle = true;
    state.last_served = now;
    state.polls = 0;
  } else if (++state.polls > state.wait.spins) {
    std::this_thread::sleep_for(state.idle_pace.pause(now - state.last_served));
  }
  return true;
}

void broadcast_partitions(const Communicator& communicator, const ParameterServerPlan& plan, std::span<float> arena) {
  std::vector<MPI_Request> requests(plan.partitions.size(), MPI_REQUEST_NULL);
  for (std::size_t p = 0; p < requests.size(); ++p) {
    const ParameterPartition& partition = plan.partitions[p];
    check_mpi(
        MPI_Ibcast(arena.data() + partition.range.begin, mpi_count(partition.range.size()), MPI_FLOAT,
                   plan.roles.servers[static_cast<std::size_t>(partition.server)], communicator.handles().world, &requests[p]),
        "MPI_Ibcast");
  }
  wait_for_requests(requests, {.spins = 1000, .timeout_s = kCollectiveTimeout_s, .watch = &communicator.watch()},
                    [] { return std::string("waiting for the values of all parameter servers"); });
}

}  // namespace dtrain
