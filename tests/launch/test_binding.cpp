// Binding on this machine's own CPUs.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "dtrain/error.hpp"
#include "launch/binding.hpp"
#include "launch/topology.hpp"
#include "tests/without_threads.hpp"

namespace dtrain {
namespace {

/// Runs on a thread of its own, so that bindings do not outlive a test.
template <typename Work>
void on_own_thread(Work work) {
  std::thread(work).join();
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += text + "\n";
  return all;
}

TEST(Binding, MovesTheCallingThreadAlone) {
  const CpuSet usable = usable_cpus();
  const std::vector<int> before = cpus_of_this_thread();

  on_own_thread([&] {
    EXPECT_TRUE(bind_this_thread({usable.back()}));
    EXPECT_EQ(cpus_of_this_thread(), (std::vector<int>{usable.back()}));
  });

  EXPECT_EQ(cpus_of_this_thread(), before);
}

TEST(Binding, KnowsWhatItCouldBeWhateverItIs) {
  const std::vector<int> bindable = bindable_cpus();
  const std::vector<int> before = cpus_of_this_thread();

  on_own_thread([&] {
    ASSERT_TRUE(bind_this_thread({bindable.front()}));
    EXPECT_EQ(bindable_cpus(), bindable);
    EXPECT_EQ(cpus_of_this_thread(), (std::vector<int>{bindable.front()}));
  });

  EXPECT_TRUE(std::includes(bindable.begin(), bindable.end(), before.begin(), before.end()));
  EXPECT_EQ(cpus_of_this_thread(), before);
}

TEST(Binding, RefusesCpusThatDoNotExist) {
  on_own_thread([] { EXPECT_FALSE(bind_this_thread({100000})); });
}

TEST(Binding, EveryComputeThreadRunsOnItsMask) {
  const CpuSet usable = usable_cpus();
  on_own_thread([&] {
    Placement placement{.threads = static_cast<int>(usable.size()),
                        .compute_cpus = usable,
                        .comm_cpus = {usable.back()},
                        .loader_cpus = usable};
    for (const int cpu : usable) placement.compute_masks.push_back({cpu});
    unsetenv("OMP_PROC_BIND");
    unsetenv("OMP_PLACES");

    EXPECT_EQ(joined(carry_out(placement)), "");

    EXPECT_EQ(omp_get_max_threads(), placement.threads);
    std::vector<std::vector<int>> seen(usable.size());
#pragma omp parallel
    seen[static_cast<std::size_t>(omp_get_thread_num())] = cpus_of_this_thread();
    EXPECT_EQ(seen, placement.compute_masks);
  });
}

TEST(Binding, CommAndLoaderThreadsLeaveTheCpuOfTheThreadThatStartedThem) {
  const CpuSet usable = usable_cpus();
  on_own_thread([&] {
    Placement placement{.threads = 1,
                        .compute_cpus = {usable.front()},
                        .compute_masks = {{usable.front()}},
                        .comm_cpus = {usable.back()},
                        .loader_cpus = usable};
    carry_out(placement);
    ASSERT_EQ(cpus_of_this_thread(), (std::vector<int>{usable.front()}));

    on_own_thread([&] {
      placement.bind_comm_thread();
      EXPECT_EQ(cpus_of_this_thread(), (std::vector<int>{usable.back()}));
    });
    on_own_thread([&] {
      placement.bind_loader_thread(0);
      EXPECT_EQ(cpus_of_this_thread(), usable);
    });
  });
}

TEST(Binding, WithoutCpusNothingIsBoundAndTheCallbacksDoNothing) {
  const std::vector<int> before = cpus_of_this_thread();
  Placement placement{.threads = 3};

  EXPECT_EQ(joined(carry_out(placement)), "");

  EXPECT_EQ(omp_get_max_threads(), 3);
  placement.bind_comm_thread();
  placement.bind_loader_thread(5);
  EXPECT_EQ(cpus_of_this_thread(), before);
}

TEST(Binding, SaysWhichThreadCouldNotBeBound) {
  on_own_thread([] {
    Placement placement{
        .threads = 1, .compute_cpus = {100000}, .compute_masks = {{100000}}, .comm_cpus = {0}, .loader_cpus = {0}};

    const std::string remarks = joined(carry_out(placement));

    EXPECT_NE(remarks.find("compute thread 0"), std::string::npos) << remarks;
    EXPECT_NE(remarks.find("100000"), std::string::npos);
    EXPECT_NE(remarks.find("--bind none"), std::string::npos);
  });
}

TEST(Binding, SaysWhereTheSystemGivesNoMoreThreads) {
  EXPECT_EXIT(
      {
        forbid_more_threads();
        Placement placement{.threads = 3};
        try {
          (void)carry_out(placement);
        } catch (const ConfigError& error) {
          std::fprintf(stderr, "%s\n", error.what());
          _exit(7);
        }
        _exit(0);
      },
      testing::ExitedWithCode(7),
      "starting compute threads: expected 3, found 1, then Resource temporarily unavailable.*ulimit -u");
}

}  // namespace
}  // namespace dtrain
