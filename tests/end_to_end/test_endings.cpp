// What a run tells when an epoch and when all of it has ended: means over the epoch, the best, and a line that can be copied.
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <sstream>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// Three epochs of five steps.
Words three_epochs(const Words& more = {}) { return Words{"--global-batch", "16", "--steps", "15", "--lr", "0.02"} + more; }

std::string line_with(const std::string& text, const std::string& begin) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(begin)) return line;
  }
  return "";
}

/// Their times are no function of the run.
Json without_seconds(Json epochs) {
  for (Json& row : epochs) row.erase("seconds");
  return epochs;
}

TEST(Epochs, HaveARowEachWithTheMeansOfTheirSteps) {
  const fs::path out = new_path("epochs");

  const Outcome outcome = run({.ranks = 2, .arguments = training_into(out, three_epochs())});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  const Json report = read_json(out / "report.json");
  const auto steps = metrics_lines(out / "metrics.jsonl", "loss");
  const auto evaluations = metrics_lines(out / "metrics.jsonl", "val_loss");
  ASSERT_EQ(report.at("epochs").size(), 3U);
  for (std::size_t epoch = 0; epoch < 3; ++epoch) {
    const Json& row = report.at("epochs").at(epoch);
    double loss = 0.0;
    for (std::size_t i = 0; i < 5; ++i) loss += steps.at(5 * epoch + i).at("loss").get<double>() / 5.0;
    EXPECT_NEAR(row.at("loss").get<double>(), loss, 1e-12);
    EXPECT_EQ(row.at("epoch"), epoch + 1);
    EXPECT_EQ(row.at("samples"), kTrainPictures);
    EXPECT_EQ(row.at("val_top1"), evaluations.at(epoch).at("val_top1"));
    EXPECT_GT(row.at("seconds").get<double>(), 0.0);
    const std::string line = "epoch " + std::to_string(epoch + 1) + ".00: training loss ";
    EXPECT_EQ(outcome.count(line), 1) << outcome;
  }
}

TEST(Epochs, AreTheSameOfARunThatWasStoppedInTheMiddleOfOne) {
  const fs::path whole = new_path("whole"), out = new_path("parts");
  ASSERT_EQ(
      run({.arguments = training_into(whole, three_epochs({"--keep-checkpoints", "99", "--checkpoint-every", "1"}))}).exit_code,
      0);
  fs::create_directories(out / "checkpoints");
  fs::copy_file(checkpoint(whole, 7), checkpoint(out, 7));
  fs::copy_file(whole / "metrics.jsonl", out / "metrics.jsonl");

  const Outcome outcome = run({.arguments = training_into(out, three_epochs({"--resume", "auto"}))});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  const Json found = read_json(out / "report.json"), expected = read_json(whole / "report.json");
  EXPECT_EQ(without_seconds(found.at("epochs")), without_seconds(expected.at("epochs")));
  EXPECT_EQ(found.at("best").at("step"), expected.at("best").at("step"));
  EXPECT_TRUE(outcome.says("all parts of the run: ")) << outcome;
}

TEST(Epochs, WhoseBeginningIsNotKnownSaySo) {
  const fs::path whole = new_path("whole"), out = new_path("elsewhere");
  ASSERT_EQ(
      run({.arguments = training_into(whole, three_epochs({"--keep-checkpoints", "99", "--checkpoint-every", "1"}))}).exit_code,
      0);

  const Outcome outcome = run({.arguments = training_into(out, three_epochs({"--resume", checkpoint(whole, 7).string()}))});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("(of its last 48 samples)")) << outcome;
  EXPECT_EQ(read_json(out / "report.json").at("epochs").at(0).at("partial"), true);
}

TEST(Endings, NameTheBestAndALineThatEvaluatesIt) {
  const fs::path out = new_path("it's a run");

  const Outcome outcome = run({.arguments = training_into(out, three_epochs())});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  const Json best = read_json(out / "report.json").at("best");
  EXPECT_EQ(best.at("file"), (out / "best.safetensors").string());
  const std::string line = line_with(outcome.errors, "evaluate: ");
  EXPECT_EQ(line.substr(10), read_json(out / "report.json").at("evaluate").get<std::string>());
  const fs::path report = new_path("report.json");
  const Outcome evaluated = run({.line = {"sh", "-c", line.substr(10) + " --threads 1 --report " + report.string()}});
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated;
  EXPECT_EQ(read_json(report).at("top1"), best.at("top1"));
  EXPECT_NE(line_with(outcome.errors, "best: validation top-1 "), "") << outcome;
  EXPECT_NE(line_with(outcome.errors, "time: 0:"), "") << outcome;
  EXPECT_TRUE(outcome.output.find("total images/sec: ") > outcome.output.size() - 40) << "still the last line";
}

TEST(Endings, WithoutValidationTellOfTraining) {
  const fs::path out = new_path("no-validation");

  const Outcome outcome = run({.arguments = training_into(out, three_epochs({"--eval-every", "off"}))});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(outcome.count(".00: training loss "), 3) << outcome;
  EXPECT_NE(line_with(outcome.errors, "last: training loss "), "") << outcome;
  EXPECT_TRUE(line_with(outcome.errors, "evaluate: ").ends_with("last.safetensors")) << outcome;
  EXPECT_TRUE(read_json(out / "report.json").at("best").is_null());
}

TEST(TwoClasses, HaveNoTop5AndOneHasNoPlural) {
  const fs::path data = new_path("two");
  for (const char* split : {"train", "val"}) {
    fs::create_directories(data / split);
    const Words folders = [&] {
      Words names;
      for (const auto& entry : fs::directory_iterator(demo_data() / split)) names.push_back(entry.path().filename().string());
      std::sort(names.begin(), names.end());
      return names;
    }();
    for (std::size_t k = 0; k < 2; ++k)
      fs::copy(demo_data() / split / folders[k], data / split / folders[k], fs::copy_options::recursive);
  }
  const fs::path out = new_path("two-classes");
  Words arguments = training_on(data, {"--global-batch", "16", "--steps", "1", "--out", out.string()});

  const Outcome outcome = run({.arguments = arguments});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_FALSE(outcome.says("top-5")) << outcome;
  for (const char* wrong : {"1 ranks", "1 classes", "1 steps", "(s)"}) EXPECT_FALSE(outcome.says(wrong)) << wrong << outcome;
  EXPECT_TRUE(read_json(out / "report.json").at("validation").at("top5").is_null());
  EXPECT_TRUE(metrics_lines(out / "metrics.jsonl", "val_loss").at(0).at("val_top5").is_null());
}

}  // namespace
}  // namespace dtrain
