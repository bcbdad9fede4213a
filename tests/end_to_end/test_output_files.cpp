// Files that are asked for: looked at before the work, left alone until there is something to write, never an input; and logits
// of which every row says whose it is.
#include <gtest/gtest.h>

#include "dtrain/checkpoint.hpp"
#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

const fs::path& fresh_weights() {
  static const fs::path weights = [] {
    const fs::path path = new_path("weights.safetensors");
    EXPECT_EQ(run({.arguments = {"init", "--model", "resnet20", "--out", path.string()}}).exit_code, 0);
    return path;
  }();
  return weights;
}

Words evaluation_of(const fs::path& data, const Words& more) {
  return Words{"eval",      "--model", "resnet20", "--data", data.string(), "--weights", fresh_weights().string(),
               "--threads", "1"} +
         more;
}

TEST(OutputPaths, ThatCannotBeWrittenAreRefusedBeforeImagesAreLookedFor) {
  for (const char* option : {"--logits", "--report", "--confusion"}) {
    const Outcome outcome =
        run({.ranks = 2, .arguments = evaluation_of("/nonexistent/images", {option, "/nonexistent/out/file"})});

    EXPECT_EQ(outcome.exit_code, 3) << outcome;
    EXPECT_TRUE(outcome.says("opening /nonexistent/out/file (" + std::string(option) + ")")) << outcome;
  }
  for (const char* option : {"--report", "--profile", "--metrics"}) {
    const Outcome outcome = run({.arguments = training({"--steps", "1", option, "/nonexistent/out/file"})});

    EXPECT_EQ(outcome.exit_code, 3) << outcome;
    EXPECT_TRUE(outcome.says("opening /nonexistent/out/file (" + std::string(option) + ")")) << outcome;
    EXPECT_FALSE(outcome.says("step 1/1")) << outcome;
  }
}

TEST(OutputPaths, AreNotCreatedByARunThatFails) {
  const fs::path data = copy_of_demo_data();
  for (std::int64_t k = 0; k < 8; ++k) truncate_file(demo_picture(data, "train", 0, k), 0.4);
  const fs::path report = new_path("report.json");
  const fs::path old = new_path("profile.json");
  const std::string earlier = "{\n \"model\": \"of an earlier run\"}";
  write_text(old, earlier);

  const Outcome outcome = run({.arguments = training_on(data, {"--epochs", "1", "--global-batch", "16", "--max-damaged", "0",
                                                               "--report", report.string(), "--profile", old.string()})});

  EXPECT_EQ(outcome.exit_code, 3) << outcome;
  EXPECT_FALSE(fs::exists(report));
  EXPECT_EQ(read_text(old), earlier);
}

TEST(OutputPaths, AreNeitherInputsNorTheSameTwice) {
  const std::string before = read_text(fresh_weights());
  const std::string twice = new_path("file").string();

  for (const Words& options : {Words{"--logits", fresh_weights().string()}, Words{"--report", twice, "--confusion", twice}}) {
    const Outcome outcome = run({.arguments = evaluation_of(demo_data(), options)});

    EXPECT_EQ(outcome.exit_code, 2) << outcome;
    EXPECT_TRUE(outcome.says("expected a file of its own, found the one of --")) << outcome;
  }
  const Outcome training_outcome = run({.arguments = training({"--steps", "1", "--report", twice, "--metrics", twice})});

  EXPECT_EQ(training_outcome.exit_code, 2) << training_outcome;
  EXPECT_EQ(read_text(fresh_weights()), before);
  EXPECT_FALSE(fs::exists(twice));
}

TEST(OutputPaths, TakeThePlaceOfTheirOwnKindAlone) {
  const fs::path report = new_path("report.json"), logits = new_path("logits.safetensors"), table = new_path("table.csv");
  const Words options{"--report", report.string(), "--logits", logits.string(), "--confusion", table.string()};
  for (int time = 0; time < 2; ++time) {
    const Outcome outcome = run({.arguments = evaluation_of(demo_data(), options)});
    ASSERT_EQ(outcome.exit_code, 0) << outcome;
  }
  const std::string before = read_text(logits);

  for (const Words& mixed :
       {Words{"--report", table.string()}, Words{"--confusion", logits.string()}, Words{"--logits", report.string()},
        Words{"--report", demo_picture(demo_data(), "val", 0, 0).string()}}) {
    const Outcome outcome = run({.arguments = evaluation_of("/nonexistent/images", mixed)});

    EXPECT_EQ(outcome.exit_code, 3) << outcome;
    EXPECT_TRUE(outcome.says(mixed[1] + " (" + mixed[0] + ")")) << outcome;
    EXPECT_TRUE(outcome.says("will not be replaced")) << outcome;
  }
  EXPECT_EQ(read_text(logits), before);
}

