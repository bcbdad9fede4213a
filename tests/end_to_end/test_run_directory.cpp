// --out over the life of a run: who may write there, what status.json says whatever happens, and that only rank 0 has to see
// it.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// For runs that only a signal ends.
const std::string kForever = "10000000";

Words run_into(const fs::path& out, const std::string& steps, const Words& more = {}) {
  return training_into(out, Words{"--crop", "32", "--global-batch", "8", "--steps", steps, "--checkpoint-every", "5",
                                  "--eval-every", "off", "--log-every", "1"} +
                                more);
}

void wait_until_it_saved(Job& job, const fs::path& out) {
  job.wait_until([&] { return fs::exists(checkpoint(out, 5)) && fs::exists(out / "last.safetensors"); });
}

Json status_of(const fs::path& out) { return read_json(out / "status.json"); }

TEST(RunLock, RefusesASecondRunWhichTouchesNothing) {
  const fs::path out = new_path("busy");
  Job first({.arguments = run_into(out, kForever, {"--keep-checkpoints", "2"})});
  wait_until_it_saved(first, out);
  const fs::path in_work = out / "checkpoints" / "step-000000099.safetensors.partial-12345";
  write_text(in_work, "half a checkpoint");

  for (const int ranks : {0, 2}) {
    for (const std::string resume : {"auto", "off"}) {
      SCOPED_TRACE(std::to_string(ranks) + " " + resume);
      const Outcome second = run({.ranks = ranks, .arguments = run_into(out, "10", {"--resume", resume})}, kPromptlyS);

      expect_refused(second, {out.string(), "no other run is at work",
                              "process " + std::to_string(first.rank_processes().front()) + " on "});
      EXPECT_EQ(second.count("no other run is at work"), 1) << second;
    }
  }

  EXPECT_EQ(read_text(in_work), "half a checkpoint");
  EXPECT_EQ(read_text(out / "log.txt").find("at work"), std::string::npos) << read_text(out / "log.txt");
  EXPECT_EQ(status_of(out).at("state"), "running");
  first.signal(SIGTERM);
  EXPECT_EQ(first.wait().exit_code, 75);
}

TEST(RunLock, IsFreeOnceARunHasEndedAndHoweverItEnded) {
  const fs::path out = new_path("killed");
  Job first({.ranks = 2, .arguments = run_into(out, kForever)});
  wait_until_it_saved(first, out);
  const std::vector<pid_t> ranks = first.rank_processes();
  first.signal_ranks(SIGKILL);
  (void)first.wait();
  for (const pid_t rank : ranks) EXPECT_TRUE(has_gone(rank));

  EXPECT_EQ(status_of(out).at("state"), "running") << "nobody was left to say more";
  const std::int64_t saved = status_of(out).at("step");
  const std::string steps = std::to_string(saved + 10);
  for (int attempt = 0; attempt < 2; ++attempt) {
    const Outcome resumed = run({.ranks = 2, .arguments = run_into(out, steps, {"--resume", "auto"})});

    EXPECT_EQ(resumed.exit_code, 0) << resumed;
  }
}

TEST(RunLock, KeepsNobodyFromLooking) {
  const fs::path out = new_path("watched");
  Job first({.arguments = run_into(out, kForever)});
  wait_until_it_saved(first, out);

  const Outcome dry = run({.arguments = run_into(out, "10", {"--dry-run=" + new_path("schedule.svg").string()})});
  const Outcome eval = run({.arguments = {"eval", "--model", "resnet20", "--crop", "32", "--threads", "1", "--data",
                                          demo_data().string(), "--weights", (out / "last.safetensors").string()}});

  EXPECT_EQ(dry.exit_code, 0) << dry;
  EXPECT_EQ(eval.exit_code, 0) << eval;
}

// Somebody's file may have a name that runs use.
TEST(RunStatus, AndLockOfSomebodyElseStay) {
  for (const std::string name : {"status.json", ".lock"}) {
    const fs::path out = new_path("somebodys");
    fs::create_directories(out);
    const std::string text = "{\"state\": \"published\", \"by\": \"another program\"}\n";
    write_text(out / name, text);
    for (const std::string resume : {"auto", "off"}) {
      SCOPED_TRACE(name + " " + resume);
      const Outcome outcome = run({.ranks = 2, .arguments = run_into(out, "2", {"--resume", resume})}, kPromptlyS);

      expect_refused(outcome, {name + " of an earlier run", "will not be replaced"});
      EXPECT_EQ(read_text(out / name), text);
    }
  }
}

