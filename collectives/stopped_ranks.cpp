// Looks through /proc; see stopped_ranks.hpp.
#include "collectives/stopped_ranks.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

namespace dtrain {

namespace {

namespace fs = std::filesystem;

/// What launchers call a job by, and a step in it.
constexpr std::array kJobNames{"PMIX_NAMESPACE", "SLURM_JOB_ID", "SLURM_STEP_ID"};

std::string read_process_file(std::int64_t pid, const char* name) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct ProcessLine {
  char letter = '?';
  std::int64_t parent = 0;
};

/// Of a line "PID (NAME) STATE PARENT …", in which NAME may hold anything.
ProcessLine parse_process_line(std::string_view line) {
  ProcessLine state;
  const auto name_end = line.rfind(')');
  if (name_end == std::string_view::npos || line.size() < name_end + 5) return state;
  state.letter = line[name_end + 2];
  std::from_chars(line.data() + name_end + 4, line.data() + line.size(), state.parent);
  return state;
}

/// Of texts "NAME=value", each ended by a zero.
std::optional<std::string> value_of(std::string_view variables, const std::string& name) {
  for (std::size_t begin = 0; begin < variables.size();) {
    const std::size_t end = std::min(variables.find('\0', begin), variables.size());
    const std::string_view variable = variables.substr(begin, end - begin);
    if (variable.starts_with(name) && variable.substr(name.size()).starts_with('=')) {
      return std::string(variable.substr(name.size() + 1));
    }
    begin = end + 1;
  }
  return std::nullopt;
}

/// Where no launcher's word tells jobs apart, those of one are the children of one process.
bool is_of_this_job(const Environment& environment, std::string_view variables, std::int64_t parent) {
  bool has_name = false;
  for (const char* name : kJobNames) {
    const char* const own = environment(name);
    if (own == nullptr) continue;
    has_name = true;
    if (value_of(variables, name) != std::string(own)) return false;
  }
  return has_name || parent == getppid();
}

std::optional<StoppedRank> stopped_rank(std::int64_t pid, const Environment& environment, const std::string& rank_variable) {
  const ProcessLine state = parse_process_line(read_process_file(pid, "stat"));
  if (state.letter != 'T' && state.letter != 't') return std::nullopt;
  const std::string variables = read_process_file(pid, "environ");
  const std::optional<std::string> rank = value_of(variables, rank_variable);
  if (!rank || !is_of_this_job(environment, variables, state.parent)) return std::nullopt;
  StoppedRank found{.pid = pid};
  const auto [end, error] = std::from_chars(rank->data(), rank->data() + rank->size(), found.rank);
  if (error != std::errc()) return std::nullopt;
  return found;
}

}  // namespace

std::vector<StoppedRank> find_stopped_ranks(const Environment& environment) {
  std::vector<StoppedRank> ranks;
  const auto launched = launched_ranks(environment);
  if (!launched) return ranks;
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    std::int64_t pid = 0;
    const auto [stop, fault] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (fault != std::errc() || stop != name.data() + name.size() || pid == getpid()) continue;
    if (const auto rank = stopped_rank(pid, environment, launched->rank_variable)) ranks.push_back(*rank);
  }
  std::ranges::sort(ranks, {}, &StoppedRank::rank);
  return ranks;
}

}  // namespace dtrain
