// Binding through Linux's scheduler calls: they act on one thread, whatever made it.
#include "launch/binding.hpp"

#include <linux/mempolicy.h>
#include <omp.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <latch>
#include <memory>
#include <numeric>
#include <system_error>
#include <thread>

#include "dtrain/error.hpp"
#include "launch/topology.hpp"

namespace dtrain {
namespace {

struct FreeMask {
  void operator()(cpu_set_t* mask) const { CPU_FREE(mask); }
};

/// First touch is Linux's default; an inherited policy (numactl --interleave) would undo the placement of the arenas.
/// Result: false when another policy is in force and cannot be changed.
bool prefer_local_memory() {
  int policy = MPOL_DEFAULT;
  if (syscall(SYS_get_mempolicy, &policy, nullptr, 0, nullptr, 0) != 0) return true;  // a kernel without NUMA
  if (policy == MPOL_DEFAULT || policy == MPOL_LOCAL) return true;
  return syscall(SYS_set_mempolicy, MPOL_DEFAULT, nullptr, 0) == 0;
}

/// What OpenMP's run-time is about to do: where the system refuses it a thread, it ends the process with a line of its own.
void require_startable(int threads) {
  std::latch all_are_counted(1);
  std::vector<std::jthread> others;
  std::string reason;
  try {
    while (std::ssize(others) + 1 < threads) others.emplace_back([&] { all_are_counted.wait(); });
  } catch (const std::system_error& error) {
    reason = error.code().message();
  }
  const std::ptrdiff_t given = std::ssize(others) + 1;
  all_are_counted.count_down();
  others.clear();  // joins
  if (reason.empty()) return;
  throw ConfigError(Fault{.doing = "starting compute threads",
                          .expected = std::to_string(threads),
                          .found = std::to_string(given) + ", then " + reason,
                          .remedy = "a higher limit of processes (ulimit -u, or that of the container), or fewer --threads"});
}

/// Kernels wait for every thread that the run-time has promised: one that it does not give would be waited for for ever.
void require_whole_team(int threads) {
  int given = 0;
#pragma omp parallel
#pragma omp single
  given = omp_get_num_threads();
  if (given == threads) return;
  throw ConfigError(Fault{.doing = "starting compute threads",
                          .expected = std::to_string(threads),
                          .found = std::to_string(given) + ", of which OpenMP's run-time gives no more",
                          .remedy = "--threads " + std::to_string(given)});
}

std::string not_bound(const std::string& what, const CpuSet& cpus) {
  return to_text(Fault{.doing = "binding " + what,
                       .expected = "CPUs " + cpu_list(cpus),
                       .found = "that the system refuses them: the thread stays where the scheduler puts it",
                       .remedy = "--bind none"});
}

}  // namespace

bool bind_this_thread(const std::vector<int>& cpus) {
  check(!cpus.empty(), "a thread is bound to at least one CPU");
  const int size = *std::max_element(cpus.begin(), cpus.end()) + 1;
  const std::unique_ptr<cpu_set_t, FreeMask> mask(CPU_ALLOC(size));
  const std::size_t bytes = CPU_ALLOC_SIZE(size);
  CPU_ZERO_S(bytes, mask.get());
  for (const int cpu : cpus) CPU_SET_S(static_cast<std::size_t>(cpu), bytes, mask.get());
  return sched_setaffinity(0, bytes, mask.get()) == 0;
}

std::vector<int> cpus_of_this_thread() {
  std::vector<int> cpus;
  // The kernel wants a mask at least as large as its own; grow until it fits.
  for (int size = 1024; size <= (1 << 20); size *= 2) {
    const std::unique_ptr<cpu_set_t, FreeMask> mask(CPU_ALLOC(size));
    const std::size_t bytes = CPU_ALLOC_SIZE(size);
    if (sched_getaffinity(0, bytes, mask.get()) != 0) continue;
    for (int cpu = 0; cpu < size; ++cpu) {
      if (CPU_ISSET_S(static_cast<std::size_t>(cpu), bytes, mask.get())) cpus.push_back(cpu);
    }
    break;
  }
  return cpus;
}

std::vector<int> bindable_cpus() {
  // The kernel cuts a request down to what it allows. On a thread that ends with the question, since it widens the binding.
  constexpr int kMostCpus = 1 << 13;  // Linux's largest
  std::vector<int> cpus;
  std::thread([&] {
    std::vector<int> all(kMostCpus);
    std::iota(all.begin(), all.end(), 0);
    if (bind_this_thread(all)) cpus = cpus_of_this_thread();
  }).join();
  return cpus;
}

std::vector<std::string> carry_out(Placement& placement) {
  std::vector<std::string> remarks;
  omp_set_dynamic(0);
  if (omp_get_max_active_levels() < 1) omp_set_max_active_levels(1);
  omp_set_num_threads(placement.threads);
  require_startable(placement.threads);
  require_whole_team(placement.threads);
  placement.bind_comm_thread = [] {};
  placement.bind_loader_thread = [](int) {};
  if (placement.compute_cpus.empty()) return remarks;

  // Comm and loader threads are started by the main thread and would inherit its one CPU: they are bound in any case.
  placement.bind_comm_thread = [cpus = placement.comm_cpus] {
    if (!bind_this_thread(cpus)) spdlog::warn(not_bound("the comm thread", cpus));
  };
  placement.bind_loader_thread = [cpus = placement.loader_cpus](int worker) {
    if (!bind_this_thread(cpus)) spdlog::warn(not_bound("loader thread " + std::to_string(worker), cpus));
  };
  if (!prefer_local_memory()) {
    remarks.push_back(to_text(Fault{.doing = "choosing where memory comes from",
                                    .expected = "the NUMA domain of the thread that first touches it",
                                    .found = "an inherited policy that cannot be changed",
                                    .remedy = "starting dtrain without numactl"}));
  }
  std::vector<char> is_bound(static_cast<std::size_t>(placement.threads), 0);
#pragma omp parallel num_threads(placement.threads)
  {
    const auto thread = static_cast<std::size_t>(omp_get_thread_num());
    is_bound[thread] = bind_this_thread(placement.compute_masks[thread]) ? 1 : 0;
  }
  for (std::size_t thread = 0; thread < is_bound.size(); ++thread) {
    if (is_bound[thread] == 0) {
      remarks.push_back(not_bound("compute thread " + std::to_string(thread), placement.compute_masks[thread]));
    }
  }
  return remarks;
}

}  // namespace dtrain
