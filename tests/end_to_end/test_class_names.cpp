// Names decide which output of a network stands for which class, and the file of weights how images are prepared: in
// evaluation, fine-tuning and resuming.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// A run on the demonstration's images, of another size and deviation than usual.
const fs::path& named_run() {
  static const fs::path out = [] {
    const fs::path made = new_path("named");
    const Outcome outcome = run({.arguments = training_into(made, {"--global-batch", "16", "--steps", "10", "--base-lr", "1",
                                                                   "--crop", "24", "--mean", "0.4,0.5,0.6", "--std", "0.3"})});
    if (outcome.exit_code != 0) throw std::runtime_error("training failed: " + outcome.errors);
    return made;
  }();
  return out;
}

std::string weights() { return (named_run() / "last.safetensors").string(); }

/// The demonstration's training folders, which are more than its validation folders hold.
fs::path class_folders() { return demo_data() / "train"; }

std::vector<std::string> folder_names(const fs::path& data) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(data)) names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

/// A copy of some of the class folders, each under the name that `rename` gives it.
template <typename Rename>
fs::path folders_renamed(const std::vector<std::string>& names, const Rename& rename) {
  const fs::path copy = new_path("folders");
  for (std::size_t k = 0; k < names.size(); ++k) {
    fs::create_directories(copy);
    fs::copy(class_folders() / names[k], copy / rename(names[k], k), fs::copy_options::recursive);
  }
  return copy;
}

Outcome evaluate(int ranks, const fs::path& data, const fs::path& report, const Words& more = {}) {
  return run({.ranks = ranks,
              .arguments = Words{"eval", "--threads", "1", "--weights", weights(), "--data", data.string(), "--report",
                                 report.string(), "--per-class"} +
                           more});
}

/// Top-1 of each class.
std::map<std::string, double> per_class(const fs::path& report) {
  std::map<std::string, double> accuracies;
  for (const Json& entry : read_json(report)["per_class"]) accuracies[entry["class"]] = entry["top1"];
  return accuracies;
}

std::map<std::string, double> truth() {
  static const std::map<std::string, double> accuracies = [] {
    const fs::path report = new_path("truth.json");
    const fs::path indices = new_path("indices");
    std::string text;
    const auto names = folder_names(class_folders());
    for (std::size_t k = 0; k < names.size(); ++k) text += names[k] + " " + std::to_string(k) + "\n";
    write_text(indices, text);
    const Outcome outcome = evaluate(
        0, class_folders(), report,
        {"--class-indices", indices.string(), "--model", "resnet20", "--crop", "24", "--mean", "0.4,0.5,0.6", "--std", "0.3"});
    if (outcome.exit_code != 0) throw std::runtime_error("evaluating failed: " + outcome.errors);
    return per_class(report);
  }();
  return accuracies;
}

TEST(ClassNames, OfSomeFoldersLeadToTheirOutputsOnAnyRankCount) {
  const auto names = folder_names(class_folders());
  const std::vector<std::string> some{names[8], names[2], names[5]};
  const fs::path data = folders_renamed(some, [](const std::string& name, std::size_t) { return name; });

  for (const int ranks : {0, 2, 3}) {
    const fs::path report = new_path("report.json");
    const Outcome outcome = evaluate(ranks, data, report);

    ASSERT_EQ(outcome.exit_code, 0) << outcome;
    EXPECT_TRUE(outcome.says("classes: 3 of 10 by the names in")) << outcome;
    for (const auto& [name, top1] : per_class(report)) EXPECT_EQ(top1, truth().at(name)) << name << " on " << ranks;
  }
}

