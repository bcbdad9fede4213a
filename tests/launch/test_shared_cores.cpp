// Which bindings are refused and which are only a pity, on machines nobody has at hand.
#include <gtest/gtest.h>

#include "launch/shared_cores.hpp"
#include "tests/launch/machines.hpp"

namespace dtrain {
namespace {

const char* const kLaptop = "package:1 numa:1 core:2 pu:2";

/// Ranks with these CPUs, of a launcher that could have given them what the machine allows.
std::vector<RankCpus> bound_to(const std::vector<std::string>& cpus, const NodeTopology& machine) {
  std::vector<RankCpus> ranks;
  for (const std::string& list : cpus) {
    ranks.push_back({.rank = static_cast<int>(ranks.size()), .usable = parse_cpu_list(list), .offered = machine.allowed});
  }
  return ranks;
}

std::string fault_of(const char* description, const std::vector<std::string>& cpus, Launcher launcher = Launcher::mpirun) {
  const NodeTopology machine = read_synthetic(description);
  const auto fault = find_shared_cores(machine, bound_to(cpus, machine), launcher, "n7");
  return fault ? to_text(*fault) : "";
}

TEST(SharedCores, AreAFaultWhileThereAreOthers) {
  EXPECT_EQ(fault_of(kTwoSockets, {"0", "0"}),
            "placing the ranks on n7: expected cores of its own for each of 2 ranks, as there are 48 cores, found that the "
            "launcher bound ranks 0, 1 to core 0 (CPU 0), where they wait for each other; try: mpirun --bind-to none … (dtrain "
            "then divides the cores itself), or mpirun --map-by ppr:1:numa:PE=24 --bind-to core …");
}

TEST(SharedCores, NameTheRanksThatShareAndNoOthers) {
  const std::string text = fault_of(kTwoSockets, {"0", "1-3", "0", "24", "24", "25"});

  EXPECT_NE(text.find("ranks 0, 2 to core 0 (CPU 0), ranks 3, 4 to core 24 (CPU 24), where"), std::string::npos) << text;
}

TEST(SharedCores, AreCountedWhereTheyAreMany) {
  std::vector<std::string> cpus;
  for (int core = 0; core < 6; ++core) cpus.insert(cpus.end(), 2, std::to_string(core));
  const std::string text = fault_of(kTwoSockets, cpus);

  EXPECT_NE(text.find("ranks 6, 7 to core 3 (CPU 3) and 2 more such groups"), std::string::npos) << text;
}

TEST(SharedCores, AreTheHardwareThreadsOfOneCoreToo) {
  const std::string text = fault_of(kTwoSocketsSmt, {"0", "1"});

  EXPECT_NE(text.find("ranks 0, 1 to core 0 (CPUs 0-1)"), std::string::npos) << text;
}

TEST(SharedCores, OfMoreRanksThanTheyAre) {
  const std::string text = fault_of(kTwoSockets, {"0-1", "0-1", "0-1"});

  EXPECT_NE(text.find("ranks 0–2 to cores 0, 1 (CPUs 0-1)"), std::string::npos) << text;
  EXPECT_NE(fault_of(kTwoSockets, {"0-1", "0", "1"}), "");  // two cores for three, unlike for each
}

TEST(SharedCores, SpeakSrunsLanguageUnderSrun) {
  EXPECT_NE(fault_of(kTwoSockets, {"0", "0"}, Launcher::srun).find("try: srun --cpu-bind=none"), std::string::npos);
}

TEST(SharedCores, AreNoFaultWhereRanksCanDivideThem) {
  EXPECT_EQ(fault_of(kTwoSockets, {"0", "1"}), "");
  EXPECT_EQ(fault_of(kTwoSockets, {"0-1", "0-1"}), "");
  EXPECT_EQ(fault_of(kTwoSockets, {"0-47", "0-47", "0-47"}), "");
  EXPECT_EQ(fault_of(kTwoSockets, {"0", "0-1", "1-2"}), "");
  EXPECT_EQ(fault_of(kTwoSocketsSmt, {"0-1", "2-3"}), "");
}

TEST(SharedCores, AreNoFaultWhereThereAreFewerThanRanks) {
  EXPECT_EQ(fault_of(kLaptop, {"0-3", "0-3", "0-3"}), "");         // --oversubscribe: not bound at all
  EXPECT_EQ(fault_of(kLaptop, {"0", "1", "2", "3"}), "");          // a rank on each hardware thread
  EXPECT_EQ(fault_of(kLaptop, {"0-1", "2-3", "0-1", "2-3"}), "");  // --bind-to core:overload-allowed
}

TEST(SharedCores, AreAFaultAlsoThereWhenAnotherIsIdle) {
  const std::string text = fault_of(kLaptop, {"0-1", "0-1", "0-1"});

  EXPECT_NE(text.find("expected at most 2 of 3 ranks on a core, as there are 2 cores"), std::string::npos) << text;
  EXPECT_NE(fault_of(kLaptop, {"0-1", "2-3", "2-3", "2-3"}), "");
}

TEST(SharedCores, AreNoFaultOfALauncherThatHadNoOthersToGive) {
  const NodeTopology machine = read_synthetic(kTwoSockets);
  std::vector<RankCpus> ranks = bound_to({"5", "5"}, machine);
  for (RankCpus& rank : ranks) rank.offered = {5};  // taskset -c 5 mpirun …, or one CPU of a batch system

  EXPECT_FALSE(find_shared_cores(machine, ranks, Launcher::mpirun, "n7").has_value());
  ranks[0].offered = ranks[1].offered = {5, 6};
  EXPECT_TRUE(find_shared_cores(machine, ranks, Launcher::mpirun, "n7").has_value());
}

TEST(SharedCores, OfContainersAreJudgedByWhatEachAllows) {
  const NodeTopology machine = read_synthetic(kTwoSockets);
  std::vector<RankCpus> ranks = bound_to({"0", "0", "4"}, machine);
  for (RankCpus& rank : ranks) rank.offered = rank.usable;  // a container of one CPU around the first two, another of one

  EXPECT_FALSE(find_shared_cores(machine, ranks, Launcher::none, "n7").has_value());
}

}  // namespace
}  // namespace dtrain