TEST(RunStatus, TellsOfARunAtWorkAndThatItIsDone) {
  const fs::path out = new_path("status");
  {
    Job job({.ranks = 2, .arguments = run_into(out, kForever)});
    wait_until_it_saved(job, out);
    job.wait_until([&] { return status_of(out).at("step") >= 5; });

    const Json at_work = status_of(out);
    EXPECT_EQ(at_work.at("state"), "running");
    EXPECT_TRUE(at_work.at("exit_code").is_null());
    EXPECT_EQ(at_work.at("total_steps").dump(), kForever);
    EXPECT_EQ(at_work.at("pid"), job.rank_processes().front());
    EXPECT_EQ(at_work.at("ranks"), 2);
    EXPECT_GT(at_work.at("epoch"), 0.0);
    EXPECT_NE(at_work.at("command").dump().find("--checkpoint-every"), std::string::npos);

    job.signal(SIGUSR1);
    EXPECT_EQ(job.wait().exit_code, 75);
  }
  const Json stopped = status_of(out);
  EXPECT_EQ(stopped.at("state"), "stopped");
  EXPECT_EQ(stopped.at("exit_code"), 75);
  EXPECT_EQ(stopped.at("reason"), "stopped on request");
  EXPECT_TRUE(fs::exists(checkpoint(out, stopped.at("step"))));

  const std::int64_t steps = stopped.at("step").get<std::int64_t>() + 3;
  const Outcome resumed = run({.ranks = 2, .arguments = run_into(out, std::to_string(steps), {"--resume", "auto"})});

  ASSERT_EQ(resumed.exit_code, 0) << resumed;
  const Json done = status_of(out);
  EXPECT_EQ(done.at("state"), "done");
  EXPECT_EQ(done.at("exit_code"), 0);
  EXPECT_EQ(done.at("step"), steps);
  EXPECT_EQ(done.at("total_steps"), steps);
}

void expect_failed(const fs::path& out, int exit_code, const std::string& reason) {
  const Json status = status_of(out);
  EXPECT_EQ(status.at("state"), "failed") << status;
  EXPECT_EQ(status.at("exit_code"), exit_code) << status;
  EXPECT_NE(status.at("reason").get<std::string>().find(reason), std::string::npos) << status;
}

TEST(RunStatus, SaysWhyARunFailed) {
  const fs::path diverged = new_path("diverged");
  EXPECT_EQ(run({.arguments = run_into(diverged, "200", {"--lr", "1e18", "--schedule", "constant"})}).exit_code, 5);
  expect_failed(diverged, 5, "expected a finite loss");

  const fs::path without_data = new_path("without-data");
  EXPECT_EQ(
      run({.ranks = 2, .arguments = training_on("/nonexistent", {"--steps", "2", "--out", without_data.string()})}).exit_code,
      3);
  expect_failed(without_data, 3, "/nonexistent");
}

// Samples in order: the second rank alone meets the damaged files.
TEST(RunStatus, SaysWhatAnotherRankMet) {
  const fs::path data = copy_of_demo_data();
  for (std::int64_t k = 0; k < 8; ++k) write_text(demo_picture(data, "train", 9, k), "not an image");
  const fs::path out = new_path("other-rank");

  const Outcome outcome =
      run({.ranks = 2,
           .arguments = training_on(data, {"--global-batch", "80", "--steps", "3", "--shuffle", "off", "--max-damaged", "2",
                                           "--eval-every", "off", "--out", out.string()})});

  EXPECT_EQ(outcome.exit_code, 3) << outcome;
  expect_failed(out, 3, "at most 2 damaged");
}

TEST(RunStatus, OfALostRankIsWrittenByWhoIsLeft) {
  const fs::path out = new_path("lost");
  Job job({.ranks = 3, .arguments = run_into(out, kForever, {"--global-batch", "9", "--stall-timeout", "2"})});
  wait_until_it_saved(job, out);

  job.signal_rank(1, SIGSTOP);
  const Outcome outcome = job.wait(kPromptlyS);

  EXPECT_EQ(outcome.exit_code, 4) << outcome;
  expect_failed(out, 4, "rank 1");
}

