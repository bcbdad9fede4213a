// The server's life: messages in and out, waiting, the end. What it does with a gradient stands in parameter_updates.cpp.
#include "collectives/parameter_server.hpp"

#include <utility>

#include "collectives/parameter_server_state.hpp"
#include "dtrain/error.hpp"

namespace dtrain {

namespace {

std::vector<OwnPartition> partitions_of(const ParameterServerPlan& plan, int rank) {
  std::vector<OwnPartition> own;
  for (std::size_t p = 0; p < plan.partitions.size(); ++p) {
    if (plan.roles.servers[static_cast<std::size_t>(plan.partitions[p].server)] != rank) continue;
    own.push_back({.range = plan.partitions[p].range, .number = static_cast<int>(p)});
  }
  return own;
}

BufferSizes buffer_sizes(const ParameterServerPlan& plan, const std::vector<OwnPartition>& own) {
  const bool is_sync = plan.mode == ServerMode::sync;
  BufferSizes sizes;
  sizes.landings = is_sync ? std::min(2, static_cast<int>(own.size())) : static_cast<int>(own.size());
  for (const OwnPartition& partition : own) {
    sizes.landing_elements = std::max(sizes.landing_elements, partition.range.size());
    if (is_sync) sizes.sum_elements += partition.range.size();
  }
  return sizes;
}

}  // namespace

ParameterServer::State::State(const Communicator& communicator, const ParameterServerPlan& given_plan,
                              std::span<const float> arena, ParameterUpdate given_update, WaitPolicy given_wait)
    : comm(communicator.handles().exchange),
      rank(communicator.rank()),
      plan(given_plan),
      weights(arena),
      update(std::move(given_update)),
      wait(given_wait),
      workers(static_cast<int>(plan.roles.workers.size())),
      own(partitions_of(plan, rank)),
      count(static_cast<int>(own.size())),
      sizes(buffer_sizes(plan, own)),
      record(static_cast<std::size_t>(workers)),
      landing(static_cast<std::size_t>(workers * sizes.landings)),
      landing_memory(std::make_unique<float[]>(landing.size() * static_cast<std::size_t>(sizes.landing_elements))),
      sum_memory(std::make_unique<float[]>(static_cast<std::size_t>(sizes.sum_elements))),
      requests(static_cast<std::size_t>(workers * stride()), MPI_REQUEST_NULL),
      completed(requests.size()),
      open_step(plan.first_step) {
  float* sum = sum_memory.get();
  for (OwnPartition& partition : own) {
    partition.sum = sum;
    if (plan.mode == ServerMode::sync) sum += partition.elements();
  }
  counted.reserve(static_cast<std::size_t>(workers));
  for (int worker = 0; worker < workers; ++worker) {
    receive_request(worker);
    for (int slot = 0; slot < sizes.landings; ++slot) {
      landing_of(worker, slot).position = slot;
      if (plan.mode != ServerMode::backup) receive_gradient(worker, slot);
    }
  }
}

void ParameterServer::State::receive_gradient(int worker, int slot) {
  Landing& at = landing_of(worker, slot);
  const OwnPartition& partition = own_partition(static_cast<int>(at.position % count));
  at.state = LandingState::receiving;
  check_mpi(MPI_Irecv(landing_elements(worker, slot), mpi_count(partition.range.size()), MPI_FLOAT, rank_of(worker),
                      gradient_tag(partition.number), comm, &receive_of(worker, slot)),
            "MPI_Irecv");
}

void ParameterServer::State::receive_request(int worker) {
  check_mpi(MPI_Irecv(&record_of(worker).received, static_cast<int>(sizeof(ServerMessage)), MPI_BYTE, rank_of(worker),
                      kRequestTag, comm, &request_of(worker)),
            "MPI_Irecv");
}

void ParameterServer::State::send_weights(int worker, int k, const float* from) {
  const OwnPartition& partition = own_partition(k);
  check_mpi(MPI_Isend(from, mpi_count(partition.range.size()), MPI_FLOAT, rank_of(worker), weights_tag(partition.number), comm,
                      &weights_of(worker, k)),
            "MPI_Isend");
  ++sends;
}

void ParameterServer::State::send_answer(int worker, std::int64_t step, const std::array<float, kMostSums>& its_sums) {
  if (answer_of(worker) != MPI_REQUEST_NULL) {  // received already: the worker has asked again
    wait_for_requests({&answer_of(worker), 1}, wait, [] { return std::string("sending an answer of a parameter server"); });
    --sends;
  }
  ServerMessage& answer = record_of(worker).answer;
  answer.step = step;
  answer.sums = its_sums;
  check_mpi(MPI_Isend(&answer, static_cast<int>(sizeof(ServerMessage)), MPI_BYTE, rank_of(worker), kAnswerTag, comm,
                      &answer_of(worker)),
            "MPI_Isend");
  ++sends;
}

bool ParameterServer::State::progress() {
  int done = 0;
  check_mpi(MPI_Testsome(mpi_count(std::ssize(requests)), requests.data(), &done, completed.data(), MPI_STATUSES_IGNORE),
            "MPI_Testsome");
  if (done == MPI_UNDEFINED || done == 0) return false;
  for (int i = 0; i < done; ++i) handle(completed[static_cast<std::size_t>(i)]);
  return true;
}

void ParameterServer::State::handle(int place) {
  const int worker = place / stride();
  const int part = place % stride();
  if (part < sizes.landings) {
    gradient_came(worker, part);
  } else if (part == sizes.landings) {
    request_came(worker);
  } else {
    --sends;
    const int k = part - sizes.landings - 1;
    if (k < count) weights_left(worker, k);
  }
}

void ParameterServer::State::gradient_came(int worker, int slot) {
  Landing& at = landing_of(worker, slot);
  at.state = LandingState::landed;
  ++unanswered;
  ++record_of(worker).came;
  switch (plan.mode) {
    case ServerMode::sync:
      return sum_in_order(static_cast<int>(at.position % count));
    case ServerMode::backup:
      ++record_of(worker).landed;
      return count_if_complete(worker);
    case ServerMode::async:
      return apply(worker, slot);
  }
}

void ParameterServer::State::weights_left(int worker, int k) {
  switch (plan.mode) {
    case ServerMode::sync:
      --own_partition(k).leaving;
      return sum_in_order(k);
    case ServerMode::backup:
      landing_of(worker, k).state = LandingState::idle;
      if (record_of(worker).has_announced) receive_gradient(worker, k);
      return answer_if_due(worker);
    case ServerMode::async:
      return receive_gradient(worker, k);
  }
}

void ParameterServer::State::request_came(int worker) {
  WorkerRecord& from = record_of(worker);
  const ServerMessage message = from.received;
  receive_request(worker);
  switch (message.kind) {
    case RequestKind::push:
      from.push = message;
      ++from.came;
      if (plan.mode == ServerMode::sync) {
        if (message.step != open_step) refuse_step(worker, message.step);
        ++announced;
        return sum_sums();
      }
      if (message.step > open_step) refuse_step(worker, message.step);
      from.has_announced = true;
      ++announced;
      for (int k = 0; k < count; ++k) {
        if (landing_of(worker, k).state == LandingState::idle) receive_gradient(worker, k);
      }
      return count_if_complete(worker);
    case RequestKind::weights:
      from.awaits = message.step;
      return answer_if_due(worker);
    case RequestKind::pause:
      ++from.pauses;
      return;
  }
}

void ParameterServer::State::refuse_step(int worker, std::int64_t step) const {
  throw CommError(Fault{.doing = "serving parameters on rank " + std::to_string(rank),
                        .expected = "gradients of step " + std::to_string(open_step),
                        .found = "step " + std::to_string(step) + " from rank " + std::to_string(rank_of(worker)),
                        .remedy = "the same options and the same checkpoint on all ranks"});
}

/// Names the workers that are behind.
std::string ParameterServer::State::describe_wait() const {
  std::string text = "serving parameters on rank " + std::to_string(rank);
  if (is_between_steps()) return text + ": waiting for the next step";
  std::int64_t most = 0;
  for (const WorkerRecord& one : record) most = std::max(most, one.came);
  std::string names;
  for (int worker = 0; worker < workers; ++worker) {
    const WorkerRecord& one = record[static_cast<std::size_t>(worker)];
    const bool is_behind = plan.mode == ServerMode::backup ? !std::ranges::binary_search(counted, worker) : one.came < most;
    if (is_behind && !has_paused(one)) names += (names.empty() ? "" : ", ") + std::to_string(rank_of(worker));
  }
  return text + ": waiting for the gradients of rank " + (names.empty() ? "any worker" : names);
}

/// Of a server to which nobody will send any more, and whose answers have been received.
void ParameterServer::State::end_requests() {
  for (int worker = 0; worker < workers; ++worker) {
    for (int slot = 0; slot <= sizes.landings; ++slot) {
      MPI_Request& receive = receive_of(worker, slot);
      if (receive != MPI_REQUEST_NULL) MPI_Cancel(&receive);
    }
  }
  MPI_Waitall(static_cast<int>(std::ssize(requests)), requests.data(), MPI_STATUSES_IGNORE);
}

ParameterServer::ParameterServer(const Communicator& communicator, const ParameterServerPlan& plan,
                                 std::span<const float> weights, ParameterUpdate update, WaitPolicy wait) {
  check_plan(plan);
  check(std::ranges::binary_search(plan.roles.servers, communicator.rank()), "ParameterServer: on a rank that serves");
  check(plan.partitions.empty() || static_cast<std::int64_t>(weights.size()) >= plan.partitions.back().range.end,
        "ParameterServer: an arena of all parameters");
  state_ = std::make_unique<State>(communicator, plan, weights, std::move(update), wait);
}

ParameterServer::~ParameterServer() {
  int is_finalized = 0;
  MPI_Finalized(&is_finalized);
  const bool unwinds = std::uncaught_exceptions() > state_->exceptions_at_start;
  if (is_finalized == 0 && !unwinds && state_->are_all_paused()) {
    state_->end_requests();
  } else {
    (void)state_.release();  // a peer may still write into it
  }
}

void ParameterServer::serve() {
  resume();
  while (!is_paused()) {
    // Between steps workers may evaluate and save; within one they do not stop.
    WaitPolicy patience = state_->wait;
    if (state_->is_between_steps()) patience.timeout_s = kCollectiveTimeout_s;
    wait_until([this] { return state_->progress(); }, patience, [this] { return state_->describe_wait(); }, state_->pace);
  }
}

bool ParameterServer::progress() { return state_->progress(); }
bool ParameterServer::is_paused() const { return state_->are_all_paused(); }

void ParameterServer::resume() {
  if (is_paused()) ++state_->pauses_passed;
}

std::size_t ParameterServer::buffer_bytes(const ParameterServerPlan& plan, int rank) {
  const BufferSizes sizes = buffer_sizes(plan, partitions_of(plan, rank));
  const auto workers = static_cast<std::int64_t>(plan.roles.workers.size());
  return static_cast<std::size_t>(workers * sizes.landings * sizes.landing_elements + sizes.sum_elements) * sizeof(float);
}

}  // namespace dtrain
