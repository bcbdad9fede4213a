// What the kernel's files say about memory, as texts.
#include <gtest/gtest.h>

#include "launch/cgroup.hpp"
#include "launch/memory_share.hpp"

namespace dtrain {
namespace {

using Directories = std::vector<std::string>;

TEST(MemoryShare, ReadsWhatIsAvailable) {
  EXPECT_EQ(parse_available_memory("MemTotal: 100 kB\nMemFree:  1 kB\nMemAvailable:   23000 kB\nBuffers: 7 kB\n"),
            23000u * 1024);
  EXPECT_FALSE(parse_available_memory("MemTotal: 100 kB\n").has_value());  // kernels before 3.14
  EXPECT_FALSE(parse_available_memory("").has_value());
}

TEST(MemoryShare, OfACgroupIsItsLimitWithoutWhatItHolds) {
  EXPECT_EQ(parse_cgroup_room("1000\n", "300\n", "anon 200\ninactive_file 80\nactive_file 20\n"), 780u);
  EXPECT_EQ(parse_cgroup_room("1000\n", "300\n", "inactive_file 1\ntotal_inactive_file 80\n"), 780u);  // v1
  EXPECT_EQ(parse_cgroup_room("1000\n", "300\n", ""), 700u);
  EXPECT_EQ(parse_cgroup_room("1000\n", "1200\n", ""), 0u);
  EXPECT_FALSE(parse_cgroup_room("max\n", "300\n", "").has_value());
  EXPECT_FALSE(parse_cgroup_room("", "", "").has_value());
}

TEST(MemoryShare, IsEqualForAllRanksAndKeepsAReserve) {
  EXPECT_EQ(memory_share(6400, 1), 6200u);
  EXPECT_EQ(memory_share(6400, 2), 3100u);
  EXPECT_EQ(memory_share(0, 2), 0u);
}

TEST(MemoryShare, IsKnownOnThisMachine) { EXPECT_GT(available_memory_bytes(), 0u); }

TEST(Cgroup, ListsADirectoryAndThoseAboveIt) {
  EXPECT_EQ(cgroup_directories("0::/user.slice/job\n", "memory"),
            (Directories{"/sys/fs/cgroup/user.slice/job", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"}));
  EXPECT_EQ(cgroup_directories("0::/\n", "memory"), (Directories{"/sys/fs/cgroup"}));
  EXPECT_EQ(cgroup_directories("", "memory"), Directories{});
}

TEST(Cgroup, TakesOnlyTheHierarchyOfTheController) {
  const std::string membership = "9:name=systemd:/a\n4:memory:/job\n2:cpu,cpuacct:/b\n0::/\n";

  EXPECT_EQ(cgroup_directories(membership, "memory"),
            (Directories{"/sys/fs/cgroup/memory/job", "/sys/fs/cgroup/memory", "/sys/fs/cgroup"}));
  EXPECT_EQ(cgroup_directories(membership, "cpu"),
            (Directories{"/sys/fs/cgroup/cpu/b", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct/b", "/sys/fs/cgroup/cpu,cpuacct",
                         "/sys/fs/cgroup"}));
}

}  // namespace
}  // namespace dtrain
