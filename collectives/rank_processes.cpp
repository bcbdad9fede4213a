// Reads /proc/PID/stat without allocating; see rank_processes.hpp. A file descriptor of the process (pidfd) would tell as much,
// but only from Linux 5.3 on, and would not tell a stopped process from a running one.
#include "collectives/rank_processes.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace dtrain {

namespace {

/// At one look: enough for the ranks of most nodes, and the time of a look stays short on the others.
constexpr std::size_t kProcessesAtOnce = 16;

/// Names are cut after 15 letters.
constexpr std::string_view kOwnErrorName = "dtrain-error";
constexpr std::string_view kOthersLostName = "dtrain-lost";

struct Stat {
  bool has_own_error = false;
  bool has_lost_others = false;
  char state = '?';
  std::uint64_t started = 0;
};

/// Field 3 and field 22 of a line "PID (NAME) STATE …", in which NAME may hold anything.
std::optional<Stat> parse_stat(std::string_view line) {
  const auto name_end = line.rfind(')');
  if (name_end == std::string_view::npos || line.size() < name_end + 3) return std::nullopt;
  const std::string_view name = line.substr(0, name_end);
  Stat stat{.has_own_error = name.ends_with(kOwnErrorName),
            .has_lost_others = name.ends_with(kOthersLostName),
            .state = line[name_end + 2]};
  std::size_t field = name_end + 2;
  for (int number = 3; number < 22; ++number) {
    field = line.find(' ', field);
    if (field == std::string_view::npos) return std::nullopt;
    ++field;
  }
  const auto [end, error] = std::from_chars(line.data() + field, line.data() + line.size(), stat.started);
  if (error != std::errc()) return std::nullopt;
  return stat;
}

/// errno says why there is none.
std::optional<Stat> read_stat(const char* path) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  std::array<char, 1024> line{};
  const ssize_t length = read(file, line.data(), line.size());
  const int error = errno;
  close(file);
  errno = length < 0 ? error : 0;
  if (length <= 0) return std::nullopt;
  return parse_stat({line.data(), static_cast<std::size_t>(length)});
}

}  // namespace

std::optional<ProcessIdentity> own_process() {
  const auto stat = read_stat("/proc/self/stat");
  std::array<char, 64> numbering{};
  const ssize_t length = readlink("/proc/self/ns/pid", numbering.data(), numbering.size());
  if (!stat || length <= 0) return std::nullopt;
  return ProcessIdentity{
      .pid = getpid(), .started = stat->started, .numbering = std::string(numbering.data(), static_cast<std::size_t>(length))};
}

void show_leaving(Leaving why) {
  const std::string_view name = why == Leaving::by_own_error ? kOwnErrorName : kOthersLostName;
  // Of the thread whose number is the process's, which is what others look at.
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/task/%lld/comm", static_cast<long long>(getpid()));
  const int file = open(path.data(), O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  if (write(file, name.data(), name.size()) < 0) errno = 0;  // the others learn it from its notices, or not
  close(file);
}

RankProcesses::RankProcesses(const std::vector<Entry>& entries) {
  for (const Entry& entry : entries) {
    Process process{.rank = entry.rank, .pid = entry.process.pid, .started = entry.process.started};
    std::snprintf(process.path.data(), process.path.size(), "/proc/%lld/stat", static_cast<long long>(process.pid));
    processes_.push_back(process);
  }
}

ProcessState RankProcesses::state_of(const Process& process, bool* has_own_error) {
  const auto stat = read_stat(process.path.data());
  // ESRCH: it ended between opening and reading.
  if (!stat) return errno == ENOENT || errno == ESRCH ? ProcessState::ended : ProcessState::running;
  if (stat->started != process.started) return ProcessState::ended;
  if (has_own_error != nullptr) *has_own_error = stat->has_own_error;
  if (stat->has_own_error || stat->has_lost_others) return ProcessState::leaving;
  switch (stat->state) {
    case 'Z':
    case 'X':
    case 'x':
      return ProcessState::ended;
    case 'T':
    case 't':
      return ProcessState::stopped;
    default:
      return ProcessState::running;
  }
}

const RankProcesses::Process* RankProcesses::find(int rank) const {
  const auto found =
      std::find_if(processes_.begin(), processes_.end(), [rank](const Process& process) { return process.rank == rank; });
  return found == processes_.end() ? nullptr : &*found;
}

std::optional<int> RankProcesses::find_ended() {
  for (std::size_t looked = 0; looked < std::min(processes_.size(), kProcessesAtOnce); ++looked) {
    next_ = (next_ + 1) % processes_.size();
    Process& process = processes_[next_];
    bool has_own_error = false;
    const ProcessState state = state_of(process, &has_own_error);
    process.had_own_error = process.had_own_error || has_own_error;
    process.was_leaving = process.was_leaving || state == ProcessState::leaving;
    process.is_stopped = state == ProcessState::stopped;
    if (!process.is_stopped) process.stopped_since_s = 0.0;
    if (state == ProcessState::ended && !process.was_leaving) return process.rank;
  }
  return std::nullopt;
}

std::optional<int> RankProcesses::find_stopped(double now_s, double for_s) {
  for (Process& process : processes_) {
    if (!process.is_stopped) continue;
    if (process.stopped_since_s == 0.0) process.stopped_since_s = now_s;
    if (now_s - process.stopped_since_s >= for_s) return process.rank;
  }
  return std::nullopt;
}

void RankProcesses::forget_stops() {
  for (Process& process : processes_) {
    process.is_stopped = false;
    process.stopped_since_s = 0.0;
  }
}

bool RankProcesses::has_own_error() const {
  return std::any_of(processes_.begin(), processes_.end(), [](const Process& process) { return process.had_own_error; });
}

std::optional<ProcessState> RankProcesses::state(int rank) const {
  const Process* process = find(rank);
  if (process == nullptr) return std::nullopt;
  return process->was_leaving ? ProcessState::leaving : state_of(*process);
}

std::int64_t RankProcesses::pid(int rank) const {
  const Process* process = find(rank);
  return process == nullptr ? 0 : process->pid;
}

}  // namespace dtrain