TEST(RunStatus, OfAFinishedRunIsNotReplacedByARefusedOne) {
  const fs::path out = new_path("finished");
  ASSERT_EQ(run({.arguments = run_into(out, "2")}).exit_code, 0);
  const std::string done = read_text(out / "status.json");

  const Outcome again = run({.arguments = run_into(out, "2")});
  EXPECT_EQ(again.exit_code, 2) << again;
  EXPECT_EQ(read_text(out / "status.json"), done);

  const Outcome with_other_options = run({.arguments = run_into(out, "2", {"--resume", "auto", "--global-batch", "4"})});
  EXPECT_EQ(with_other_options.exit_code, 2) << with_other_options;
  expect_failed(out, 2, "different");
}

/// Two ranks, each in a directory of its own, as on hosts whose disks are their own: a path without a root is seen by rank 0
/// alone.
Outcome on_own_disks(const fs::path& disk, const Words& arguments) {
  fs::create_directories(disk / "0");
  fs::create_directories(disk / "1");
  const auto in = [&](const char* rank) {
    return Words{"env", "--chdir=" + (disk / rank).string(), DTRAIN_BINARY} + arguments;
  };
  return run({.ranks = 2, .arguments = {}, .line = mpirun_line({in("0"), in("1")})});
}

TEST(OwnDisks, ARunThatStoppedGoesOnToTheSameBits) {
  const fs::path disk = new_path("disks");
  const fs::path whole = new_path("whole");
  const Words to_checkpoint = run_into("run", "6");
  ASSERT_EQ(run({.ranks = 2, .arguments = run_into(whole, "6")}).exit_code, 0);

  Outcome outcome = on_own_disks(disk, to_checkpoint);
  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  fs::remove(checkpoint(disk / "0" / "run", 6));  // as it was after the checkpoint of step 5
  outcome = on_own_disks(disk, to_checkpoint + Words{"--resume", "auto"});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("after step 5")) << outcome;
  EXPECT_EQ(fingerprint(disk / "0" / "run" / "report.json"), fingerprint(whole / "report.json"));
  EXPECT_FALSE(fs::exists(disk / "1" / "run")) << "rank 1 writes nothing";
}

TEST(OwnDisks, BranchesReturnToTheTrunkAndAreEvaluatedTogether) {
  const fs::path disk = new_path("disks");
  const std::string stages =
      "one: steps=4 lr=0.01; a: steps=2 lr=0.01 branch=on; two: steps=2 lr=0.01; b: steps=2 lr=0.01 branch=on";

  const Outcome outcome = on_own_disks(
      disk, training({"--crop", "32", "--global-batch", "16", "--stages", stages, "--eval-every", "100", "--out", "run"}));

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("of the ensemble of all members")) << outcome;
  EXPECT_EQ(file_names(disk / "0" / "run" / "members"), (Words{"a.safetensors", "b.safetensors"}));
}

TEST(OwnDisks, WeightsAreReadByRankZero) {
  const fs::path disk = new_path("disks");
  fs::create_directories(disk / "0");
  const fs::path weights = disk / "0" / "w.safetensors";
  ASSERT_EQ(run({.arguments = {"init", "--model", "resnet20", "--num-classes", "10", "--out", weights.string()}}).exit_code, 0);

  const Outcome tuned =
      on_own_disks(disk, training({"--crop", "32", "--global-batch", "16", "--steps", "2", "--init-from", "w.safetensors"}));
  const Outcome eval = on_own_disks(disk, {"eval", "--model", "resnet20", "--crop", "32", "--threads", "1", "--data",
                                           demo_data().string(), "--weights", "w.safetensors"});
  const Outcome missing =
      on_own_disks(disk, training({"--crop", "32", "--global-batch", "16", "--steps", "2", "--init-from", "none.safetensors"}));

  EXPECT_EQ(tuned.exit_code, 0) << tuned;
  EXPECT_EQ(eval.exit_code, 0) << eval;
  expect_refused(missing, {"none.safetensors"});
}

}  // namespace
}  // namespace dtrain
