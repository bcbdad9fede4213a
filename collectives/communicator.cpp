// The session with MPI, the split into nodes, and the small collectives of set-up and evaluation.
#include "collectives/communicator.hpp"

#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <numeric>
#include <system_error>
#include <thread>
#include <utility>

#include "collectives/agreement.hpp"
#include "collectives/call_watch.hpp"
#include "collectives/exchange.hpp"
#include "collectives/joining.hpp"
#include "collectives/last_words.hpp"
#include "collectives/mpi_handles.hpp"
#include "collectives/notice_mail.hpp"
#include "collectives/stall_watch.hpp"
#include "dtrain/error.hpp"
#include "schedules/shards.hpp"

// Note [Ranks meet before they wait inside MPI]
// A rank may be late for good reasons: it writes files, or lists millions of them. Waits of our own allow for that and name who
// does not answer; a wait inside MPI does neither. So ranks meet in a barrier of their own before each call that waits inside
// MPI for all of them, unless they have just met: what the call then takes is its own work, and CallWatch ends it where it
// takes longer than a time-out.

namespace dtrain {

namespace {

/// Processes of a job need not be started together: time-outs within which the last one comes.
constexpr double kSlowStart = 5.0;

/// Ranks finalize within moments of each other, once they have met in a barrier.
constexpr double kFinalize_s = 60.0;

bool mpi_is_running() {
  int is_initialized = 0;
  int is_finalized = 0;
  MPI_Initialized(&is_initialized);
  MPI_Finalized(&is_finalized);
  return is_initialized != 0 && is_finalized == 0;
}

/// Ranks that meet in a collective, and the watch over their waits.
struct Group {
  MPI_Comm comm = MPI_COMM_NULL;
  int rank = 0;
  int size = 1;
  StallWatch* watch = nullptr;
};

Group group_of_all(const Communicator& communicator) {
  return {communicator.handles().world, communicator.rank(), communicator.size(), &communicator.watch()};
}

Group group_of_node(const Communicator& communicator) {
  return {communicator.handles().node, communicator.node_rank(), communicator.node_size(), &communicator.watch()};
}

/// All ranks' values, one after the other, on every rank.
template <typename T>
std::vector<T> gather_all(const Group& group, std::span<const T> values, MPI_Datatype type) {
  std::vector<T> gathered(values.size() * static_cast<std::size_t>(group.size));
  const int count = mpi_count(static_cast<std::int64_t>(values.size()));
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallgather(values.data(), count, type, gathered.data(), count, type, group.comm, &request), "MPI_Iallgather");
  wait_for_collective(request, "MPI_Iallgather", group.watch);
  return gathered;
}

/// Sums `size` rows of values.size() elements into `values`, in row order.
template <typename T>
void sum_rows(const std::vector<T>& rows, int size, std::span<T> values) {
  std::copy_n(rows.begin(), values.size(), values.begin());
  for (std::size_t row = 1; row < static_cast<std::size_t>(size); ++row) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += rows[row * values.size() + i];
  }
}

/// Every rank sums its block of `values` out of all ranks' and gathers the others'.
template <typename T>
void sum_by_blocks(const Group& group, std::span<T> values, MPI_Datatype type) {
  const int size = group.size;
  const int rank = group.rank;
  const Range whole{0, static_cast<std::int64_t>(values.size())};
  const int own_count = mpi_count(split_range(whole, size, rank).size());
  std::vector<int> counts, offsets, own_counts, own_offsets;
  for (int block = 0; block < size; ++block) {
    const Range range = split_range(whole, size, block);
    counts.push_back(mpi_count(range.size()));
    offsets.push_back(mpi_count(range.begin));
    own_counts.push_back(own_count);
    own_offsets.push_back(mpi_count(std::int64_t{block} * own_count));
  }
  std::vector<T> rows(static_cast<std::size_t>(own_count) * static_cast<std::size_t>(size));
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ialltoallv(values.data(), counts.data(), offsets.data(), type, rows.data(), own_counts.data(),
                           own_offsets.data(), type, group.comm, &request),
            "MPI_Ialltoallv");
  wait_for_collective(request, "MPI_Ialltoallv", group.watch);

  std::vector<T> own(static_cast<std::size_t>(own_count));
  sum_rows(rows, size, std::span<T>(own));

  check_mpi(
      MPI_Iallgatherv(own.data(), own_count, type, values.data(), counts.data(), offsets.data(), type, group.comm, &request),
      "MPI_Iallgatherv");
  wait_for_collective(request, "MPI_Iallgatherv", group.watch);
}

