// Placing threads on machines nobody has at hand. Invariants: no core for two ranks, a comm core is never a compute core,
// at most one compute thread a core unless more were asked for.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "dtrain/error.hpp"
#include "launch/placement_plan.hpp"
#include "tests/launch/machines.hpp"

namespace dtrain {
namespace {

const char* const kNps4 = "package:1 numa:4 core:8 pu:2";
const char* const kOneCore = "package:1 numa:1 core:1 pu:1";
const char* const kTwoCores = "package:1 numa:1 core:2 pu:1";

std::vector<RankPlacement> plan_all(const char* description, int ranks, PlacementRequest request = {}) {
  const NodeTopology machine = read_synthetic(description);
  request.ranks = ranks;
  return plan_placement(machine, same_for_all(machine, ranks), request);
}

std::string warnings_of(const std::vector<RankPlacement>& plan) {
  std::string text;
  for (const RankPlacement& rank : plan) {
    for (const std::string& warning : rank.warnings) text += warning + "\n";
  }
  return text;
}

std::map<int, int> core_of_cpu(const NodeTopology& machine) {
  std::map<int, int> cores;
  for (std::size_t core = 0; core < machine.cores.size(); ++core) {
    for (const int cpu : machine.cores[core].cpus) cores[cpu] = static_cast<int>(core);
  }
  return cores;
}

void expect_invariants(const NodeTopology& machine, const std::vector<CpuSet>& usable, const std::vector<RankPlacement>& plan,
                       const PlacementRequest& request) {
  const std::map<int, int> core_of = core_of_cpu(machine);
  std::map<int, std::size_t> owner;
  for (std::size_t rank = 0; rank < plan.size(); ++rank) {
    const Placement& placement = plan[rank].placement;
    EXPECT_GE(placement.threads, 1);
    EXPECT_GE(placement.loader_workers, 1);
    EXPECT_FALSE(placement.summary.empty());
    if (placement.compute_cpus.empty()) {
      EXPECT_FALSE(placement.has_comm_core);
      EXPECT_TRUE(placement.comm_cpus.empty());
      EXPECT_TRUE(placement.loader_cpus.empty());
      continue;
    }
    EXPECT_EQ(placement.compute_cpus.size(), static_cast<std::size_t>(placement.threads));
    EXPECT_EQ(placement.compute_masks.size(), static_cast<std::size_t>(placement.threads));
    EXPECT_FALSE(placement.comm_cpus.empty());
    EXPECT_FALSE(placement.loader_cpus.empty());
    std::set<int> compute_cores;
    std::set<int> compute_cpus;
    for (std::size_t thread = 0; thread < placement.compute_cpus.size(); ++thread) {
      const int cpu = placement.compute_cpus[thread];
      EXPECT_TRUE(compute_cpus.insert(cpu).second) << "CPU " << cpu << " for two threads";
      compute_cores.insert(core_of.at(cpu));
      const CpuSet& mask = placement.compute_masks[thread];
      EXPECT_TRUE(std::binary_search(mask.begin(), mask.end(), cpu));
    }
    if (request.threads == 0) {
      EXPECT_EQ(compute_cores.size(), compute_cpus.size()) << "two threads on one core";
    }
    const auto expect_own = [&](const CpuSet& cpus) {
      for (const int cpu : cpus) {
        EXPECT_TRUE(std::binary_search(usable[rank].begin(), usable[rank].end(), cpu)) << "CPU " << cpu << " is not allowed";
        const auto [held, is_new] = owner.try_emplace(core_of.at(cpu), rank);
        EXPECT_TRUE(is_new || held->second == rank) << "core " << core_of.at(cpu) << " for two ranks";
      }
    };
    expect_own(placement.compute_cpus);
    expect_own(placement.comm_cpus);
    expect_own(placement.loader_cpus);
    for (const CpuSet& mask : placement.compute_masks) expect_own(mask);
    if (placement.has_comm_core) {
      std::set<int> comm_cores;
      for (const int cpu : placement.comm_cpus) comm_cores.insert(core_of.at(cpu));
      for (const int core : comm_cores) EXPECT_FALSE(compute_cores.contains(core)) << "comm core " << core << " also computes";
      for (const int cpu : placement.loader_cpus) EXPECT_FALSE(comm_cores.contains(core_of.at(cpu)));
      for (const CpuSet& mask : placement.compute_masks) {
        for (const int cpu : mask) EXPECT_FALSE(comm_cores.contains(core_of.at(cpu)));
      }
    }
  }
}

TEST(Placement, KeepsItsInvariantsOnEveryMachineForEveryRequest) {
  for (const char* description : {kTwoSockets, kTwoSocketsSmt, kNps4, kOneCore, kTwoCores, "package:1 numa:1 core:20 pu:4"}) {
    const NodeTopology machine = read_synthetic(description);
    for (const int ranks : {1, 2, 3, 4, 5, 7, 8, 16, 50}) {
      for (const int threads : {0, 1, 3, 8, 24, 48, 200}) {
        for (const int comm_cores : {-1, 0, 1, 2}) {
          for (const BindPolicy bind : {BindPolicy::automatic, BindPolicy::numa, BindPolicy::socket, BindPolicy::none}) {
            const PlacementRequest request{
                .threads = threads, .comm_cores = comm_cores, .bind = bind, .ranks = ranks, .machines = 2};
            SCOPED_TRACE(std::string(description) + ", ranks " + std::to_string(ranks) + ", threads " +
                         std::to_string(threads) + ", comm cores " + std::to_string(comm_cores));
            const auto usable = same_for_all(machine, ranks);
            const auto plan = plan_placement(machine, usable, request);
            ASSERT_EQ(plan.size(), static_cast<std::size_t>(ranks));
            expect_invariants(machine, usable, plan, request);
            for (const RankPlacement& rank : plan) {
              EXPECT_TRUE(threads == 0 || rank.placement.threads == threads);  // what was asked is done
            }
          }
        }
      }
    }
  }
}

TEST(Placement, OneRankComputesOnEveryCoreAndReservesNone) {
  const Placement placement = plan_all(kTwoSockets, 1)[0].placement;

  EXPECT_EQ(placement.threads, 48);
  EXPECT_EQ(cpu_list(placement.compute_cpus), "0-47");
  EXPECT_FALSE(placement.has_comm_core);
}

TEST(Placement, TwoRanksOfTwentyFourCoresReserveOneEachBetweenMachines) {
  const auto plan = plan_all(kTwoSockets, 2, {.machines = 2});

  EXPECT_EQ(plan[0].placement.threads, 23);
  EXPECT_EQ(cpu_list(plan[0].placement.compute_cpus), "0-22");
  EXPECT_EQ(cpu_list(plan[0].placement.comm_cpus), "23");
  EXPECT_TRUE(plan[0].placement.has_comm_core);
  EXPECT_EQ(cpu_list(plan[1].placement.compute_cpus), "24-46");
  EXPECT_EQ(cpu_list(plan[1].placement.comm_cpus), "47");
  EXPECT_EQ(plan[1].numa_domains, (std::vector<int>{1}));
  EXPECT_EQ(warnings_of(plan), "");
}

TEST(Placement, RanksOfOneMachineComputeOnAllOfTheirCores) {
  for (const RankPlacement& rank : plan_all(kTwoSockets, 2)) {
    EXPECT_EQ(rank.placement.threads, 24);
    EXPECT_FALSE(rank.placement.has_comm_core);
  }
}

TEST(Placement, ARankWithFewCoresKeepsThemAllForComputing) {
  const auto plan = plan_all(kNps4, 4, {.machines = 2});  // 8 cores each

  for (const RankPlacement& rank : plan) {
    EXPECT_EQ(rank.placement.threads, 8);
    EXPECT_FALSE(rank.placement.has_comm_core);
  }
}

TEST(Placement, TheReservedCoreBeginsAtSixteenCores) {
  EXPECT_TRUE(plan_all("package:1 numa:2 core:16 pu:1", 2, {.machines = 2})[0].placement.has_comm_core);
  EXPECT_FALSE(plan_all("package:1 numa:2 core:15 pu:1", 2, {.machines = 2})[0].placement.has_comm_core);
}

TEST(Placement, SiblingsLoadWhileFirstHardwareThreadsCompute) {
  const auto plan = plan_all(kTwoSocketsSmt, 2, {.machines = 2});  // core c has CPUs 2c and 2c+1

  const Placement& placement = plan[0].placement;
  EXPECT_EQ(placement.threads, 23);
  for (const int cpu : placement.compute_cpus) EXPECT_EQ(cpu % 2, 0);
  for (const int cpu : placement.loader_cpus) EXPECT_EQ(cpu % 2, 1);
  EXPECT_EQ(placement.loader_cpus.size(), 23u);  // not the comm core's sibling
  EXPECT_EQ(placement.loader_workers, 6);        // a quarter of 24
}

TEST(Placement, AsManyThreadsAsWereAskedForOnSiblingsWhenCoresRunOut) {
  const auto plan = plan_all(kTwoSocketsSmt, 2, {.threads = 48});

  EXPECT_EQ(plan[0].placement.threads, 48);
  EXPECT_EQ(cpu_list([&] {
              CpuSet cpus = plan[0].placement.compute_cpus;
              std::sort(cpus.begin(), cpus.end());
              return cpus;
            }()),
            "0-47");
  EXPECT_NE(warnings_of(plan).find("found 24 cores"), std::string::npos);
}

TEST(Placement, FewerThreadsThanCoresLeaveACoreToTheExchange) {
  const auto plan = plan_all(kTwoCores, 1, {.threads = 1});
  EXPECT_FALSE(plan[0].placement.has_comm_core);  // one rank exchanges nothing

  const auto pair = plan_all("package:1 numa:1 core:8 pu:1", 2, {.threads = 2});  // 4 cores each, 2 idle
  EXPECT_TRUE(pair[0].placement.has_comm_core);
  EXPECT_EQ(cpu_list(pair[0].placement.compute_cpus), "0-1");
  EXPECT_EQ(cpu_list(pair[0].placement.comm_cpus), "3");
  EXPECT_EQ(cpu_list(pair[0].placement.loader_cpus), "2");
}

TEST(Placement, OneIdleCoreServesCommAndLoaderTogether) {
  const auto plan = plan_all("package:1 numa:1 core:6 pu:1", 2, {.threads = 2});  // 3 cores each, 1 idle

  EXPECT_FALSE(plan[0].placement.has_comm_core);
  EXPECT_EQ(cpu_list(plan[0].placement.comm_cpus), "2");
  EXPECT_EQ(cpu_list(plan[0].placement.loader_cpus), "2");
}

TEST(Placement, TheOptionOverridesTheReservedCore) {
  EXPECT_EQ(plan_all(kTwoSockets, 2, {.comm_cores = 0})[0].placement.threads, 24);
  EXPECT_EQ(plan_all(kTwoSockets, 2, {.comm_cores = 2})[0].placement.threads, 22);
  EXPECT_EQ(plan_all(kTwoSockets, 2, {.comm_cores = 2})[0].placement.comm_cpus.size(), 2u);
  EXPECT_TRUE(plan_all("package:1 numa:1 core:4 pu:1", 2, {.comm_cores = 1})[0].placement.has_comm_core);
}

TEST(Placement, AtLeastOneCoreComputesHoweverManyAreToBeReserved) {
  const auto plan = plan_all(kTwoCores, 2, {.comm_cores = 1});

  EXPECT_EQ(plan[0].placement.threads, 1);
  EXPECT_FALSE(plan[0].placement.has_comm_core);
  EXPECT_NE(warnings_of(plan).find("--comm-cores"), std::string::npos);
}

TEST(Placement, RanksThatDivideCoresComputeEquallyWide) {
  const auto plan = plan_all("package:1 numa:1 core:7 pu:1", 2);  // 4 + 3

  EXPECT_EQ(plan[0].placement.threads, 3);
  EXPECT_EQ(plan[1].placement.threads, 3);
  EXPECT_EQ(plan[0].placement.loader_cpus.size() + plan[1].placement.loader_cpus.size(), 1u + 3u);  // the odd core loads
}

TEST(Placement, MoreRanksThanCoresRunOneUnboundThreadEachAndAreTold) {
  const auto plan = plan_all(kTwoCores, 3);

  for (const RankPlacement& rank : plan) {
    EXPECT_EQ(rank.placement.threads, 1);
    EXPECT_TRUE(rank.placement.compute_cpus.empty());
    EXPECT_TRUE(rank.is_crowded);
  }
  EXPECT_NE(warnings_of(plan).find("at most 2 ranks"), std::string::npos) << warnings_of(plan);
  EXPECT_EQ(plan[1].warnings.size() + plan[2].warnings.size(), 0u);  // said once
}

TEST(Placement, OneCoreIsEnoughForOneRank) {
  const auto plan = plan_all(kOneCore, 1);

  EXPECT_EQ(plan[0].placement.threads, 1);
  EXPECT_EQ(cpu_list(plan[0].placement.compute_cpus), "0");
  EXPECT_EQ(cpu_list(plan[0].placement.loader_cpus), "0");
}

TEST(Placement, StaysInsideWhatTheCgroupAllows) {
  NodeTopology machine = read_synthetic(kTwoSockets);
  machine.allowed = parse_cpu_list("4-7,30-33");
  const auto usable = same_for_all(machine, 2);

  const auto plan = plan_placement(machine, usable, {.ranks = 2});

  expect_invariants(machine, usable, plan, {});
  EXPECT_EQ(cpu_list(plan[0].placement.compute_cpus), "4-7");
  EXPECT_EQ(cpu_list(plan[1].placement.compute_cpus), "30-33");
  EXPECT_EQ(warnings_of(plan), "");
}

TEST(Placement, RespectsBindingsOfTheLauncherThatAreDisjoint) {
  const NodeTopology machine = read_synthetic(kTwoSockets);
  const std::vector<CpuSet> usable{parse_cpu_list("24-47"), parse_cpu_list("0-23")};

  const auto plan = plan_placement(machine, usable, {.ranks = 2, .launcher = Launcher::mpirun});

  EXPECT_EQ(cpu_list(plan[0].placement.compute_cpus), "24-47");
  EXPECT_EQ(cpu_list(plan[1].placement.compute_cpus), "0-23");
  EXPECT_EQ(warnings_of(plan), "");
}

TEST(Placement, LeavesTwoRanksOnOneCoreToTheScheduler) {
  const NodeTopology machine = read_synthetic(kTwoSockets);

  const auto plan = plan_placement(machine, {{0}, {0}}, {.ranks = 2, .launcher = Launcher::mpirun});

  EXPECT_EQ(plan[0].placement.threads, 1);
  EXPECT_TRUE(plan[0].placement.compute_cpus.empty());
  EXPECT_EQ(warnings_of(plan), "");  // find_shared_cores says it
}

TEST(Placement, AsksTheLauncherForNoMoreThanItHasToGive) {
  const NodeTopology machine = read_synthetic(kTwoSockets);
  const PlacementRequest of_two_cores{.ranks = 2, .launcher = Launcher::mpirun, .offered = {{4, 5}, {4, 5}}};
  const PlacementRequest of_one_core{.ranks = 2, .launcher = Launcher::mpirun, .offered = {{4}, {4}}};

  EXPECT_EQ(warnings_of(plan_placement(machine, {{4}, {5}}, of_two_cores)), "");  // no others that stay idle
  const std::string shared = warnings_of(plan_placement(machine, {{4}, {4}}, of_one_core));
  EXPECT_NE(shared.find("found 1 core"), std::string::npos) << shared;
  EXPECT_NE(shared.find("at most 1 rank on this node"), std::string::npos) << shared;
}

TEST(Placement, SaysHowToMendOneCoreForManyThreads) {
  const NodeTopology machine = read_synthetic(kTwoSockets);

  // What mpirun does with two ranks unless told otherwise.
  const auto plan = plan_placement(machine, {{0}, {1}}, {.threads = 24, .ranks = 2, .launcher = Launcher::mpirun});

  EXPECT_EQ(plan[0].placement.threads, 24);
  EXPECT_TRUE(plan[0].placement.compute_cpus.empty());
  EXPECT_NE(plan[1].warnings.at(0).find("mpirun --bind-to none"), std::string::npos) << warnings_of(plan);
}

TEST(Placement, SaysThatMostCoresStayIdleUnderTheLaunchersDefault) {
  const NodeTopology machine = read_synthetic(kTwoSockets);

  const auto plan = plan_placement(machine, {{0}, {1}}, {.ranks = 2, .launcher = Launcher::mpirun});
  EXPECT_NE(warnings_of(plan).find("the others stay idle"), std::string::npos);
  EXPECT_NE(warnings_of(plan).find("--bind-to none"), std::string::npos);

  const auto own_choice = plan_placement(machine, {parse_cpu_list("0-3")}, {.ranks = 1});  // taskset
  EXPECT_EQ(warnings_of(own_choice), "");
}

TEST(Placement, SpeaksSrunsLanguageUnderSrun) {
  const NodeTopology machine = read_synthetic(kTwoSockets);

  const auto plan = plan_placement(machine, {{0}, {1}}, {.ranks = 2, .launcher = Launcher::srun});

  EXPECT_NE(warnings_of(plan).find("srun --cpu-bind=none"), std::string::npos);
  EXPECT_EQ(warnings_of(plan).find("mpirun"), std::string::npos);
}

TEST(Placement, SaysThatUnequalBindingsMakeTheSlowestRankThePace) {
  const NodeTopology machine = read_synthetic(kTwoSockets);

  const auto plan = plan_placement(machine, {parse_cpu_list("0-3"), parse_cpu_list("4-47")}, {.ranks = 2});

  EXPECT_NE(warnings_of(plan).find("slowest rank"), std::string::npos);
}

TEST(Placement, AQuotaLimitsTheThreadsOfAllRanksTogether) {
  NodeTopology machine = read_synthetic(kTwoSockets);
  machine.cpu_quota = 8.0;
  const auto usable = same_for_all(machine, 2);

  const auto plan = plan_placement(machine, usable, {.ranks = 2});

  EXPECT_EQ(plan[0].placement.threads, 4);
  EXPECT_EQ(plan[1].placement.threads, 4);
  EXPECT_EQ(plan[1].numa_domains, (std::vector<int>{1}));
  EXPECT_NE(warnings_of(plan).find("cgroup"), std::string::npos);
  expect_invariants(machine, usable, plan, {});
}

TEST(Placement, SaysThatAQuotaLeavesNoCpuForEachRank) {
  for (const auto& [quota, most, text] :
       {std::tuple(1.0, "at most 1 rank here", "grants 1 CPU seconds a second to 2 ranks"),
        std::tuple(1.5, "at most 1 rank here", "grants 1.5 CPU"), std::tuple(0.5, "at most 1 rank here", "grants 0.5 CPU")}) {
    NodeTopology machine = read_synthetic(kTwoCores);
    machine.cpu_quota = quota;

    const std::string warnings = warnings_of(plan_placement(machine, same_for_all(machine, 2), {.ranks = 2}));

    EXPECT_NE(warnings.find(most), std::string::npos) << quota << ": " << warnings;
    EXPECT_NE(warnings.find(text), std::string::npos) << quota << ": " << warnings;
  }
}

TEST(Placement, AQuotaOfACpuForEachRankIsEnough) {
  NodeTopology machine = read_synthetic(kTwoCores);
  machine.cpu_quota = 2.0;

  EXPECT_EQ(warnings_of(plan_placement(machine, same_for_all(machine, 2), {.ranks = 2})), "");
}

TEST(Placement, AQuotaBelowTheCoresIsWhatRanksAreCountedBy) {
  NodeTopology machine = read_synthetic(kTwoSockets);
  machine.cpu_quota = 3.5;

  const std::string warnings = warnings_of(plan_placement(machine, same_for_all(machine, 64), {.ranks = 64}));

  EXPECT_NE(warnings.find("at most 3 ranks here"), std::string::npos) << warnings;
  EXPECT_EQ(warnings.find("at most 48 ranks"), std::string::npos) << warnings;
}

TEST(Placement, OneRankWithLessThanACpuIsTold) {
  NodeTopology machine = read_synthetic(kOneCore);
  machine.cpu_quota = 0.25;

  const std::string warnings = warnings_of(plan_placement(machine, same_for_all(machine, 1), {}));

  EXPECT_NE(warnings.find("0.25 CPU"), std::string::npos) << warnings;
  EXPECT_EQ(warnings.find("at most"), std::string::npos) << warnings;
}

// Containers of one machine, a rank in each: what one is granted is not the other's.
TEST(Placement, RanksInDifferentGroupsDoNotShareAQuota) {
  NodeTopology machine = read_synthetic(kTwoSockets);
  machine.cpu_quota = 4.0;
  const auto usable = same_for_all(machine, 2);

  const auto apart = plan_placement(machine, usable, {.ranks = 2, .cpu_limits = {{{4.0, "a"}}, {{4.0, "b"}}}});
  const auto below_one =
      plan_placement(machine, usable, {.ranks = 2, .cpu_limits = {{{4.0, "a"}, {6.0, "both"}}, {{4.0, "b"}, {6.0, "both"}}}});

  EXPECT_EQ(apart[0].placement.threads, 4);
  EXPECT_EQ(apart[1].placement.threads, 4);
  EXPECT_EQ(below_one[0].placement.threads, 3) << "the group around both grants less";
}

TEST(Placement, NamesTheVariableThatAsksForTooManyThreads) {
  const std::string by_variable = warnings_of(plan_all(kTwoCores, 1, {.threads = 8, .threads_by = "OMP_NUM_THREADS=8"}));
  const std::string by_option = warnings_of(plan_all(kTwoCores, 1, {.threads = 8}));

  EXPECT_NE(by_variable.find("OMP_NUM_THREADS=8 in the environment"), std::string::npos) << by_variable;
  EXPECT_NE(by_variable.find("unset OMP_NUM_THREADS, or --threads 2"), std::string::npos) << by_variable;
  EXPECT_EQ(by_option.find("OMP_NUM_THREADS"), std::string::npos) << by_option;
}

TEST(Placement, GivesNoMoreThreadsThanTheRunTimeHas) {
  const auto plan = plan_all(kTwoSockets, 2, {.most_threads = 5});

  EXPECT_EQ(plan[0].placement.threads, 5);
  EXPECT_EQ(plan[0].usual_threads, 24);
  EXPECT_TRUE(plan[0].is_thread_limited);
  EXPECT_FALSE(plan_all(kTwoCores, 2, {.most_threads = 5})[0].is_thread_limited);
}

TEST(Placement, BindingToADomainLetsThreadsMoveInside) {
  const auto plan = plan_all(kTwoSockets, 1, {.bind = BindPolicy::numa});

  EXPECT_EQ(cpu_list(plan[0].placement.compute_masks.front()), "0-23");
  EXPECT_EQ(cpu_list(plan[0].placement.compute_masks.back()), "24-47");
  EXPECT_EQ(cpu_list(plan_all(kNps4, 1, {.bind = BindPolicy::socket})[0].placement.compute_masks.back()),
            cpu_list(plan_all(kNps4, 1, {.bind = BindPolicy::socket})[0].placement.compute_masks.front()));
  EXPECT_EQ(cpu_list(plan_all(kTwoSockets, 1, {.bind = BindPolicy::core})[0].placement.compute_masks.back()), "47");
}

TEST(Placement, NothingIsBoundWhenThatIsAsked) {
  const auto plan = plan_all(kTwoSockets, 2, {.bind = BindPolicy::none});

  EXPECT_EQ(plan[0].placement.threads, 24);
  EXPECT_TRUE(plan[0].placement.compute_cpus.empty());
  EXPECT_NE(plan[0].placement.summary.find("not bound"), std::string::npos);
}

TEST(Placement, TheNumberOfLoaderThreadsCanBeGiven) {
  EXPECT_EQ(plan_all(kTwoSockets, 2, {.workers = 3})[0].placement.loader_workers, 3);
  EXPECT_EQ(plan_all(kTwoSockets, 1)[0].placement.loader_workers, 8);
  EXPECT_EQ(plan_all(kTwoCores, 1)[0].placement.loader_workers, 1);
}

TEST(BindPolicies, AreReadByName) {
  EXPECT_EQ(parse_bind_policy("auto"), BindPolicy::automatic);
  EXPECT_EQ(parse_bind_policy("numa"), BindPolicy::numa);
  EXPECT_EQ(parse_bind_policy("socket"), BindPolicy::socket);
  EXPECT_EQ(parse_bind_policy("core"), BindPolicy::core);
  EXPECT_EQ(parse_bind_policy("none"), BindPolicy::none);
  EXPECT_THROW(parse_bind_policy("tight"), ConfigError);
}

}  // namespace
}  // namespace dtrain
