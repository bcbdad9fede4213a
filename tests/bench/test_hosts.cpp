// bench/hosts.sh: hosts made of namespaces, what crosses their links, how a run ends and that nothing stays behind. Where the
// machine or the user may not make namespaces, all of it is skipped.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <system_error>
#include <thread>

#include "tests/shell.hpp"

namespace {

using dtrain::shell;
using Outcome = dtrain::ShellOutcome;
namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr int kNotAllowed = 77;

Outcome hosts(const std::string& arguments, const std::string& before = "timeout 100") {
  return shell(before + " bash " HOSTS_SCRIPT " " + arguments);
}

/// A command of the program that star.cpp describes.
std::string star(const std::string& direction, int bytes, int peers, int exit_code) {
  return " -- " STAR " " + direction + " " + std::to_string(bytes) + " " + std::to_string(peers) + " " +
         std::to_string(exit_code);
}

/// The network namespaces that a text names, as the kernel does: net:[4026532324].
std::set<std::string> namespaces_in(const std::string& text) {
  const std::regex name(R"(net:\[\d+\])");
  return {std::sregex_token_iterator(text.begin(), text.end(), name), std::sregex_token_iterator()};
}

/// Those that some process of this machine is in.
std::set<std::string> namespaces_in_use() {
  std::set<std::string> used;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::error_code gone;
    used.insert(fs::read_symlink(entry.path() / "ns" / "net", gone).string());
  }
  return used;
}

/// Whether no process is in any of them within the ten seconds that the kernel may take to end the processes.
bool is_gone(const std::set<std::string>& namespaces) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    const std::set<std::string> used = namespaces_in_use();
    if (std::ranges::none_of(namespaces, [&](const std::string& one) { return used.contains(one); })) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return false;
}

class Hosts : public testing::Test {
 protected:
  void SetUp() override {
    static const Outcome attempt = hosts("--no-mpi -- true");
    if (attempt.exit_code == kNotAllowed) GTEST_SKIP() << attempt.text;
    ASSERT_EQ(attempt.exit_code, 0) << attempt.text;
  }

  /// Runs with --json and reads it.
  Json measured(const std::string& arguments) {
    const fs::path file = fs::path(testing::TempDir()) / "dtrain-test-hosts.json";
    outcome = hosts("--json " + file.string() + " " + arguments);
    std::ifstream stream(file);
    Json json = Json::parse(stream, nullptr, /*allow_exceptions=*/false);
    fs::remove(file);
    return json;
  }

  Outcome outcome;
};

// A message's own bytes, and on top of them at least 66 of headers on each frame of 1448, MPI's start-up and what is sent
// twice; the other way go acknowledgements.
TEST_F(Hosts, CountsWhatCrossesTheLinks) {
  constexpr int kBytes = 4'000'000;

  const Json json = measured("--hosts 2" + star("in", kBytes, 1, 0));

  ASSERT_EQ(outcome.exit_code, 0) << outcome.text;
  EXPECT_NE(outcome.text.find("2 ranks on 2 nodes\n"), std::string::npos) << outcome.text;
  const Json& root = json.at("traffic").at(0);
  const Json& sender = json.at("traffic").at(1);
  for (const int bytes : {sender.at("sent_bytes").get<int>(), root.at("received_bytes").get<int>()}) {
    EXPECT_GT(bytes, kBytes * (1.0 + 66.0 / 1448.0)) << outcome.text;
    EXPECT_LT(bytes, kBytes * 1.5) << outcome.text;
  }
  for (const int bytes : {root.at("sent_bytes").get<int>(), sender.at("received_bytes").get<int>()}) {
    EXPECT_GT(bytes, 1000) << outcome.text;
    EXPECT_LT(bytes, kBytes * 0.2) << outcome.text;
  }
  EXPECT_EQ(json.at("sent_bytes"), root.at("sent_bytes").get<int>() + sender.at("sent_bytes").get<int>());
}

// What the all-reduces send is what their plans say: on top of it come headers (66 bytes and more on each frame of 1448, 4.6
// %), acknowledgements, start-up, and little else. Ring: 2·3/4 of 16 MiB out of each of four hosts; with two ranks on each the
// ring carries 2·7/8 of it over every edge and the hierarchy still 2·3/4. Five calls each.
TEST_F(Hosts, CarryWhatTheExchangePlans) {
  struct Case {
    const char* algorithm;
    int ranks_per_host;
    double planned_bytes;
  };
  constexpr double kSlice = 5.0 * (16 << 20);
  for (const Case& tried : {Case{"ring", 1, 1.5 * kSlice}, Case{"ring", 2, 1.75 * kSlice},
                            Case{"hierarchical", 2, 1.5 * kSlice}, Case{"halving-doubling", 1, 1.5 * kSlice}}) {
    const Json json = measured("--hosts 4 --rate 2gbit --ranks-per-host " + std::to_string(tried.ranks_per_host) +
                               " -- " BENCH_ALLREDUCE " --alone --bytes 16M --repetitions 3 --algorithms " + tried.algorithm);

    ASSERT_EQ(outcome.exit_code, 0) << outcome.text;
    const std::string planned = "planned: " + std::to_string(static_cast<long long>(tried.planned_bytes)) + " bytes";
    EXPECT_NE(outcome.text.find(planned), std::string::npos) << planned << " expected\n" << outcome.text;
    for (const Json& host : json.at("traffic")) {
      EXPECT_GT(host.at("sent_bytes").get<double>(), tried.planned_bytes * 1.04) << outcome.text;
      EXPECT_LT(host.at("sent_bytes").get<double>(), tried.planned_bytes * 1.08) << outcome.text;
    }
  }
}