template <typename T>
void sum_in_rank_order(const Group& group, std::span<T> values, MPI_Datatype type) {
  constexpr std::size_t kGatheredBytes = 1 << 20;  // up to this many, one round of messages is quicker than two
  constexpr std::size_t kPiece = 1 << 24;          // elements at a time: bounds the copies
  if (group.size == 1) return;
  for (std::size_t begin = 0; begin < values.size(); begin += kPiece) {
    const std::span<T> piece = values.subspan(begin, std::min(kPiece, values.size() - begin));
    if (piece.size() * sizeof(T) * static_cast<std::size_t>(group.size) <= kGatheredBytes) {
      sum_rows(gather_all<T>(group, piece, type), group.size, piece);
    } else {
      sum_by_blocks(group, piece, type);
    }
  }
}

std::vector<std::string> gather_texts_over(const Group& group, const std::string& text) {
  const auto length = static_cast<std::int64_t>(text.size());
  const std::vector<std::int64_t> lengths = gather_all<std::int64_t>(group, {&length, 1}, MPI_INT64_T);
  std::vector<int> counts, offsets;
  std::int64_t total = 0;
  for (const std::int64_t one : lengths) {
    counts.push_back(mpi_count(one));
    offsets.push_back(mpi_count(total));
    total += one;
  }
  std::string all(static_cast<std::size_t>(mpi_count(total)), '\0');
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallgatherv(text.data(), mpi_count(length), MPI_CHAR, all.data(), counts.data(), offsets.data(), MPI_CHAR,
                            group.comm, &request),
            "MPI_Iallgatherv");
  wait_for_collective(request, "MPI_Iallgatherv", group.watch);

  std::vector<std::string> texts;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    texts.push_back(all.substr(static_cast<std::size_t>(offsets[i]), static_cast<std::size_t>(counts[i])));
  }
  return texts;
}

/// Who the ranks are, and which processes on this machine they are.
std::vector<StallWatch::WatchedRank> watched_ranks(const Group& all, int machine_root) {
  const std::optional<ProcessIdentity> own = own_process();
  RankValues self{.host = host_name(), .values = {{"machine", std::to_string(machine_root)}}};
  if (own) {
    self.values.push_back({"pid", std::to_string(own->pid)});
    self.values.push_back({"started", std::to_string(own->started)});
    self.values.push_back({"numbering", own->numbering});
  }
  std::vector<StallWatch::WatchedRank> ranks;
  for (const std::string& text : gather_texts_over(all, to_text(self))) {
    const RankValues rank = read_rank_values(text, static_cast<int>(ranks.size()));
    ranks.push_back({.host = rank.host});
    const bool is_visible = own && rank.values.size() == 4 && rank.values[0].value == self.values[0].value &&
                            rank.values[3].value == own->numbering;
    if (!is_visible) continue;
    ranks.back().process = ProcessIdentity{
        .pid = std::stoll(rank.values[1].value), .started = std::stoull(rank.values[2].value), .numbering = own->numbering};
  }
  return ranks;
}

double reduce_all(const Group& group, double value, MPI_Op operation) {
  double result = value;
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallreduce(&value, &result, 1, MPI_DOUBLE, operation, group.comm, &request), "MPI_Iallreduce");
  wait_for_collective(request, "MPI_Iallreduce", group.watch);
  return result;
}

// Note [Segments are sent at once]
// Open MPI asks the receiver before it sends a message beyond its transport's eager limit, 64 KB for TCP. The answer then
// waits, on the same connection, behind whatever the receiver has queued for us, and with both directions busy each stands
// still half of the time: 0.061 of 0.119 GB/s over 1 Gb/s. Our receives are posted before, so nothing needs asking.
void send_segments_at_once() {
  constexpr const char* kEagerLimit = "OMPI_MCA_btl_tcp_eager_limit";
  setenv(kEagerLimit, std::to_string(Exchange::segment_elements() * 4 + 1024).c_str(), 0);  // unless the user has said another
}

}  // namespace

