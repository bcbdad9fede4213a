// A run that goes on otherwise than it began, on other machines or with other options, says in what, and what it was before.
#include <gtest/gtest.h>

#include <algorithm>

#include "dtrain/cpu.hpp"
#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

Words run_in(const fs::path& out, const Words& more) {
  return Words{"train",     "--global-batch",
               "16",        "--steps",
               "4",         "--checkpoint-every",
               "2",         "--keep-checkpoints",
               "9",         "--eval-every",
               "off",       "--resume",
               "auto",      "--out",
               out.string()} +
         more;
}
const Words kResnet{"--model", "resnet20", "--crop", "32"};
Words on_demo(const Words& more) { return kResnet + Words{"--data", demo_data().string()} + more; }

/// As the run had left it after step 2.
void go_back(const fs::path& out) {
  for (const char* name : {"last.safetensors", "best.safetensors", "report.json"}) fs::remove(out / name);
  fs::remove(checkpoint(out, 4));
}
fs::path begun(int ranks, const Words& more) {
  const fs::path out = new_path("begun");
  const Outcome outcome = run({.ranks = ranks, .arguments = run_in(out, more)});
  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  go_back(out);
  return out;
}

void expect_different(const Outcome& outcome, const Words& says) {
  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(outcome.count("resumed with different "), 1) << outcome;
  for (const std::string& text : says) EXPECT_EQ(outcome.count(text), 1) << text << " in " << outcome;
}

TEST(ResumingElsewhere, NamesOtherThreadsOtherImagesAndAnotherCpu) {
  const fs::path out = begun(0, on_demo({"--threads", "1"}));
  const fs::path renamed = copy_of_demo_data();
  const fs::path picture = demo_picture(renamed, "train", 4, 3);
  fs::rename(picture, picture.parent_path() / "0003x.jpg");
  const std::string cpu = instruction_set();
  const bool has_more = common_instruction_set({cpu, "AVX2"}) == "AVX2" && cpu != "AVX2";

  const Outcome outcome = run({.arguments = run_in(out, kResnet + Words{"--data", renamed.string(), "--threads", "2"}),
                               .environment = has_more ? Words{"ONEDNN_MAX_CPU_ISA=AVX2"} : Words{}});

  expect_different(outcome, {"threads a rank (2, before: 1)", "training images (digest of names and labels) (names:"});
  EXPECT_EQ(outcome.says("instructions of the CPU (AVX2, before: " + cpu + ")"), has_more) << outcome;
}

TEST(ResumingElsewhere, NamesAnotherDropout) {
  const Words small{"--model", "squeezenet1_1", "--crop", "64", "--threads", "1", "--data", demo_data().string()};
  const fs::path out = begun(0, small);

  const Outcome outcome = run({.arguments = run_in(out, small + Words{"--dropout", "0"})});

  expect_different(outcome, {"dropout (0, before: 0.5)"});
}

// The options, not the tensors that follow from them.
TEST(ResumingElsewhere, NamesOptionsOfWhichTheCheckpointHasNoTensors) {
  const fs::path out = begun(0, on_demo({"--threads", "1"}));
  const std::string before = read_text(checkpoint(out, 2));

  const Outcome adam = run({.arguments = run_in(out, on_demo({"--threads", "1", "--optimizer", "adamw"}))});
  const Outcome averaged = run({.arguments = run_in(out, on_demo({"--threads", "1", "--ema", "0.9"}))});
  const Outcome classes = run({.arguments = run_in(out, on_demo({"--threads", "1", "--num-classes", "12"}))});

  const auto expect_usage = [](const Outcome& outcome, const std::string& says) {
    EXPECT_EQ(outcome.exit_code, 2) << outcome;
    EXPECT_TRUE(outcome.says(says)) << outcome;
    EXPECT_TRUE(outcome.says("--init-from")) << outcome;
  };
  expect_usage(adam, "optimizer (adamw, before: sgd)");
  expect_usage(averaged, "ema (0.9, before: ");
  expect_usage(classes, "classes (12, before: 10)");
  EXPECT_EQ(read_text(checkpoint(out, 2)), before);
}

TEST(ResumingElsewhere, NamesNodesOfOtherRanks) {
  const fs::path out = begun(3, on_demo({"--threads", "1"}));

  const Outcome outcome = run({.ranks = 3, .arguments = run_in(out, on_demo({"--threads", "1", "--ranks-per-node", "2"}))});

  expect_different(outcome, {"ranks of the nodes (node 0 ×2, node 1 ×1, before: node 0)"});
}

// Options that leave every bit as it would have been.
TEST(ResumingElsewhere, SaysNothingOfWhatChangesNothing) {
  const fs::path out = new_path("run");
  const Words plain = on_demo({"--threads", "1"});
  ASSERT_EQ(run({.ranks = 2, .arguments = run_in(out, plain)}).exit_code, 0);
  const std::string expected = fingerprint(out / "report.json");
  go_back(out);

  const Outcome outcome =
      run({.ranks = 2,
           .arguments = run_in(out, plain + Words{"--ranks-per-node", "1", "--overlap", "off", "--shared-update", "off",
                                                  "--workers", "2", "--local-batch", "64", "--zero-init-gamma", "on"})});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("after step 2")) << outcome;
  EXPECT_FALSE(outcome.says("resumed with different")) << outcome;
  EXPECT_FALSE(outcome.says("could not be compared")) << outcome;
  EXPECT_EQ(fingerprint(out / "report.json"), expected);
}

TEST(ResumingElsewhere, GoesOnFromACheckpointOfAnOlderVersionAndSaysWhatItCannotCompare) {
  const Words plain = on_demo({"--threads", "1"});
  const fs::path out = begun(0, plain);
  TensorFile saved = read_tensor_file(checkpoint(out, 2));
  std::string& recipe = saved.metadata.at("dtrain.recipe");
  for (const std::string key : {"\nthreads=", "\nnodes=", "\ninstructions=", "\nonednn=", "\ndata="}) {
    const std::size_t at = recipe.find(key);
    ASSERT_NE(at, std::string::npos) << key << recipe;
    recipe.erase(at, recipe.find('\n', at + 1) - at);
  }
  write_tensor_file(checkpoint(out, 2), saved);

  const Outcome outcome = run({.arguments = run_in(out, plain)});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(outcome.count("could not be compared"), 1) << outcome;
  EXPECT_TRUE(outcome.says("threads a rank")) << outcome;
  EXPECT_FALSE(outcome.says("resumed with different")) << outcome;
}

}  // namespace
}  // namespace dtrain