TEST(ClassNames, LeaveEveryImagesLogitsAsTheyAre) {
  const auto names = folder_names(class_folders());
  const fs::path data = folders_renamed({names[1], names[9]}, [](const std::string& name, std::size_t) { return name; });
  const fs::path all_logits = new_path("all.safetensors"), some_logits = new_path("some.safetensors");

  ASSERT_EQ(evaluate(0, class_folders(), new_path("r.json"), {"--logits", all_logits.string()}).exit_code, 0);
  ASSERT_EQ(evaluate(2, data, new_path("r.json"), {"--logits", some_logits.string()}).exit_code, 0);

  const std::vector<float> all = read_tensor_file(all_logits).find("logits")->f32;
  const std::vector<float> some = read_tensor_file(some_logits).find("logits")->f32;
  ASSERT_EQ(some.size(), 160U);
  EXPECT_TRUE(std::equal(some.begin(), some.begin() + 80, all.begin() + 80));
  EXPECT_TRUE(std::equal(some.begin() + 80, some.end(), all.begin() + 9 * 80));
}

TEST(ClassNames, OfOtherClassesAreRefused) {
  const auto names = folder_names(class_folders());
  const fs::path data = folders_renamed(names, [](const std::string& name, std::size_t k) { return k == 4 ? "cats" : name; });

  for (const int ranks : {0, 2})
    expect_refused(evaluate(ranks, data, new_path("r.json")), {"1 of 10", "cats", "--class-indices"});
}

TEST(ClassNames, ThatAreNumbersAreMatchedByValue) {
  const auto names = folder_names(class_folders());
  std::vector<std::string> twelve = names;
  twelve.push_back(names[0]), twelve.push_back(names[1]);
  const fs::path padded =
      folders_renamed(twelve, [](const std::string&, std::size_t k) { return (k < 10 ? "0" : "") + std::to_string(k); });
  const fs::path bare = folders_renamed(twelve, [](const std::string&, std::size_t k) { return std::to_string(k); });
  const fs::path out = new_path("numbers");
  ASSERT_EQ(run({.arguments = training_on(padded, {"--global-batch", "16", "--steps", "8", "--out", out.string()})}).exit_code,
            0);
  const auto top1_on = [&](const fs::path& data) {
    const fs::path report = new_path("r.json");
    const Outcome outcome = run({.arguments = {"eval", "--threads", "1", "--weights", (out / "last.safetensors").string(),
                                               "--data", data.string(), "--report", report.string()}});
    EXPECT_EQ(outcome.exit_code, 0) << outcome;
    return read_json(report)["top1"].get<double>();
  };

  EXPECT_EQ(top1_on(bare), top1_on(padded));
}

TEST(ClassNames, WithoutThemOtherCountsAreRefused) {
  const fs::path file = new_path("foreign.safetensors");
  TensorFile foreign = read_tensor_file(weights());
  std::erase_if(foreign.metadata, [](const auto& entry) { return entry.first == "class_names"; });
  write_tensor_file(file, foreign);
  const auto names = folder_names(class_folders());
  const fs::path some = folders_renamed({names[1], names[9]}, [](const std::string& name, std::size_t) { return name; });
  const auto arguments = [&](const fs::path& data) {
    return Words{"eval", "--threads", "1", "--weights", file.string(), "--data", data.string()};
  };

  expect_refused(run({.arguments = arguments(some)}), {"10 folders", "2 folders", "--class-indices"});
  const Outcome all = run({.arguments = arguments(class_folders())});
  EXPECT_EQ(all.exit_code, 0) << all;
  EXPECT_TRUE(all.says("has no names for its outputs")) << all;
}

TEST(Preprocessing, ComesFromTheFileUnlessTheOptionsSayOtherwise) {
  const fs::path report = new_path("report.json");
  const Outcome from_file = evaluate(0, class_folders(), report);

  ASSERT_EQ(from_file.exit_code, 0) << from_file;
  EXPECT_EQ(per_class(report), truth());
  EXPECT_TRUE(from_file.says("crop 24, mean 0.4, 0.5, 0.6, std 0.3, 0.3, 0.3, as in")) << from_file;
  EXPECT_EQ(read_json(report)["preprocessing"]["crop"], 24);
  const Outcome by_options = evaluate(0, class_folders(), report, {"--crop", "32", "--mean", "0.5"});
  EXPECT_TRUE(by_options.says("crop 32, mean 0.5, 0.5, 0.5, std 0.3, 0.3, 0.3, by the options")) << by_options;
}

