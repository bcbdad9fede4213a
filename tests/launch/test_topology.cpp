// Reading machines: synthetic ones, files, and this one.
#include <gtest/gtest.h>
#include <hwloc.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "dtrain/error.hpp"
#include "launch/topology.hpp"

namespace dtrain {
namespace {

TEST(CpuList, WritesRangesAndReadsThemBack) {
  const std::vector<std::pair<CpuSet, std::string>> cases{
      {{}, "none"}, {{3}, "3"}, {{0, 1, 2, 3}, "0-3"}, {{0, 2, 4}, "0,2,4"}, {{0, 1, 5, 6, 7, 1023}, "0-1,5-7,1023"}};
  for (const auto& [cpus, text] : cases) {
    EXPECT_EQ(cpu_list(cpus), text);
    EXPECT_EQ(parse_cpu_list(text), cpus);
  }
}

TEST(CpuList, SortsAndMergesWhatItReads) { EXPECT_EQ(parse_cpu_list("8,0-2,1-3"), (CpuSet{0, 1, 2, 3, 8})); }

TEST(CpuList, RefusesMalformedText) {
  for (const char* text : {"", ",", "0,", "a", "3-1", "0-", "-1", "0;1", "0 1"}) {
    EXPECT_THROW(parse_cpu_list(text), ConfigError) << text;
  }
}

TEST(Topology, TwoPackagesOfTwentyFourCores) {
  const NodeTopology machine = read_synthetic("package:2 numa:1 core:24 pu:1");

  EXPECT_EQ(machine.packages, 2);
  EXPECT_EQ(machine.numa_domains, 2);
  ASSERT_EQ(machine.cores.size(), 48u);
  EXPECT_EQ(machine.cores[23].package, 0);
  EXPECT_EQ(machine.cores[24].package, 1);
  EXPECT_EQ(machine.cores[24].numa, 1);
  EXPECT_EQ(machine.cores[24].cpus, (CpuSet{24}));
  EXPECT_EQ(cpu_list(machine.allowed), "0-47");
}

TEST(Topology, FourDomainsInEachPackage) {
  const NodeTopology machine = read_synthetic("package:2 numa:4 core:8 pu:2");

  EXPECT_EQ(machine.packages, 2);
  EXPECT_EQ(machine.numa_domains, 8);
  ASSERT_EQ(machine.cores.size(), 64u);
  for (std::size_t core = 0; core < machine.cores.size(); ++core) {
    EXPECT_EQ(machine.cores[core].numa, static_cast<int>(core / 8));
    EXPECT_EQ(machine.cores[core].package, static_cast<int>(core / 32));
    EXPECT_EQ(machine.cores[core].cpus.size(), 2u);
  }
}

TEST(Topology, RefusesANotationThatHwlocDoesNotKnow) { EXPECT_THROW(read_synthetic("socks:2"), ConfigError); }

TEST(Topology, AFileGivesTheMachineItDescribes) {
  const std::string path = testing::TempDir() + "dtrain_topology.xml";
  hwloc_topology_t topology = nullptr;
  ASSERT_EQ(hwloc_topology_init(&topology), 0);
  ASSERT_EQ(hwloc_topology_set_synthetic(topology, "package:1 numa:2 core:3 pu:2"), 0);
  ASSERT_EQ(hwloc_topology_load(topology), 0);
  ASSERT_EQ(hwloc_topology_export_xml(topology, path.c_str(), 0), 0);
  hwloc_topology_destroy(topology);

  const NodeTopology machine = read_topology_file(path);

  EXPECT_EQ(machine.numa_domains, 2);
  EXPECT_EQ(machine.cores.size(), 6u);
  EXPECT_EQ(cpu_list(machine.allowed), "0-11");
  std::filesystem::remove(path);
}

TEST(Topology, RefusesAFileThatIsNoTopology) {
  const std::string path = testing::TempDir() + "dtrain_no_topology.xml";
  std::ofstream(path) << "not XML";

  EXPECT_THROW(read_topology_file(path), ConfigError);
  EXPECT_THROW(read_topology_file("/nonexistent.xml"), ConfigError);
  std::filesystem::remove(path);
}

TEST(Topology, ThisProcessMayUseCpusOfThisMachine) {
  const NodeTopology machine = read_machine();
  const CpuSet usable = usable_cpus();

  EXPECT_FALSE(usable.empty());
  std::set<int> cpus;
  for (const Core& core : machine.cores) {
    for (const int cpu : core.cpus) EXPECT_TRUE(cpus.insert(cpu).second) << "CPU " << cpu << " belongs to two cores";
  }
  for (const int cpu : usable) EXPECT_TRUE(cpus.contains(cpu)) << cpu;
  EXPECT_TRUE(std::includes(machine.allowed.begin(), machine.allowed.end(), usable.begin(), usable.end()));
}

TEST(Cgroup, ReadsTheQuotaOfCpuMax) {
  EXPECT_DOUBLE_EQ(parse_cpu_max("200000 100000\n").value(), 2.0);
  EXPECT_DOUBLE_EQ(parse_cpu_max("50000 100000").value(), 0.5);
  EXPECT_FALSE(parse_cpu_max("max 100000\n").has_value());
  EXPECT_FALSE(parse_cpu_max("").has_value());
  EXPECT_FALSE(parse_cpu_max("200000").has_value());
  EXPECT_FALSE(parse_cpu_max("200000 0").has_value());
}

/// Directories as cgroups have them, below one that is removed at the end.
class GroupFiles : public testing::Test {
 protected:
  ~GroupFiles() override { std::filesystem::remove_all(root_); }
  std::string group(const std::string& path, const std::map<std::string, std::string>& files) {
    std::filesystem::create_directories(root_ / path);
    for (const auto& [name, text] : files) std::ofstream(root_ / path / name) << text;
    return (root_ / path).string();
  }