MpiSession::MpiSession(int* argc, char*** argv, CallWatch* calls)
    : exceptions_at_start_(std::uncaught_exceptions()), calls_(calls) {
  check(!mpi_is_running(), "MpiSession: one per process");
  refuse_unjoinable();
  send_segments_at_once();
  // Pauses between polls then last about as long as they say, not 50 µs more. Threads to come inherit it.
  prctl(PR_SET_TIMERSLACK, 1000UL);
  int provided = MPI_THREAD_SINGLE;
  {
    const CallWatch::Scope scope(calls_, "calling MPI_Init_thread", kSlowStart);
    check_mpi(MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
  }
  if (provided < MPI_THREAD_SERIALIZED) {
    MPI_Finalize();
    throw CommError(Fault{.doing = "initialising MPI",
                          .expected = "thread level MPI_THREAD_SERIALIZED (" + std::to_string(MPI_THREAD_SERIALIZED) + ")",
                          .found = "level " + std::to_string(provided),
                          .remedy = "an MPI library that was built with thread support"});
  }
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  int size = 1;
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
  // Open MPI writes to the sockets of ranks that have ended: that is an error for it to see, not the end of this process.
  if (size > 1) std::signal(SIGPIPE, SIG_IGN);
}

namespace {

void end_by_signal_after(double seconds, int exit_code) {
  struct sigaction action {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void*) { _exit(info->si_value.sival_int); };
  sigemptyset(&action.sa_mask);
  sigaction(SIGALRM, &action, nullptr);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGALRM;
  event.sigev_value.sival_int = exit_code;
  timer_t timer{};
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) return;
  itimerspec when{};
  when.it_value.tv_sec = static_cast<time_t>(std::ceil(seconds));
  timer_settime(timer, 0, &when, nullptr);
}

}  // namespace

MpiSession::~MpiSession() {
  if (std::uncaught_exceptions() > exceptions_at_start_) abort(static_cast<int>(ExitCode::communication));
  // Waits for the peers without a limit of its own.
  if (calls_ == nullptr) end_process_after(kFinalize_s, static_cast<int>(ExitCode::communication));
  const CallWatch::Scope scope(calls_, "ending MPI in MPI_Finalize, with all work done,");
  MPI_Finalize();
}

void MpiSession::end_process_after(double seconds, int exit_code) {
  // A thread, since the others may be inside MPI, or blocked by a launcher that does not read what they print.
  try {
    std::thread([seconds, exit_code] {
      std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
      _exit(exit_code);
    }).detach();
  } catch (const std::system_error&) {
    end_by_signal_after(seconds, exit_code);  // the system gives no more threads
  }
}

void MpiSession::abort(int exit_code) {
  LastWords::withhold();
  end_process_after(kAbort_s, exit_code);
  std::fflush(nullptr);
  if (mpi_is_running()) MPI_Abort(MPI_COMM_WORLD, exit_code);
  _exit(exit_code);
}

