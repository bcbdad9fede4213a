// Runs of several stages: branches leave the trunk as it was, members are kept, and a killed run goes on inside a branch.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

const std::string kInitStage = "init: steps=4 lr=0.1 schedule=poly:over=2 warmup-epochs=0.4 warmup-start-lr=0.02";
const std::string kCycle1 = "; cycle-1: steps=3 lr=0.06 schedule=poly:power=2,over=1.2";
const std::string kCollapse1 = "; collapse-1: steps=3 lr=0.02 schedule=poly:power=2 weight-decay=4e-4 branch=on";
const std::string kCycle2 = "; cycle-2: steps=4 lr=0.04 schedule=poly:power=2,over=1.2 keep-momentum=on";
const std::string kCollapse2 = "; collapse-2: steps=6 lr=0.02 schedule=poly:power=2 augment=none branch=on";
const std::string kCycle3 = "; cycle-3: steps=2 lr=0.03 schedule=constant keep-momentum=on";

/// Steps 14 to 20, as executed, are those of collapse-2.
const std::string kCycles = kInitStage + kCycle1 + kCollapse1 + kCycle2 + kCollapse2 + kCycle3;
constexpr std::int64_t kCycleSteps = 22;
constexpr std::int64_t kSecondBranch = 14;  ///< where collapse-2 begins

Words in_cycles(const std::string& stages, const Words& more = {}) {
  return Words{"--global-batch", "16", "--stages", stages, "--checkpoint-every", "2", "--eval-every", "off", "--ema", "0.5"} +
         more;
}

/// The run that nobody disturbs; made once.
const fs::path& undisturbed() {
  static const fs::path made = [] {
    const fs::path out = new_path("cycles");
    const Outcome outcome =
        run({.ranks = 2, .arguments = training_into(out, in_cycles(kCycles, {"--keep-checkpoints", "100"}))});
    if (outcome.exit_code != 0) throw std::runtime_error("the run to compare with failed: " + outcome.errors);
    return out;
  }();
  return made;
}

void expect_same_files(const fs::path& out, const fs::path& expected) {
  for (const char* member : {"collapse-1", "collapse-2"}) {
    const fs::path file = fs::path("members") / (std::string(member) + ".safetensors");
    EXPECT_FALSE(read_text(expected / file).empty()) << file;
    EXPECT_TRUE(read_text(out / file) == read_text(expected / file)) << file << " differs";
  }
  for (const auto& file :
       {CheckpointPaths{.out = {}}.checkpoint(kCycleSteps), fs::path("last.safetensors"), fs::path("average.safetensors")}) {
    EXPECT_TRUE(read_text(out / file) == read_text(expected / file)) << file << " differs";
  }
}

TEST(Branches, OfARunThatIsKilledInsideOneGiveTheSameMembersAndTrunk) {
  const fs::path out = new_path("killed");
  {
    Job job({.ranks = 2, .arguments = training_into(out, in_cycles(kCycles))});
    job.wait_until([&] { return fs::exists(checkpoint(out, kSecondBranch + 2)); });
    job.signal_ranks(SIGKILL);
    job.wait();
  }
  ASSERT_FALSE(fs::exists(out / "members" / "collapse-2.safetensors")) << "it was to be killed in the middle of the branch";
  ASSERT_TRUE(fs::exists(checkpoint(out, kSecondBranch))) << "the trunk, whatever else is kept";

  const Outcome outcome = run({.ranks = 2, .arguments = training_into(out, in_cycles(kCycles, {"--resume", "auto"}))});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("resumed from ")) << outcome;
  expect_same_files(out, undisturbed());
}

TEST(Branches, GoOnFromTheirVeryBeginningAndEnd) {
  for (const std::int64_t step : {kSecondBranch, kSecondBranch + 6}) {
    const fs::path out = new_path("at-a-boundary");
    fs::create_directories(out / "checkpoints");
    fs::create_directories(out / "members");
    fs::copy_file(checkpoint(undisturbed(), step), checkpoint(out, step));
    for (const std::string& name : file_names(undisturbed() / "members")) {
      fs::copy_file(undisturbed() / "members" / name, out / "members" / name);
    }

    const Outcome outcome = run({.ranks = 2, .arguments = training_into(out, in_cycles(kCycles, {"--resume", "auto"}))});

    ASSERT_EQ(outcome.exit_code, 0) << outcome;
    expect_same_files(out, undisturbed());
  }
}

TEST(Branches, OfAnotherDirectoryAreCopiedWholeOrNotAtAll) {
  const fs::path out = new_path("elsewhere");
  const Words arguments =
      training_into(out, in_cycles(kCycles, {"--resume", checkpoint(undisturbed(), kSecondBranch + 2).string()}));
  const Outcome killed = run({.ranks = 2,
                              .arguments = arguments,
                              .environment = {std::string("LD_PRELOAD=") + KILL_AT_RENAME, "RENAMES_BELOW=" + out.string(),
                                              "KILL_FILE=members/collapse-1.safetensors", "KILL_WHEN=before"}});
  ASSERT_NE(killed.exit_code, 0) << "it appears with a rename; " << killed;
  EXPECT_FALSE(fs::exists(out / "members" / "collapse-1.safetensors"));

  const Outcome outcome = run({.ranks = 2, .arguments = arguments});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  expect_same_files(out, undisturbed());
}