 private:
  std::filesystem::path root_ = testing::TempDir() + "dtrain_cgroup";
};

TEST_F(GroupFiles, AllLimitsOnTheWayUpAreRead) {
  const std::string job = group("slice/job", {{"cpu.max", "150000 100000\n"}});
  const std::string slice = group("slice", {{"cpu.max", "max 100000\n"}});
  const std::string root = group("", {{"cpu.max", "100000 100000\n"}});

  const std::vector<CpuLimit> limits = read_cpu_limits({job, slice, root, "/nonexistent"});

  ASSERT_EQ(limits.size(), 2u);
  EXPECT_DOUBLE_EQ(limits[0].cpus, 1.5);
  EXPECT_DOUBLE_EQ(limits[1].cpus, 1.0);
  EXPECT_NE(limits[0].group, limits[1].group);
}

TEST_F(GroupFiles, TheOldHierarchyHasTwoFiles) {
  const std::string limited = group("a", {{"cpu.cfs_quota_us", "25000\n"}, {"cpu.cfs_period_us", "100000\n"}});
  const std::string unlimited = group("b", {{"cpu.cfs_quota_us", "-1\n"}, {"cpu.cfs_period_us", "100000\n"}});

  const std::vector<CpuLimit> limits = read_cpu_limits({limited, unlimited});

  ASSERT_EQ(limits.size(), 1u);
  EXPECT_DOUBLE_EQ(limits[0].cpus, 0.25);
}

TEST_F(GroupFiles, AGroupIsTheSameByWhateverPath) {
  const std::string here = group("a", {{"cpu.max", "100000 100000\n"}});

  const std::vector<CpuLimit> limits = read_cpu_limits({here, here + "/../a"});

  ASSERT_EQ(limits.size(), 2u);
  EXPECT_EQ(limits[0].group, limits[1].group);
}

}  // namespace
}  // namespace dtrain
