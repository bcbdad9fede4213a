// Which launches MPI does not join, and what is advised; with real launchers in tests/end_to_end/test_starting.cpp.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "collectives/joining.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

using Variables = std::map<std::string, std::string>;

Environment environment_of(const Variables& variables) {
  return [&variables](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
}

const Variables kStep{{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "8"}};

/// An Open MPI in a directory of its own that has these components.
class OpenMpi : public testing::Test {
 protected:
  MpiLibrary with_components(const std::string& folder, const std::vector<std::string>& names) {
    fs::create_directories(root_ / "lib" / folder);
    for (const std::string& name : names) std::ofstream(root_ / "lib" / folder / name);
    return {.version = "Open MPI v4.1.4", .file = (root_ / "lib/libmpi.so.40").string(), .launcher = "/opt/bin/mpirun"};
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path root_ = fs::path(testing::TempDir()) / ("open_mpi_" + std::to_string(getpid()));
};

TEST_F(OpenMpi, WithoutPmiIsNotStartedBySrunUnlessThatHasPmix) {
  const MpiLibrary library = with_components("openmpi", {"mca_pmix_ext3x.so", "mca_pmix_isolated.so", "mca_btl_tcp.so"});
  Variables pmi2 = kStep;
  pmi2["PMI_FD"] = "11";
  pmi2["PMI_SIZE"] = "8";
  Variables pmix = kStep;
  pmix["PMIX_RANK"] = "1";

  for (const Variables& variables : {kStep, pmi2}) {
    const auto fault = find_unjoinable(environment_of(variables), library);
    ASSERT_TRUE(fault.has_value());
    EXPECT_NE(fault->expected.find("8 ranks, which srun"), std::string::npos) << fault->expected;
    EXPECT_NE(fault->remedy.find("srun --mpi=pmix"), std::string::npos) << fault->remedy;
    EXPECT_NE(fault->remedy.find("/opt/bin/mpirun"), std::string::npos) << fault->remedy;
  }
  EXPECT_FALSE(find_unjoinable(environment_of(pmix), library).has_value());
}

TEST_F(OpenMpi, IsFoundOutInDebiansDirectoriesToo) {
  const MpiLibrary library = with_components("openmpi/lib/openmpi3", {"mca_pmix_ext3x.so"});

  EXPECT_TRUE(find_unjoinable(environment_of(kStep), library).has_value());
}

TEST_F(OpenMpi, WithPmiOrWithComponentsOutOfSightIsGivenItsChance) {
  EXPECT_FALSE(find_unjoinable(environment_of(kStep), with_components("openmpi", {})).has_value());

  const MpiLibrary library = with_components("openmpi", {"mca_pmix_ext3x.so", "mca_pmix_s2.so"});
  EXPECT_FALSE(find_unjoinable(environment_of(kStep), library).has_value());
}

TEST_F(OpenMpi, IsNotRefusedUnderItsOwnMpirunNorInABatchScript) {
  const MpiLibrary library = with_components("openmpi", {"mca_pmix_ext3x.so"});
  Variables mpirun = kStep;
  mpirun["OMPI_COMM_WORLD_SIZE"] = "2";

  EXPECT_FALSE(find_unjoinable(environment_of(mpirun), library).has_value());
  EXPECT_FALSE(find_unjoinable(environment_of({}), library).has_value());
}

TEST(Alone, IsAFaultWhereALauncherStartedSeveral) {
  const MpiLibrary library{
      .version = "MPICH Version: 4.0.2", .file = "/usr/lib/libmpich.so.12", .launcher = "/usr/bin/mpirun.mpich"};
  const Variables several{{"OMPI_COMM_WORLD_SIZE", "4"}};
  const Variables one{{"OMPI_COMM_WORLD_SIZE", "1"}};

  const auto fault = find_alone(environment_of(several), library);

  ASSERT_TRUE(fault.has_value());
  EXPECT_NE(fault->expected.find("4 ranks, which mpirun (Open MPI) started (OMPI_COMM_WORLD_SIZE=4)"), std::string::npos);
  EXPECT_NE(fault->found.find("1 in MPICH Version: 4.0.2 (/usr/lib/libmpich.so.12)"), std::string::npos) << fault->found;
  EXPECT_NE(fault->remedy.find("/usr/bin/mpirun.mpich"), std::string::npos) << fault->remedy;
  EXPECT_FALSE(find_alone(environment_of(one), library).has_value());
  EXPECT_FALSE(find_alone(environment_of({}), library).has_value());
}

TEST(Alone, IsAFaultAlsoWhereTheRightMpirunIsNotFound) {
  const Variables several{{"PMI_SIZE", "4"}};

  const auto fault = find_alone(environment_of(several), {.version = "An MPI"});

  ASSERT_TRUE(fault.has_value());
  EXPECT_EQ(fault->remedy, "the mpirun of the MPI library that dtrain is linked with");
}

TEST(MpiLibraries, HaveTheirMpirunBesideThemOrUnderTheirNameFurtherUp) {
  const auto of = [](const char* version, const char* file) {
    return launcher_candidates({.version = version, .file = file, .launcher = {}});
  };
  const auto holds = [](const std::vector<std::string>& paths, const std::string& path) {
    return std::find(paths.begin(), paths.end(), path) != paths.end();
  };

  const auto debian = of("Open MPI v4.1.4", "/usr/lib/x86_64-linux-gnu/libmpi.so.40.30.4");
  EXPECT_TRUE(holds(debian, "/usr/bin/mpirun.openmpi"));
  EXPECT_LT(std::ranges::find(debian, "/usr/bin/mpirun.openmpi"), std::ranges::find(debian, "/usr/bin/mpirun"))
      << "plain mpirun may be another MPI's";
  EXPECT_TRUE(holds(of("MPICH Version: 4.0.2", "/usr/lib/x86_64-linux-gnu/libmpich.so.12.2.0"), "/usr/bin/mpirun.mpich"));
  EXPECT_TRUE(holds(of("Open MPI v4.1.5", "/usr/lib64/openmpi/lib/libmpi.so.40"), "/usr/lib64/openmpi/bin/mpirun"));
  EXPECT_TRUE(holds(of("Open MPI v5.0.1", "/opt/openmpi/lib/libmpi.so.40"), "/opt/openmpi/bin/mpirun"));
  EXPECT_TRUE(of("Open MPI v5.0.1", "").empty());
}

TEST(MpiLibraries, KnowTheMpirunThatStartsTheirRanks) {
  const MpiLibrary library = linked_mpi_library();

  ASSERT_FALSE(library.version.empty());
  ASSERT_TRUE(fs::exists(library.file)) << library.file;
  ASSERT_FALSE(library.launcher.empty()) << "no mpirun for " << library.version << " in " << library.file;
  FILE* const pipe = popen((library.launcher + " --version 2>&1").c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::array<char, 4096> text{};
  const std::size_t length = fread(text.data(), 1, text.size() - 1, pipe);
  pclose(pipe);
  const std::string number = library.version.substr(library.version.find_first_of("0123456789"));
  EXPECT_NE(std::string(text.data(), length).find(number), std::string::npos) << library.launcher << " is not of " << number;
}

}  // namespace
}  // namespace dtrain
