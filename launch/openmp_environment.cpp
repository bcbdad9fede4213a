// OpenMP's variables and what they lead to; see openmp_environment.hpp.
#include "launch/openmp_environment.hpp"

#include <omp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <string_view>
#include <system_error>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

/// More than any machine has, as for --threads.
constexpr int kMostOpenMpThreads = 4096;

std::string variable_text(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : std::string(name) + "=" + value;
}

/// The first of these variables that is set, "NAME=value".
std::string first_set(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (std::string text = variable_text(name); !text.empty()) return text;
  }
  return {};
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return text;
}

/// A variable that names CPUs one by one, and so takes others away: "GOMP_CPU_AFFINITY=0", "OMP_PLACES={0},{1}". Words such as
/// cores or spread leave all of them.
bool names_cpus(const std::string& binding) {
  return binding.starts_with("GOMP_CPU_AFFINITY=") || binding.find('{') != std::string::npos ||
         lower(binding).find("proclist") != std::string::npos;
}

std::string joined_with_blanks(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

std::string name_of_variable(const std::string& text) { return text.substr(0, text.find('=')); }

std::string thread_count(int threads) { return std::to_string(threads) + " thread" + (threads == 1 ? "" : "s"); }

void warn_about_number(const OpenMpEnvironment& environment, const RankPlacement& rank, std::vector<std::string>& warnings) {
  if (environment.num_threads.empty()) return;
  const std::string variable = "OMP_NUM_THREADS=" + environment.num_threads;
  const int asked = threads_by_environment(environment);
  const std::string usual = std::to_string(rank.usual_threads);
  if (asked == 0) {
    warnings.push_back(to_text(
        Fault{.doing = "choosing the compute threads of a rank",
              .expected = "a number of threads",
              .found = variable + " in the environment, which is none: " + thread_count(rank.placement.threads) + " instead",
              .remedy = "unset OMP_NUM_THREADS, or --threads " + usual}));
  } else if (asked < rank.usual_threads) {
    const int idle = rank.usual_threads - asked;
    warnings.push_back(to_text(Fault{.doing = "choosing the compute threads of a rank",
                                     .expected = thread_count(rank.usual_threads) + ", one for each of its cores",
                                     .found = variable + " in the environment: " + thread_count(asked) + ", " +
                                              std::to_string(idle) + (idle == 1 ? " core stays idle" : " cores stay idle"),
                                     .remedy = "unset OMP_NUM_THREADS, or --threads " + usual + " (--threads " +
                                               std::to_string(asked) + " if that is what you want)"}));
  }
}

}  // namespace

OpenMpEnvironment read_openmp_environment() {
  OpenMpEnvironment environment;
  if (const char* const threads = std::getenv("OMP_NUM_THREADS")) environment.num_threads = threads;
  if (const int limit = omp_get_thread_limit(); limit > 0 && limit < INT_MAX) {
    environment.thread_limit = limit;
    environment.thread_limit_text = first_set({"OMP_THREAD_LIMIT", "KMP_DEVICE_THREAD_LIMIT", "KMP_ALL_THREADS"});
    if (environment.thread_limit_text.empty()) environment.thread_limit_text = "a thread limit of " + std::to_string(limit);
  }
  environment.active_levels = omp_get_max_active_levels();
  environment.active_levels_text = first_set({"OMP_MAX_ACTIVE_LEVELS", "OMP_NESTED"});
  for (const char* name : {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "KMP_HW_SUBSET"}) {
    const std::string text = variable_text(name);
    const std::string value = lower(text.substr(std::min(text.size(), text.find('=') + 1)));
    if (text.empty() || value.empty() || value == "false" || value == "none" || value == "disabled") continue;
    environment.bindings.push_back(text);
  }
  return environment;
}

int threads_by_environment(const OpenMpEnvironment& environment) {
  std::string_view text = environment.num_threads;
  const auto skip_blanks = [&] { text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size())); };
  skip_blanks();
  int threads = 0;
  const auto [rest, fault] = std::from_chars(text.data(), text.data() + text.size(), threads);
  text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
  skip_blanks();
  if (fault != std::errc{} || (!text.empty() && text.front() != ',')) return 0;
  return threads >= 1 && threads <= kMostOpenMpThreads ? threads : 0;
}

std::vector<std::string> openmp_warnings(const OpenMpEnvironment& environment, const RankPlacement& rank, bool threads_given,
                                         const CpuSet& usable, const CpuSet& offered) {
  std::vector<std::string> warnings;
  if (!threads_given) warn_about_number(environment, rank, warnings);
  if (rank.is_thread_limited) {
    warnings.push_back(
        to_text(Fault{.doing = "choosing the compute threads of a rank",
                      .expected = "as many as it has cores",
                      .found = environment.thread_limit_text + " in the environment: " + thread_count(rank.placement.threads),
                      .remedy = "unset " + name_of_variable(environment.thread_limit_text)}));
  }
  if (environment.active_levels < 1) {
    warnings.push_back(to_text(Fault{.doing = "starting compute threads",
                                     .expected = "",
                                     .found = environment.active_levels_text +
                                              " in the environment, which would leave a rank one thread: it is not followed",
                                     .remedy = "unset " + name_of_variable(environment.active_levels_text)}));
  }
  std::vector<std::string> naming;
  std::ranges::copy_if(environment.bindings, std::back_inserter(naming), names_cpus);
  if (!naming.empty() && usable != offered && usable.size() < offered.size()) {
    warnings.push_back(
        to_text(Fault{.doing = "looking for the CPUs of a rank",
                      .expected = "CPUs " + cpu_list(offered),
                      .found = joined_with_blanks(naming) + " in the environment: CPU" + (usable.size() == 1 ? " " : "s ") +
                               cpu_list(usable) + " alone, the others stay idle",
                      .remedy = "unset " + name_of_variable(naming.front())}));
  } else if (!environment.bindings.empty() && !rank.placement.compute_cpus.empty()) {
    warnings.push_back(to_text(
        Fault{.doing = "binding compute threads",
              .expected = "",
              .found = joined_with_blanks(environment.bindings) + " in the environment, which dtrain's own placement overrides",
              .remedy = "--bind none to have the environment decide"}));
  }
  return warnings;
}

void require_within_thread_limit(const OpenMpEnvironment& environment, int threads) {
  if (environment.thread_limit == 0 || threads <= environment.thread_limit) return;
  throw ConfigError(Fault{.doing = "--threads " + std::to_string(threads),
                          .expected = "at most " + std::to_string(environment.thread_limit),
                          .found = environment.thread_limit_text + " in the environment, which allows no more",
                          .remedy = "unset " + name_of_variable(environment.thread_limit_text)});
}

}  // namespace dtrain