// A run that goes on would take what another command wrote there for its own.
TEST(OutputPaths, AreNoRecordsOfAnotherRun) {
  const fs::path out = new_path("finished");
  const Words own{"--report", (out / "report.json").string(), "--metrics", (out / "metrics.jsonl").string()};
  const Outcome finished = run({.arguments = training_into(out, Words{"--steps", "1", "--global-batch", "16"} + own)});
  ASSERT_EQ(finished.exit_code, 0) << finished;
  const auto before = contents(out);

  for (const char* option : {"--report", "--metrics"}) {
    const std::string record = (out / (option == own[0] ? "report.json" : "metrics.jsonl")).string();
    const Outcome outcome = run({.arguments = training({"--steps", "1", "--global-batch", "16", option, record})});
    EXPECT_EQ(outcome.exit_code, 3) << outcome;
    EXPECT_TRUE(outcome.says(record + " (" + option + "): expected no file yet, or one that is no run's")) << outcome;
  }
  const Outcome outcome = run({.arguments = evaluation_of(demo_data(), {"--report", (out / "report.json").string()})});
  EXPECT_EQ(outcome.exit_code, 3) << outcome;
  EXPECT_TRUE(contents(out) == before);
}

TEST(OutputPaths, OfARunAreNoLinks) {
  const fs::path victim = new_path("victim");
  write_text(victim, "precious");
  for (const char* name : {"metrics.jsonl", "report.json", "log.txt", ".lock"}) {
    const fs::path out = new_path("linked");
    fs::create_directories(out);
    fs::create_symlink(victim, out / name);

    const Outcome outcome = run({.arguments = training_into(out, {"--steps", "1", "--global-batch", "16"})});

    expect_refused(outcome, {(out / name).string(), "a symbolic link"});
    EXPECT_EQ(read_text(victim), "precious") << name;
  }
}

TEST(OutputPaths, LogitsHaveARowForEachImageThatCanBeRead) {
  const fs::path data = copy_of_demo_data();
  truncate_file(demo_picture(data, "val", 0, 0), 0.4);
  truncate_file(demo_picture(data, "val", 4, 1), 0.4);
  const fs::path whole = new_path("logits.safetensors");
  ASSERT_EQ(run({.arguments = evaluation_of(demo_data(), {"--logits", whole.string()})}).exit_code, 0);
  const TensorFile all = read_tensor_file(whole);
  EXPECT_EQ(all.find("logits")->shape, (Shape{kValPictures, 10}));

  for (const int ranks : {0, 2, 3}) {
    const fs::path path = new_path("logits.safetensors");

    const Outcome outcome = run({.ranks = ranks, .arguments = evaluation_of(data, {"--logits", path.string()})});

    ASSERT_EQ(outcome.exit_code, 0) << outcome;
    EXPECT_TRUE(outcome.says("logits: 18 rows in " + path.string() + ", 2 left out as unreadable")) << outcome;
    const TensorFile file = read_tensor_file(path);
    const std::vector<std::int64_t>& samples = file.find("samples")->i64;
    ASSERT_EQ(file.find("logits")->shape, (Shape{18, 10}));
    EXPECT_EQ(file.metadata.at("dtrain.left_out"), "0 9");
    ASSERT_EQ(samples.size(), 18U);
    for (std::size_t row = 0; row < samples.size(); ++row) {
      for (std::size_t k = 0; k < 10; ++k) {
        EXPECT_NEAR(file.find("logits")->f32[10 * row + k],
                    all.find("logits")->f32[10 * static_cast<std::size_t>(samples[row]) + k], 1e-5);
      }
    }
  }
}

}  // namespace
}  // namespace dtrain
