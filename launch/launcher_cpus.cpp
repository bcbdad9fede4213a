// Follows the parents up to the launcher; see launcher_cpus.hpp.
#include "launch/launcher_cpus.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "collectives/launcher.hpp"
#include "launch/cgroup.hpp"

namespace dtrain {
namespace {

/// Value of a line "Name:<tab>value" of /proc/PID/status; empty: there is none.
std::string status_value(const std::string& status, const std::string& name) {
  const auto line = ("\n" + status).find("\n" + name + ":\t");
  if (line == std::string::npos) return {};
  const auto begin = line + name.size() + 2;
  return status.substr(begin, status.find('\n', begin) - begin);
}

int number_in(std::string_view text) {
  int value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

bool has_variable(const std::string& environment, const std::string& name) {
  const std::string wanted = '\0' + name + '=';
  return ('\0' + environment).find(wanted) != std::string::npos;
}

}  // namespace

CpuSet cpus_of_launcher(int process, const std::string& rank_variable, const ProcessFiles& read) {
  while (true) {
    process = number_in(status_value(read(process, "status"), "PPid"));
    if (process <= 0) return {};  // in another namespace, as of a container that holds one rank
    const bool is_of_rank = !rank_variable.empty() && has_variable(read(process, "environ"), rank_variable);
    if (is_of_rank) continue;
    const std::string cpus = status_value(read(process, "status"), "Cpus_allowed_list");
    return cpus.empty() ? CpuSet{} : parse_cpu_list(cpus);
  }
}

CpuSet cpus_of_own_launcher(const CpuSet& allowed, const CpuSet& usable) {
  const auto launched = launched_ranks(own_environment());
  const auto read = [](int process, const std::string& file) {
    return read_kernel_file("/proc/" + std::to_string(process) + "/" + file);
  };
  const CpuSet cpus = cpus_of_launcher(getpid(), launched ? launched->rank_variable : "", read);
  if (cpus.empty()) return united({allowed, usable});
  CpuSet permitted;
  std::ranges::set_intersection(cpus, allowed, std::back_inserter(permitted));
  return united({permitted, usable});
}

int granted_cpus() {
  const auto launched = launched_ranks(own_environment());
  const char* const granted = std::getenv("SLURM_CPUS_ON_NODE");
  const bool is_srun = launched && launched->kind == LauncherKind::srun;
  return is_srun && granted != nullptr ? number_in(granted) : 0;
}

}  // namespace dtrain
