// Reading /proc/self/cgroup; see cgroup.hpp.
#include "launch/cgroup.hpp"

#include <fstream>
#include <iterator>

namespace dtrain {
namespace {

bool lists(std::string_view controllers, std::string_view controller) {
  while (!controllers.empty()) {
    const auto comma = controllers.find(',');
    if (controllers.substr(0, comma) == controller) return true;
    controllers = comma == std::string_view::npos ? std::string_view() : controllers.substr(comma + 1);
  }
  return false;
}

}  // namespace

std::vector<std::string> cgroup_directories(std::string_view membership, std::string_view controller) {
  std::vector<std::string> directories;
  const auto add_upwards = [&](const std::string& mount, std::string path) {
    if (path == "/") path.clear();
    while (true) {
      directories.push_back(mount + path);
      const auto parent = path.rfind('/');
      if (parent == std::string::npos) break;
      path.resize(parent);
    }
  };
  // A line is hierarchy:controllers:path; that of cgroup v2 names no controllers.
  while (!membership.empty()) {
    const auto end = membership.find('\n');
    const std::string_view line = membership.substr(0, end);
    membership = end == std::string_view::npos ? std::string_view() : membership.substr(end + 1);
    const auto first = line.find(':');
    const auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string path(line.substr(second + 1));
    if (controllers.empty()) add_upwards("/sys/fs/cgroup", path);
    if (!lists(controllers, controller)) continue;
    add_upwards("/sys/fs/cgroup/" + std::string(controller), path);
    // Controllers of one hierarchy share a mount; usually, but not everywhere, each has a link to it.
    if (controllers != controller) add_upwards("/sys/fs/cgroup/" + std::string(controllers), path);
  }
  return directories;
}

std::vector<std::string> own_cgroup_directories(std::string_view controller) {
  return cgroup_directories(read_kernel_file("/proc/self/cgroup"), controller);
}

std::string read_kernel_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace dtrain
