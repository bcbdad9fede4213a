// Calls that do not come back from MPI: who is said to be stopped, and when; and how a rank is found that has never said a
// word.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "collectives/call_watch.hpp"
#include "collectives/communicator.hpp"
#include "collectives/waiting.hpp"

namespace dtrain {
namespace {

void pause_for(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

/// What a watch says of a call that takes long, and when; empty: nothing within limit_s.
struct Words {
  std::string text;
  double after_s = 0.0;
};

Words words_of_stuck_call(double timeout_s, double patience, std::vector<StoppedRank> stopped, double limit_s) {
  std::promise<Words> said;
  std::future<Words> words = said.get_future();
  const double begin_s = monotonic_s();
  CallWatch watch(
      timeout_s, [&](const std::string& text) { said.set_value({.text = text, .after_s = monotonic_s() - begin_s}); },
      [stopped] { return stopped; });
  const CallWatch::Scope scope(&watch, "calling MPI_Comm_dup", patience);
  return words.wait_for(std::chrono::duration<double>(limit_s)) == std::future_status::ready ? words.get() : Words{};
}

TEST(CallWatch, NamesStoppedRanksWhenTheTimeIsUp) {
  const Words words = words_of_stuck_call(0.3, 5.0, {{.rank = 1, .pid = 77}, {.rank = 4, .pid = 78}}, 5.0);

  EXPECT_EQ(words.text.rfind("calling MPI_Comm_dup on " + host_name() + ": expected all ranks within 0.3 s, found after 0.", 0),
            0U)
      << words.text;
  EXPECT_NE(words.text.find(" no answer from rank 1 on " + host_name() + " (process 77 is stopped), rank 4 on " + host_name() +
                            " (process 78 is stopped)"),
            std::string::npos)
      << words.text;
  EXPECT_GE(words.after_s, 0.3);
  EXPECT_LT(words.after_s, 1.5);
}

TEST(CallWatch, LetsThoseSpeakFirstWhoSeeTheStoppedRank) {
  const Words words = words_of_stuck_call(0.3, 2.0, {}, 10.0);

  EXPECT_NE(words.text.find("not all of them, and no rank of this host that is stopped"), std::string::npos) << words.text;
  EXPECT_GE(words.after_s, 2 * 0.3 + CallWatch::kOthersSpeak_s);
}

TEST(CallWatch, SaysNothingOfCallsThatEndInTimeHoweverMany) {
  int said = 0;
  {
    CallWatch watch(
        0.4, [&](const std::string&) { ++said; }, [] { return std::vector<StoppedRank>{{.rank = 1, .pid = 77}}; });
    for (int call = 0; call < 6; ++call) {
      const CallWatch::Scope scope(&watch, "calling MPI_Comm_dup");
      pause_for(0.1);
    }
    pause_for(0.6);
    for (int call = 0; call < 1000; ++call) const CallWatch::Scope scope(&watch, "calling MPI_Comm_free");
    const CallWatch::Scope nobody(nullptr, "calling MPI_Comm_free");
  }
  EXPECT_EQ(said, 0);
}

/// A process that was started with these variables, and sleeps.
class Started {
 public:
  explicit Started(std::vector<std::string> variables) {
    std::vector<char*> environment;
    for (std::string& variable : variables) environment.push_back(variable.data());
    environment.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      execle("/bin/sleep", "sleep", "1000", nullptr, environment.data());
      _exit(1);
    }
  }
  Started(const Started&) = delete;
  ~Started() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  void stop() const {
    pause_for(0.2);  // until it is /bin/sleep
    kill(pid_, SIGSTOP);
    siginfo_t state{};
    waitid(P_PID, static_cast<id_t>(pid_), &state, WSTOPPED | WNOWAIT);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

TEST(StoppedRanks, AreThoseOfTheSameJobThatAreStopped) {
  const std::string job = "job-of-test-" + std::to_string(getpid());
  const std::map<std::string, std::string> own{
      {"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_RANK", "0"}, {"PMIX_NAMESPACE", job}};
  const Environment environment = [&](const char* name) -> const char* {
    const auto found = own.find(name);
    return found == own.end() ? nullptr : found->second.c_str();
  };
  const Started first({"PMIX_NAMESPACE=" + job, "OMPI_COMM_WORLD_RANK=3"}),
      second({"OMPI_COMM_WORLD_RANK=2", "PMIX_NAMESPACE=" + job});
  const Started runs({"PMIX_NAMESPACE=" + job, "OMPI_COMM_WORLD_RANK=1"});
  const Started of_another({"PMIX_NAMESPACE=" + job + "0", "OMPI_COMM_WORLD_RANK=1"});
  const Started without({"PMIX_NAMESPACE=" + job, "NOT_OMPI_COMM_WORLD_RANK=1"});
  for (const Started* process : {&first, &second, &of_another, &without}) process->stop();

  EXPECT_EQ(find_stopped_ranks(environment),
            (std::vector<StoppedRank>{{.rank = 2, .pid = second.pid()}, {.rank = 3, .pid = first.pid()}}));
  EXPECT_TRUE(find_stopped_ranks([](const char*) -> const char* { return nullptr; }).empty()) << "no launcher, no ranks";
}

}  // namespace
}  // namespace dtrain