TEST(Evaluation, TakesTheModelThatTheTensorsFitWhereTheFileNamesNone) {
  const fs::path file = new_path("nameless.safetensors"), report = new_path("report.json");
  TensorFile nameless = read_tensor_file(weights());
  nameless.metadata.erase("model");
  write_tensor_file(file, nameless);

  const Outcome outcome = run({.arguments = {"eval", "--threads", "1", "--weights", file.string(), "--data",
                                             class_folders().string(), "--report", report.string()}});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(read_json(report)["model"], "resnet20");
}

TEST(Evaluation, OfImpossibleStatisticsOrOutputsIsRefused) {
  const fs::path negative = new_path("negative.safetensors"), huge = new_path("huge.safetensors");
  const fs::path not_finite = new_path("nan.safetensors");
  TensorFile file = read_tensor_file(weights());
  const auto tensor = [&](const std::string& name) -> std::vector<float>& {
    return std::ranges::find(file.tensors, name, &FileTensor::name)->f32;
  };
  const float variance = std::exchange(tensor("bn1.running_var")[3], -1.0f);
  write_tensor_file(negative, file);
  tensor("bn1.running_var")[3] = variance;
  const float weight = std::exchange(tensor("conv1.weight")[7], std::numeric_limits<float>::quiet_NaN());
  write_tensor_file(not_finite, file);
  tensor("conv1.weight")[7] = weight;
  std::ranges::fill(tensor("linear.weight"), 3e38f);
  write_tensor_file(huge, file);
  const auto evaluated = [&](const std::string& files) {
    return run({.ranks = 2, .arguments = {"eval", "--threads", "1", "--weights", files, "--data", class_folders().string()}});
  };

  expect_refused(evaluated(negative.string()), {"bn1.running_var: 1 value that is below 0"});
  for (const std::string& files : {not_finite.string(), weights() + "," + not_finite.string()}) {
    expect_refused(evaluated(files), {not_finite.string() + ": ", "conv1.weight: 1 value that is not finite"});
  }
  expect_refused(run({.arguments = {"train", "--threads", "1", "--steps", "1", "--data", class_folders().string(),
                                    "--init-from", not_finite.string()}}),
                 {not_finite.string() + ": ", "conv1.weight: 1 value that is not finite"});
  for (const std::string& files : {huge.string(), weights() + "," + huge.string()}) {
    const Outcome outcome = evaluated(files);
    EXPECT_EQ(outcome.exit_code, 5) << outcome;
    EXPECT_TRUE(outcome.says("evaluating " + huge.string() + ": expected finite outputs")) << outcome;
  }
}

TEST(Preprocessing, OfBytesIsRefused) {
  const Outcome outcome = evaluate(0, class_folders(), new_path("r.json"), {"--mean", "123.68,116.78,103.94", "--std", "0"});

  EXPECT_EQ(outcome.exit_code, 2) << outcome;
  EXPECT_TRUE(outcome.says("divided by 255")) << outcome;
  EXPECT_TRUE(outcome.says("--std")) << outcome;
}

TEST(FineTuning, TakesPreparationFromTheFileAndStartsAnotherHeadAfresh) {
  const auto names = folder_names(class_folders());
  const fs::path data = folders_renamed(names, [](const std::string& name, std::size_t) { return "my-" + name; });
  const fs::path out = new_path("tuned");

  const Outcome outcome =
      run({.ranks = 2,
           .arguments =
               training_on(data, {"--global-batch", "16", "--steps", "2", "--init-from", weights(), "--out", out.string()})});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("the head starts afresh")) << outcome;
  const TensorFile tuned = read_tensor_file(out / "last.safetensors");
  EXPECT_EQ(card_of(tuned).preprocessing, card_of(read_tensor_file(weights())).preprocessing);
  EXPECT_EQ(card_of(tuned).class_names.front(), "my-" + names.front());
  EXPECT_EQ(read_json(out / "report.json")["class_names"].size(), 10U);
}

