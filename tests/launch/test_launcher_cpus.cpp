// Finding the launcher above a rank, among processes that are made up and those that are not.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>

#include "launch/binding.hpp"
#include "launch/cgroup.hpp"
#include "launch/launcher_cpus.hpp"

namespace dtrain {
namespace {

struct Process {
  int parent = 0;
  std::string cpus;         ///< empty: its status cannot be read
  std::string environment;  ///< as of /proc: zeros between the variables
};

ProcessFiles files_of(const std::map<int, Process>& processes) {
  return [&processes](int id, const std::string& file) -> std::string {
    const auto found = processes.find(id);
    if (found == processes.end() || found->second.cpus.empty()) return "";
    const Process& process = found->second;
    if (file == "environ") return process.environment;
    return "Name:\tx\nPPid:\t" + std::to_string(process.parent) + "\nCpus_allowed:\tff\nCpus_allowed_list:\t" + process.cpus +
           "\n";
  };
}

const std::string kOfRank("HOME=/root\0OMPI_COMM_WORLD_RANK=1\0", 34);
const std::string kOfLauncher("HOME=/root\0PATH=/bin\0", 21);

TEST(LauncherCpus, AreTheParents) {
  const std::map<int, Process> processes{{9, {.parent = 4, .cpus = "0", .environment = kOfRank}},
                                         {4, {.parent = 1, .cpus = "0-7", .environment = kOfLauncher}}};

  EXPECT_EQ(cpus_of_launcher(9, "OMPI_COMM_WORLD_RANK", files_of(processes)), parse_cpu_list("0-7"));
}

TEST(LauncherCpus, AreThoseAboveTheScriptsOfTheRank) {
  const std::map<int, Process> processes{{9, {.parent = 8, .cpus = "0", .environment = kOfRank}},
                                         {8, {.parent = 7, .cpus = "0", .environment = kOfRank}},
                                         {7, {.parent = 4, .cpus = "0-1", .environment = kOfRank}},
                                         {4, {.parent = 1, .cpus = "0-7", .environment = kOfLauncher}},
                                         {1, {.parent = 0, .cpus = "0-63", .environment = ""}}};

  EXPECT_EQ(cpus_of_launcher(9, "OMPI_COMM_WORLD_RANK", files_of(processes)), parse_cpu_list("0-7"));
  EXPECT_EQ(cpus_of_launcher(9, "COMM_WORLD_RANK", files_of(processes)), parse_cpu_list("0"));  // another's name: the parent
  EXPECT_EQ(cpus_of_launcher(9, "", files_of(processes)), parse_cpu_list("0"));
}

TEST(LauncherCpus, AreUnknownWhereTheParentIsOutOfSight) {
  const std::map<int, Process> container{{1, {.parent = 0, .cpus = "0", .environment = kOfRank}}};
  const std::map<int, Process> hidden{{9, {.parent = 4, .cpus = "0", .environment = kOfRank}}};

  EXPECT_TRUE(cpus_of_launcher(1, "OMPI_COMM_WORLD_RANK", files_of(container)).empty());
  EXPECT_TRUE(cpus_of_launcher(9, "OMPI_COMM_WORLD_RANK", files_of(hidden)).empty());
}

TEST(LauncherCpus, OfThisProcessAreThoseOfWhatStartedIt) {
  const auto read = [](int process, const std::string& file) {
    return read_kernel_file("/proc/" + std::to_string(process) + "/" + file);
  };

  const CpuSet cpus = cpus_of_launcher(getpid(), "", read);

  ASSERT_FALSE(cpus.empty());
  EXPECT_EQ(cpus, cpus_of_launcher(getpid(), "NO_VARIABLE_OF_THIS_NAME", read));
  const CpuSet bindable = bindable_cpus();
  EXPECT_TRUE(std::includes(bindable.begin(), bindable.end(), cpus.begin(), cpus.end())) << cpu_list(cpus);
}

}  // namespace
}  // namespace dtrain