TEST(Branches, LeaveTheTrunkAsItIsWithoutThem) {
  const fs::path out = new_path("trunk");

  const Outcome outcome =
      run({.ranks = 2, .arguments = training_into(out, in_cycles(kInitStage + kCycle1 + kCycle2 + kCycle3))});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(fingerprint(out / "report.json"), fingerprint(undisturbed() / "report.json"));
}

// A branch is the stage that it would be at the end of a run.
TEST(Branches, KeepTheAverageOfTheirWeights) {
  const fs::path out = new_path("no-branch");
  const std::string collapse = kCollapse1.substr(0, kCollapse1.find(" branch=on"));

  const Outcome outcome = run({.ranks = 2, .arguments = training_into(out, in_cycles(kInitStage + kCycle1 + collapse))});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(read_text(out / "average.safetensors") == read_text(undisturbed() / "members" / "collapse-1.safetensors"));
}

TEST(Branches, WhoseTrunkIsGoneAreNotResumed) {
  const fs::path out = new_path("no-trunk");
  fs::create_directories(out / "checkpoints");
  fs::copy_file(checkpoint(undisturbed(), kSecondBranch + 2), checkpoint(out, kSecondBranch + 2));
  fs::copy(undisturbed() / "members", out / "members");

  const Outcome outcome = run({.ranks = 2, .arguments = training_into(out, in_cycles(kCycles, {"--resume", "auto"}))});

  EXPECT_EQ(outcome.exit_code, 3) << outcome;
  EXPECT_TRUE(outcome.says("in the branch collapse-2: expected the trunk")) << outcome;
}

TEST(Branches, GoOnInAnotherDirectoryFromAnyStepWithMembersAndTrunk) {
  for (const std::int64_t step : {kSecondBranch, kSecondBranch + 4}) {
    const fs::path out = new_path("elsewhere");

    const Outcome outcome =
        run({.ranks = 2,
             .arguments = training_into(out, in_cycles(kCycles, {"--resume", checkpoint(undisturbed(), step).string()}))});

    ASSERT_EQ(outcome.exit_code, 0) << outcome;
    expect_same_files(out, undisturbed());
  }
}

TEST(Branches, WhoseTrunkIsDamagedAreNotResumed) {
  const fs::path out = new_path("damaged-trunk");
  fs::create_directories(out / "checkpoints");
  for (const std::int64_t step : {kSecondBranch, kSecondBranch + 2}) {
    fs::copy_file(checkpoint(undisturbed(), step), checkpoint(out, step));
  }
  fs::copy(undisturbed() / "members", out / "members");
  flip_bit(checkpoint(out, kSecondBranch));

  const Outcome outcome = run({.ranks = 2, .arguments = training_into(out, in_cycles(kCycles, {"--resume", "auto"}))});

  EXPECT_EQ(outcome.exit_code, 3) << outcome;
  EXPECT_TRUE(outcome.says("in the branch collapse-2: expected the trunk")) << outcome;
}

TEST(Branches, WantADirectoryForTheTrunk) {
  const Outcome outcome = run({.arguments = training(in_cycles(kInitStage + kCollapse1))});

  EXPECT_EQ(outcome.exit_code, 2) << outcome;
  EXPECT_TRUE(outcome.says("planning the branch collapse-1: expected --out DIR")) << outcome;
}

TEST(Stages, OfOtherLengthsAreNotResumed) {
  const fs::path out = new_path("other-stages");
  fs::create_directories(out / "checkpoints");
  fs::copy_file(checkpoint(undisturbed(), 4), checkpoint(out, 4));

  const Outcome outcome =
      run({.ranks = 2, .arguments = training_into(out, in_cycles(kInitStage + kCycle1, {"--resume", "auto"}))});

  EXPECT_EQ(outcome.exit_code, 2) << outcome;
  EXPECT_TRUE(outcome.says("found different stages")) << outcome;
}

TEST(Stages, TrainOnGrowingPicturesAndTheMembersVoteAtTheEnd) {
  const fs::path out = new_path("growing");
  const std::string stages =
      "small: steps=2 lr=0.05 crop=24; large: steps=2 lr=0.02 keep-momentum=on keep-statistics=off; "
      "a: steps=1 lr=0.01 branch=on; b: steps=1 lr=0.02 branch=on";

  const Outcome outcome = run({.ranks = 2, .arguments = training_into(out, {"--global-batch", "16", "--stages", stages})});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  const Json report = read_json(out / "report.json");
  ASSERT_EQ(report["members"].size(), 2U);
  const std::string files = (out / "members/a.safetensors").string() + "," + (out / "members/b.safetensors").string();
  const fs::path evaluated = new_path("evaluated.json");
  ASSERT_EQ(run({.ranks = 2,
                 .arguments = {"eval", "--model", "resnet20", "--threads", "1", "--data", demo_data().string(), "--weights",
                               files, "--report", evaluated.string()}})
                .exit_code,
            0);
  EXPECT_EQ(read_json(evaluated)["ensemble"]["top1"], report["ensemble"]["top1"]);
}

}  // namespace
}  // namespace dtrain