TEST(Resuming, OverFinishedWeightsWithoutACheckpointIsRefused) {
  const fs::path out = new_path("emptied");
  fs::copy(named_run(), out, fs::copy_options::recursive);
  const auto arguments = [&](const fs::path& into, const std::string& resume) {
    return training_into(into, {"--global-batch", "16", "--steps", "12", "--base-lr", "1", "--crop", "24", "--mean",
                                "0.4,0.5,0.6", "--std", "0.3", "--resume", resume});
  };
  const Outcome directory = run({.ranks = 2, .arguments = arguments(new_path("other"), out.string())});
  EXPECT_EQ(directory.exit_code, 2) << directory;
  EXPECT_TRUE(directory.says("--out " + out.string() + " --resume auto")) << directory;
  const std::string before = read_text(out / "last.safetensors");
  for (const auto& entry : fs::directory_iterator(out / "checkpoints")) fs::remove(entry.path());

  for (const int ranks : {0, 2}) {
    const Outcome outcome = run({.ranks = ranks, .arguments = arguments(out, "auto")});
    EXPECT_EQ(outcome.exit_code, 2) << outcome;
    EXPECT_TRUE(outcome.says("which a run from the beginning would replace")) << outcome;
  }
  EXPECT_EQ(read_text(out / "last.safetensors"), before);
}

TEST(Resuming, WithOtherValidationSeeksTheBestAnew) {
  const fs::path out = new_path("run");
  const auto arguments = [&](const char* steps, const Words& more) {
    return training_into(out, Words{"--global-batch", "16", "--steps", steps, "--resume", "auto"} + more);
  };
  ASSERT_EQ(run({.arguments = arguments("2", {})}).exit_code, 0);

  const Outcome same = run({.arguments = arguments("3", {})});
  const Outcome other = run({.ranks = 2, .arguments = arguments("4", {"--val-data", class_folders().string()})});

  EXPECT_FALSE(same.says("the best is sought anew")) << same;
  EXPECT_EQ(other.exit_code, 0) << other;
  EXPECT_TRUE(other.says("the best is sought anew")) << other;
  EXPECT_TRUE(other.says("(best so far)")) << other;
}

TEST(Resuming, WithoutKnowingTheValidationOfAnOlderVersionKeepsTheBestAndSaysSo) {
  const fs::path out = new_path("run");
  const auto arguments = [&](const char* steps) {
    return training_into(out, Words{"--global-batch", "16", "--steps", steps, "--resume", "auto"});
  };
  ASSERT_EQ(run({.arguments = arguments("2")}).exit_code, 0);
  TensorFile saved = read_tensor_file(checkpoint(out, 2));
  saved.metadata.at("dtrain.validation") = "16045690984503098046";  // of size, classes, and the first and last name
  write_tensor_file(checkpoint(out, 2), saved);

  const Outcome outcome = run({.arguments = arguments("3")});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(outcome.count("does not say which images validation was on"), 1) << outcome;
  EXPECT_FALSE(outcome.says("the best is sought anew")) << outcome;
}

TEST(Resuming, AfterAClassFolderWasRenamedIsRefused) {
  const fs::path data = copy_of_demo_data(), out = new_path("run");
  const auto names = folder_names(data / "train");
  const auto arguments = [&](const char* steps) {
    return training_on(data, {"--global-batch", "16", "--steps", steps, "--out", out.string(), "--resume", "auto"});
  };
  ASSERT_EQ(run({.arguments = arguments("2")}).exit_code, 0);
  for (const char* split : {"train", "val"}) fs::rename(data / split / names.front(), data / split / "zebra");

  const Outcome outcome = run({.ranks = 2, .arguments = arguments("2")});

  EXPECT_EQ(outcome.exit_code, 2) << outcome;
  EXPECT_TRUE(outcome.says("'" + names[0] + "'")) << outcome;
  EXPECT_TRUE(outcome.says("--init-from")) << outcome;
}

}  // namespace
}  // namespace dtrain
