// What is said of OpenMP's variables, on machines that nobody has at hand.
#include <gtest/gtest.h>

#include "dtrain/error.hpp"
#include "launch/openmp_environment.hpp"
#include "tests/launch/machines.hpp"

namespace dtrain {
namespace {

int threads_of(const std::string& text) { return threads_by_environment({.num_threads = text}); }

TEST(OpenMpEnvironment, ReadsTheNumberOfThreadsAsTheRunTimeDoes) {
  EXPECT_EQ(threads_of("8"), 8);
  EXPECT_EQ(threads_of("8,2"), 8);
  EXPECT_EQ(threads_of(" 2 "), 2);
  for (const char* none : {"", "0", "-3", "1.5", "many", "8x", "99999999999999999999", "100000"}) {
    EXPECT_EQ(threads_of(none), 0) << none;
  }
}

/// Warnings of the only rank on a machine of two sockets with 24 cores each.
std::string said_of(const OpenMpEnvironment& environment, bool threads_given = false,
                    const CpuSet& usable = parse_cpu_list("0-47")) {
  const NodeTopology machine = read_synthetic(kTwoSockets);
  const auto plan = plan_placement(machine, {usable},
                                   {.threads = threads_by_environment(environment), .most_threads = environment.thread_limit});
  std::string text;
  for (const std::string& warning : openmp_warnings(environment, plan.front(), threads_given, usable, machine.allowed)) {
    text += warning + "\n";
  }
  return text;
}

TEST(OpenMpEnvironment, ANumberBelowTheCoresIsNamedWithWhatItLeadsTo) {
  const std::string one = said_of({.num_threads = "1"});

  EXPECT_NE(one.find("OMP_NUM_THREADS=1 in the environment: 1 thread, 47 cores stay idle"), std::string::npos) << one;
  EXPECT_NE(one.find("unset OMP_NUM_THREADS, or --threads 48"), std::string::npos) << one;
  EXPECT_NE(said_of({.num_threads = "47"}).find("1 core stays idle"), std::string::npos);
}

TEST(OpenMpEnvironment, ANumberThatChangesNothingIsNotMentioned) {
  EXPECT_EQ(said_of({.num_threads = "48"}), "");
  EXPECT_EQ(said_of({}), "");
  EXPECT_EQ(said_of({.num_threads = "1"}, /*threads_given=*/true), "");
  EXPECT_EQ(said_of({.num_threads = "1"}, false, parse_cpu_list("5")), "") << "a rank of one core";
}

TEST(OpenMpEnvironment, ATextThatIsNoNumberIsNotFollowed) {
  const std::string text = said_of({.num_threads = "many"});

  EXPECT_NE(text.find("OMP_NUM_THREADS=many in the environment, which is none: 48 threads instead"), std::string::npos) << text;
}

TEST(OpenMpEnvironment, ALimitOfThreadsIsNamed) {
  const OpenMpEnvironment environment{.thread_limit = 4, .thread_limit_text = "OMP_THREAD_LIMIT=4"};
  const std::string text = said_of(environment);

  EXPECT_NE(text.find("OMP_THREAD_LIMIT=4 in the environment: 4 threads; try: unset OMP_THREAD_LIMIT"), std::string::npos)
      << text;
  EXPECT_EQ(said_of({.thread_limit = 48, .thread_limit_text = "OMP_THREAD_LIMIT=48"}), "");
  EXPECT_NO_THROW(require_within_thread_limit(environment, 4));
  EXPECT_NO_THROW(require_within_thread_limit({}, 4));
  EXPECT_THROW(require_within_thread_limit(environment, 5), ConfigError);
}

TEST(OpenMpEnvironment, LevelsThatForbidThreadsAreNotFollowed) {
  const std::string text = said_of({.active_levels = 0, .active_levels_text = "OMP_MAX_ACTIVE_LEVELS=0"});

  EXPECT_NE(text.find("unset OMP_MAX_ACTIVE_LEVELS"), std::string::npos) << text;
}

TEST(OpenMpEnvironment, BindingsAreOverriddenAndThatIsSaid) {
  const std::string text = said_of({.bindings = {"OMP_PROC_BIND=spread", "OMP_PLACES=cores"}});

  EXPECT_NE(text.find("OMP_PROC_BIND=spread OMP_PLACES=cores in the environment, which dtrain's own placement overrides"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("--bind none"), std::string::npos) << text;
}

TEST(OpenMpEnvironment, BindingsThatTakeCpusAwayAreNamedAsSuch) {
  for (const std::string binding : {"GOMP_CPU_AFFINITY=0", "OMP_PLACES={0}"}) {
    const std::string text = said_of({.bindings = {binding}}, false, parse_cpu_list("0"));

    EXPECT_NE(text.find(binding + " in the environment: CPU 0 alone, the others stay idle"), std::string::npos) << text;
    EXPECT_EQ(text.find("overrides"), std::string::npos) << "one warning";
  }
  // A launcher took them away, not the word.
  EXPECT_NE(said_of({.bindings = {"OMP_PLACES=cores"}}, false, parse_cpu_list("0-3")).find("overrides"), std::string::npos);
}

}  // namespace
}  // namespace dtrain
