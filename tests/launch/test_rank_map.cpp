// The launcher's word and the printed map. Gathering over several ranks is tested with the program (test_program).
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>

#include "launch/rank_map.hpp"
#include "trainer/text_table.hpp"

namespace dtrain {
namespace {

/// Sets the launchers' variables for one test and puts them back.
class LauncherEnvironment : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : kNames) {
      const char* const value = std::getenv(name);
      before_.emplace_back(name, value == nullptr ? "" : value);
      unsetenv(name);
    }
  }
  void TearDown() override {
    for (const auto& [name, value] : before_) {
      if (value.empty()) {
        unsetenv(name.c_str());
      } else {
        setenv(name.c_str(), value.c_str(), 1);
      }
    }
  }
  static constexpr std::array kNames{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMI_SIZE", "PMI_RANK",
                                     "SLURM_STEP_NUM_TASKS", "SLURM_PROCID",         "PMIX_RANK"};
  std::vector<std::pair<std::string, std::string>> before_;
};

TEST_F(LauncherEnvironment, WithoutALauncherThereIsOneProcess) {
  const LaunchedAs launched = read_launcher_environment();

  EXPECT_EQ(launched.rank, 0);
  EXPECT_EQ(launched.size, 1);
  EXPECT_EQ(launched.launcher, Launcher::none);
}

TEST_F(LauncherEnvironment, MpirunTellsRankAndSize) {
  setenv("OMPI_COMM_WORLD_SIZE", "8", 1);
  setenv("OMPI_COMM_WORLD_RANK", "5", 1);
  setenv("PMIX_RANK", "5", 1);

  const LaunchedAs launched = read_launcher_environment();

  EXPECT_EQ(launched.rank, 5);
  EXPECT_EQ(launched.size, 8);
  EXPECT_EQ(launched.launcher, Launcher::mpirun);
}

TEST_F(LauncherEnvironment, SrunTellsRankAndSize) {
  setenv("SLURM_STEP_NUM_TASKS", "4", 1);
  setenv("SLURM_PROCID", "3", 1);

  const LaunchedAs launched = read_launcher_environment();

  EXPECT_EQ(launched.rank, 3);
  EXPECT_EQ(launched.size, 4);
  EXPECT_EQ(launched.launcher, Launcher::srun);
}

TEST_F(LauncherEnvironment, ABatchScriptIsNotARank) {
  setenv("SLURM_PROCID", "0", 1);

  EXPECT_EQ(read_launcher_environment().launcher, Launcher::none);
}

TEST(Map, ShowsEveryRankOfTheMachine) {
  MachinePlan plan{.host = "node7", .topology = read_synthetic("package:2 numa:1 core:24 pu:2"), .ranks = {4, 5}};
  plan.places = plan_placement(plan.topology, {plan.topology.allowed, plan.topology.allowed}, {.ranks = 16, .machines = 8});

  const std::string text = map_text(plan);

  EXPECT_NE(text.find("node7: 2 packages, 2 NUMA domains, 48 cores, 96 CPUs (allowed: 0-95)"), std::string::npos) << text;
  EXPECT_NE(text.find("\n  4     0-47 "), std::string::npos) << text;
  EXPECT_NE(text.find("\n  5     48-95 "), std::string::npos) << text;
  EXPECT_NE(text.find(" 46 alone "), std::string::npos) << text;  // the comm core of rank 4
}

TEST(Map, SaysWhatIsNotBound) {
  MachinePlan plan{.host = "small", .topology = read_synthetic("package:1 numa:1 core:1 pu:1"), .ranks = {0, 1}};
  plan.places = plan_placement(plan.topology, {plan.topology.allowed, plan.topology.allowed}, {.ranks = 2});

  EXPECT_NE(map_text(plan).find("not bound, shared"), std::string::npos);
}

TEST(TextTable, AlignsColumnsByWhatATerminalShows) {
  EXPECT_EQ(table_text({{"a", "bb", "c"}, {"longer", "", "x"}, {"ü", "3", ""}}),
            "  a       bb  c\n"
            "  longer      x\n"
            "  ü       3\n");
}

}  // namespace
}  // namespace dtrain