Communicator::Communicator(int ranks_per_node, CallWatch* calls) : handles_(std::make_unique<Handles>()), calls_(calls) {
  check(ranks_per_node >= 0, "Communicator: ranks_per_node >= 0");
  handles_->exceptions_at_start = std::uncaught_exceptions();
  check_watched(calls_, "calling MPI_Comm_dup", [&] { return MPI_Comm_dup(MPI_COMM_WORLD, &handles_->world); });
  check_watched(calls_, "calling MPI_Comm_dup", [&] { return MPI_Comm_dup(MPI_COMM_WORLD, &handles_->exchange); });
  check_watched(calls_, "calling MPI_Comm_dup", [&] { return MPI_Comm_dup(MPI_COMM_WORLD, &handles_->notices); });
  check_mpi(MPI_Comm_rank(handles_->world, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(handles_->world, &size_), "MPI_Comm_size");
  refuse_alone(size_);

  MPI_Comm machine = MPI_COMM_NULL;
  int machine_rank = 0;
  check_watched(calls_, "calling MPI_Comm_split_type",
                [&] { return MPI_Comm_split_type(handles_->world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine); });
  check_mpi(MPI_Comm_rank(machine, &machine_rank), "MPI_Comm_rank");
  int machine_root = rank_;  // a machine is known by its lowest rank
  check_watched(calls_, "calling MPI_Bcast", [&] { return MPI_Bcast(&machine_root, 1, MPI_INT, 0, machine); });
  const int part = ranks_per_node > 0 ? machine_rank / ranks_per_node : 0;
  check_watched(calls_, "calling MPI_Comm_split", [&] { return MPI_Comm_split(machine, part, 0, &handles_->node); });
  check_watched(calls_, "calling MPI_Comm_free", [&] { return MPI_Comm_free(&machine); });

  const Group all{handles_->world, rank_, size_, nullptr};
  std::vector<StallWatch::WatchedRank> ranks;
  {
    const CallWatch::Scope scope(calls_, "asking who the ranks are");
    ranks = watched_ranks(all, machine_root);
  }
  mail_ = std::make_unique<NoticeMail>(handles_->notices, size_);
  own_watch_ = std::make_unique<StallWatch>(
      rank_, std::move(ranks),
      StallWatch::Links{
          .send = [mail = mail_.get()](int rank, std::span<const std::uint32_t> table) { return mail->send(rank, table); },
          .receive = [mail = mail_.get()](std::span<std::uint32_t> table) { return mail->receive(table); },
          .hush = NoticeMail::hush});
  last_words_ = std::make_unique<LastWords>([watch = own_watch_.get()] { watch->tell_of_broken_connection(); });
  watch_ = own_watch_.get();
  if (calls_ != nullptr) watch_->end_waits_for_stopped_after(calls_->timeout_s());
  find_places();
  job_ranks_.resize(static_cast<std::size_t>(size_));
  std::iota(job_ranks_.begin(), job_ranks_.end(), 0);
}

Communicator::Communicator(const Communicator& whole, int part)
    : handles_(std::make_unique<Handles>()), watch_(whole.watch_), calls_(whole.calls_) {
  check(part >= 0, "Communicator: part >= 0");
  handles_->exceptions_at_start = std::uncaught_exceptions();
  whole.barrier();  // Note [Ranks meet before they wait inside MPI]
  check_watched(calls_, "calling MPI_Comm_split",
                [&] { return MPI_Comm_split(whole.handles().world, part, 0, &handles_->world); });
  check_watched(calls_, "calling MPI_Comm_split",
                [&] { return MPI_Comm_split(whole.handles().node, part, 0, &handles_->node); });
  check_watched(calls_, "calling MPI_Comm_dup", [&] { return MPI_Comm_dup(handles_->world, &handles_->exchange); });
  find_places();
  const int job_rank = whole.job_rank(whole.rank());
  job_ranks_ = gather_all<int>(group_of_all(*this), {&job_rank, 1}, MPI_INT);
}

void Communicator::find_places() {
  check_mpi(MPI_Comm_rank(handles_->world, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(handles_->world, &size_), "MPI_Comm_size");
  check_mpi(MPI_Comm_rank(handles_->node, &node_rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(handles_->node, &node_size_), "MPI_Comm_size");

  // A node, too, is known by its lowest rank, its place by how many such ranks come before.
  const std::vector<int> node_ranks = gather_all<int>(group_of_node(*this), {&rank_, 1}, MPI_INT);
  const std::array<int, 2> own_place{node_ranks.front(), node_rank_};
  const std::vector<int> places = gather_all<int>(group_of_all(*this), own_place, MPI_INT);
  std::map<int, std::vector<int>> nodes;  // ranks in the order of their node ranks
  for (int rank = 0; rank < size_; ++rank) {
    const auto at = 2 * static_cast<std::size_t>(rank);
    std::vector<int>& node = nodes[places[at]];
    node.resize(std::max(node.size(), static_cast<std::size_t>(places[at + 1]) + 1));
    node[static_cast<std::size_t>(places[at + 1])] = rank;
  }
  nodes_ = static_cast<int>(nodes.size());
  node_index_ = static_cast<int>(std::distance(nodes.begin(), nodes.find(node_ranks.front())));
  lanes_ = size_;
  node_of_.resize(static_cast<std::size_t>(size_));
  for (const auto& [first_rank, ranks] : nodes) {
    const int index = static_cast<int>(std::distance(nodes.begin(), nodes.find(first_rank)));
    for (const int rank : ranks) node_of_[static_cast<std::size_t>(rank)] = index;
    lanes_ = std::min(lanes_, static_cast<int>(ranks.size()));
    ranks_by_node_.insert(ranks_by_node_.end(), ranks.begin(), ranks.end());
  }
  if (node_rank_ >= lanes_) return;
  for (const auto& [first_rank, ranks] : nodes) lane_ranks_.push_back(ranks[static_cast<std::size_t>(node_rank_)]);
}

Communicator::~Communicator() {
  if (!mpi_is_running()) return;
  if (std::uncaught_exceptions() > handles_->exceptions_at_start) {
    // The peers are not here to take part in anything; they wait for this rank.
    try {
      if (own_watch_) own_watch_->leave();
    } catch (const Error&) {  // what unwinds matters more
    }
    return;
  }
  if (!own_watch_) meet_at_end();
  last_words_.reset();
  own_watch_.reset();
  mail_.reset();
  for (MPI_Comm* comm : {&handles_->notices, &handles_->node, &handles_->exchange, &handles_->world}) {
    const CallWatch::Scope scope(calls_, "calling MPI_Comm_free");
    if (*comm != MPI_COMM_NULL) MPI_Comm_free(comm);
  }
}

void Communicator::meet_at_end() const {
  if (calls_ == nullptr) return;
  try {
    barrier();
  } catch (const Error& error) {
    calls_->give_up(error.what());
  }
}

void Communicator::barrier() const {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(handles_->world, &request), "MPI_Ibarrier");
  wait_for_collective(request, "MPI_Ibarrier", watch_);
}

void Communicator::broadcast(std::span<std::byte> bytes, int root) const {
  constexpr std::size_t kPiece = 1 << 28;
  for (std::size_t begin = 0; begin < bytes.size(); begin += kPiece) {
    const std::span<std::byte> piece = bytes.subspan(begin, std::min(kPiece, bytes.size() - begin));
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(
        MPI_Ibcast(piece.data(), mpi_count(static_cast<std::int64_t>(piece.size())), MPI_BYTE, root, handles_->world, &request),
        "MPI_Ibcast");
    wait_for_collective(request, "MPI_Ibcast", watch_);
  }
}

std::string Communicator::broadcast_text(const std::string& text, int root) const {
  std::uint64_t length = text.size();
  broadcast(std::as_writable_bytes(std::span(&length, 1)), root);
  std::string received = rank_ == root ? text : std::string(length, '\0');
  broadcast(std::as_writable_bytes(std::span(received)), root);
  return received;
}

void Communicator::sum(std::span<double> values) const { sum_in_rank_order(group_of_all(*this), values, MPI_DOUBLE); }
void Communicator::sum(std::span<float> values) const { sum_in_rank_order(group_of_all(*this), values, MPI_FLOAT); }
double Communicator::max(double value) const { return reduce_all(group_of_all(*this), value, MPI_MAX); }
double Communicator::min(double value) const { return reduce_all(group_of_all(*this), value, MPI_MIN); }
bool Communicator::all(bool value) const { return min(value ? 1.0 : 0.0) > 0.5; }
bool Communicator::any(bool value) const { return max(value ? 1.0 : 0.0) > 0.5; }

std::vector<std::string> Communicator::gather_texts(const std::string& text) const {
  return gather_texts_over(group_of_all(*this), text);
}

std::vector<std::string> Communicator::gather_node_texts(const std::string& text) const {
  return gather_texts_over(group_of_node(*this), text);
}

void Communicator::require_equal(const std::vector<NamedValue>& values) const {
  std::vector<RankValues> ranks;
  for (const std::string& text : gather_texts(to_text(RankValues{.host = host_name(), .values = values}))) {
    ranks.push_back(read_rank_values(text, job_rank(static_cast<int>(ranks.size()))));
  }
  const std::string differences = describe_differences(ranks);
  if (differences.empty()) return;
  throw CommError(Fault{.doing = "comparing what the ranks were given at start",
                        .expected = "the same on every rank",
                        .found = differences,
                        .remedy = "the same dtrain, options and files on every host"});
}

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "an unnamed host";
  return name.data();
}

}  // namespace dtrain