TEST_F(Hosts, KeepsWhatRanksOfOneHostSayOffTheLinks) {
  const Json json = measured("--hosts 2 --ranks-per-host 2" + star("in", 4'000'000, 1, 0));

  ASSERT_EQ(outcome.exit_code, 0) << outcome.text;
  EXPECT_NE(outcome.text.find("4 ranks on 2 nodes\n"), std::string::npos) << outcome.text;
  EXPECT_LT(json.at("sent_bytes"), 400'000) << outcome.text;
}

// Rank 0's link carries everything. What fits into its bucket, 24 kB, goes at once, the rest at 10 Mb/s; the other links alone
// would let it pass in a third of that time.
TEST_F(Hosts, LimitsWhatAHostSendsAndWhatItReceives) {
  for (const char* direction : {"in", "out"}) {
    const Json json = measured("--hosts 4 --rate 10mbit" + star(direction, 2'000'000, 3, 0));

    ASSERT_EQ(outcome.exit_code, 0) << outcome.text;
    EXPECT_GT(json.at("seconds").get<double>(), (3 * 2'000'000 - 24'000) * 8 / 10e6) << direction << ": " << outcome.text;
  }
}

TEST_F(Hosts, PassesOnTheExitCodeOfRanks) {
  const Json json = measured("--hosts 2" + star("in", 4, 1, 7));

  EXPECT_EQ(outcome.exit_code, 7) << outcome.text;
  EXPECT_EQ(json.at("exit_code"), 7) << outcome.text;
}

TEST_F(Hosts, AHostThatFailsEndsTheOthers) {
  const Json json = measured("--hosts 3 --no-mpi -- sh -c '[ $HOST_INDEX != 1 ] || exit 9; exec sleep 60'");

  EXPECT_EQ(outcome.exit_code, 9) << outcome.text;
  EXPECT_LT(json.at("seconds").get<double>(), 30.0) << outcome.text;
}

TEST_F(Hosts, TellsWithoutMpiWhereEachHostIs) {
  const Outcome told = hosts(
      "--hosts 3 --ranks-per-host 5 --no-mpi --env 'SAID=two words' -- sh -c "
      "'echo $(hostname) $HOST_INDEX of $HOSTS x $RANKS_PER_HOST: $MASTER_ADDR, $SAID'");

  EXPECT_EQ(told.exit_code, 0) << told.text;
  for (const int index : {0, 1, 2}) {
    const std::string line =
        "host" + std::to_string(index + 1) + " " + std::to_string(index) + " of 3 x 5: 10.9.0.1, two words\n";
    EXPECT_NE(told.text.find(line), std::string::npos) << told.text;
  }
}

TEST_F(Hosts, PullsACable) {
  const Outcome pulled = hosts(
      "--hosts 2 --no-mpi --link-down 2 --after 0.5 -- sh -c '"
      "ip link show eth0 | grep -q LOWER_UP || exit 3; [ $HOST_INDEX = 1 ] || exec sleep 60; "
      "while ip link show eth0 | grep -q LOWER_UP; do sleep 0.1; done; exit 5'");

  EXPECT_EQ(pulled.exit_code, 5) << pulled.text;
  EXPECT_NE(pulled.text.find("the link of host2 is down"), std::string::npos) << pulled.text;
}

TEST_F(Hosts, SaysSoWhenTheCommandWasFasterThanThePull) {
  const Outcome early = hosts("--no-mpi --link-down 2 --after 100 -- true");

  EXPECT_EQ(early.exit_code, 0) << early.text;
  EXPECT_NE(early.text.find("before the link of host2 was pulled"), std::string::npos) << early.text;
}

TEST_F(Hosts, LeavesNoNamespaceBehind) {
  for (const char* launcher : {"", "--no-mpi"}) {
    const std::string options = std::string("--hosts 4 ") + launcher;
    const std::string forever = options + " -- sh -c 'readlink /proc/self/ns/net; exec sleep 100'";
    const Outcome done = hosts(options + " -- readlink /proc/self/ns/net");
    const Outcome failed = hosts(options + " -- sh -c 'readlink /proc/self/ns/net; sleep 1; exit 4'");
    const Outcome ended = hosts(forever, "timeout 3");
    // Into a file: a pipe would be read for as long as somebody may write into it.
    const std::string file = testing::TempDir() + "dtrain-test-hosts.txt";
    const Outcome killed =
        shell("timeout -s KILL 3 bash " HOSTS_SCRIPT " " + forever + " >" + file + "; cat " + file + "; rm " + file);

    EXPECT_EQ(done.exit_code, 0) << done.text;
    EXPECT_EQ(failed.exit_code, 4) << failed.text;
    EXPECT_EQ(ended.exit_code, 124) << ended.text;
    for (const Outcome& one : {done, failed, ended, killed}) {
      EXPECT_EQ(namespaces_in(one.text).size(), 4U) << one.text;
      EXPECT_TRUE(is_gone(namespaces_in(one.text))) << one.text;
    }
  }
}

TEST(HostsOptions, AreRefusedWithTheirName) {
  for (const std::string arguments :
       {"--hosts 1 -- true", "--hosts 9 -- true", "--ranks-per-host 0 -- true", "--rate fast -- true", "--rate 1gbit",
        "--wat -- true", "--link-down 1 -- true", "--link-down 3 --after 1 -- true", "--no-mpi --mca a b -- true",
        "--env 1=2 -- true", "--json /nonexistent/file -- true"}) {
    const Outcome outcome = hosts(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments << ": " << outcome.text;
    EXPECT_NE(outcome.text.find(arguments == "--rate 1gbit" ? "command after --" : arguments.substr(0, arguments.find(' '))),
              std::string::npos)
        << arguments << ": " << outcome.text;
  }
}

}  // namespace
