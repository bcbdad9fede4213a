// Carries a placement out on this process: OpenMP's threads, the callbacks that bind comm and loader threads, memory policy.
#pragma once

#include <string>
#include <vector>

#include "trainer/placement.hpp"

namespace dtrain {

/// Starts OpenMP's compute threads and binds each to its mask (the calling thread is compute thread 0), makes memory come from
/// the domain of the thread that first touches it, and fills the placement's callbacks. Nothing is bound where the plan binds
/// nothing. Result: what could not be done or was overridden, for the log (empty: all is as planned). Threads: call once, on
/// the main thread, before other threads are started that should not inherit its binding.
std::vector<std::string> carry_out(Placement& placement);

/// Binds the calling thread. Result: false when the system refuses (a CPU that is offline or outside the cgroup).
bool bind_this_thread(const std::vector<int>& cpus);

/// CPUs that the calling thread may run on.
std::vector<int> cpus_of_this_thread();

/// CPUs that a thread of this process could bind itself to: what the cgroup's cpuset allows, whatever binding was inherited,
/// and also where its files cannot be seen. Empty: the system refuses to say.
std::vector<int> bindable_cpus();

}  // namespace dtrain
