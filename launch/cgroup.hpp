// Where the kernel keeps the limits of the control groups this process is in.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dtrain {

/// Directories with the limits of `controller` ("cpu", "memory") on a process, from its own group up to the root, of cgroup v2
/// and of v1; some need not exist: in a container the paths often are those of the host. membership: text of /proc/self/cgroup.
std::vector<std::string> cgroup_directories(std::string_view membership, std::string_view controller);

/// The same for this process.
std::vector<std::string> own_cgroup_directories(std::string_view controller);

/// Everything in a small file of the kernel; empty when there is none.
std::string read_kernel_file(const std::string& path);

}  // namespace dtrain
