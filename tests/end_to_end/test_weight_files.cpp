// Weights as files: fresh ones, fine-tuning from them, evaluating them, and which of them a run keeps.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

fs::path fresh_weights(const std::string& model, int num_classes, int seed) {
  const fs::path file = new_path(model + ".safetensors");
  const Outcome outcome = run({.arguments = {"init", "--model", model, "--num-classes", std::to_string(num_classes), "--seed",
                                             std::to_string(seed), "--out", file.string()}});
  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  return file;
}

/// weights: a file, or several with commas between them.
std::vector<std::string> evaluation(const std::string& weights, const fs::path& report) {
  return {"eval", "--model",   "resnet20", "--data",   demo_data().string(), "--threads",
          "1",    "--weights", weights,    "--report", report.string()};
}

using Counts = std::vector<std::vector<int>>;

/// What --confusion is to write.
std::string confusion_text(const std::vector<std::string>& folders, const std::vector<std::string>& outputs,
                           const Counts& counts) {
  std::string text = "true/predicted";
  for (const std::string& output : outputs) text += "," + output;
  for (std::size_t folder = 0; folder < folders.size(); ++folder) {
    text += "\n" + folders[folder];
    for (const int count : counts[folder]) text += "," + std::to_string(count);
  }
  return text + "\n";
}

Json evaluated(int ranks, const fs::path& weights) {
  const fs::path report = new_path("eval.json");
  const Outcome outcome = run({.ranks = ranks, .arguments = evaluation(weights, report)});
  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  return read_json(report);
}

/// A run whose weights have learned a little, evaluated after every second step.
const fs::path& trained_run() {
  static const fs::path out = [] {
    const fs::path made = new_path("trained");
    const Outcome outcome =
        run({.arguments = training_into(made, {"--global-batch", "16", "--steps", "8", "--base-lr", "1", "--checkpoint-every",
                                               "2", "--eval-every", "2", "--keep-checkpoints", "2"})});
    if (outcome.exit_code != 0) throw std::runtime_error("training failed: " + outcome.errors);
    return made;
  }();
  return out;
}

TEST(Init, WritesEqualFilesForEqualSeeds) {
  const std::string first = read_text(fresh_weights("resnet20", 10, 7));

  EXPECT_FALSE(first.empty());
  EXPECT_TRUE(first == read_text(fresh_weights("resnet20", 10, 7)));
  EXPECT_FALSE(first == read_text(fresh_weights("resnet20", 10, 8)));
}

TEST(Init, WritesTheWeightsFromWhichTrainingStarts) {
  const fs::path weights = fresh_weights("resnet20", 10, 3);
  const fs::path from_file = new_path("report.json");
  const fs::path from_seed = new_path("report.json");
  const std::vector<std::string> options{"--global-batch", "16", "--steps", "2", "--eval-every", "off",
                                         "--seed",         "3",  "--report"};
  std::vector<std::string> file_options = options, seed_options = options;
  file_options.insert(file_options.end(), {from_file.string(), "--init-from", weights.string()});
  seed_options.push_back(from_seed.string());

  const Outcome file_outcome = run({.arguments = training(file_options)});
  const Outcome seed_outcome = run({.arguments = training(seed_options)});

  ASSERT_EQ(file_outcome.exit_code, 0) << file_outcome;
  ASSERT_EQ(seed_outcome.exit_code, 0) << seed_outcome;
  EXPECT_EQ(fingerprint(from_file), fingerprint(from_seed));
}

// A step with a rate of 1e-30 moves what is 0 (β) by less than 1e-25 and changes no other float, so what is saved is what was
// taken over.
TEST(InitFrom, TakesAllButAHeadOfAnotherClassCountAndListsIt) {
  const fs::path weights = fresh_weights("resnet20", 7, 5);
  const fs::path out = new_path("tuned");

  const Outcome outcome =
      run({.ranks = 2,
           .arguments = training_into(out, {"--global-batch", "16", "--steps", "1", "--eval-every", "off", "--lr", "1e-30",
                                            "--weight-decay", "0", "--init-from", weights.string()})});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("re-initialised (other shape) 2: linear.weight: file (7, 64), network (10, 64), linear.bias"))
      << outcome;
  const TensorFile before = read_tensor_file(weights);
  const TensorFile after = read_tensor_file(out / "last.safetensors");
  const TensorFile fresh = read_tensor_file(fresh_weights("resnet20", 10, 1));
  for (const TensorFile* file : {&after, &fresh}) ASSERT_NE(file->find("linear.weight"), nullptr);
  int compared = 0;
  for (const FileTensor& tensor : before.tensors) {
    const bool is_statistic = tensor.name.find(".running_") != std::string::npos;
    if (tensor.type != ElementType::f32 || is_statistic || tensor.name.starts_with("linear.")) continue;
    ASSERT_NE(after.find(tensor.name), nullptr) << tensor.name;
    const bool is_equal =
        std::ranges::equal(after.find(tensor.name)->f32, tensor.f32, [](float a, float b) { return std::abs(a - b) < 1e-25F; });
    EXPECT_TRUE(is_equal) << tensor.name;
    ++compared;
  }
  EXPECT_GE(compared, 19 + 2 * 19) << "19 convolutions, each with γ and β";
  EXPECT_TRUE(after.find("linear.weight")->f32 == fresh.find("linear.weight")->f32);
  EXPECT_EQ(after.find("linear.weight")->shape, (Shape{10, 64}));
}

TEST(InitFrom, ACheckpointTakesItsWeightsAlone) {
  const fs::path out = new_path("tuned");
  const fs::path checkpoint = CheckpointPaths{.out = trained_run()}.checkpoint(8);

  const Outcome outcome =
      run({.arguments = training_into(out, {"--global-batch", "16", "--steps", "1", "--eval-every", "off", "--lr", "1e-30",
                                            "--weight-decay", "0", "--init-from", checkpoint.string()})});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_FALSE(outcome.says("not used")) << outcome;
  EXPECT_EQ(fingerprint(out / "report.json"), fingerprint(trained_run() / "report.json"));
  EXPECT_EQ(metrics_lines(out / "metrics.jsonl", "loss").at(0).at("step"), 1);
}

TEST(Eval, OfFreshWeightsCountsEveryPicture) {
  const Json result = evaluated(0, fresh_weights("resnet20", 10, 1));

  EXPECT_EQ(result.at("samples"), kValPictures);
  EXPECT_GE(result.at("top5").get<double>(), result.at("top1").get<double>());
  EXPECT_GT(result.at("loss").get<double>(), 0.0);
}

// resnet50, which is meant where nothing is said, would not take pictures this small.
TEST(Eval, JudgesTheCropByTheModelOfTheWeights) {
  const auto eval_at = [](const std::string& crop) {
    return run({.arguments = {"eval", "--data", demo_data().string(), "--weights",
                              (trained_run() / "last.safetensors").string(), "--threads", "1", "--crop", crop}});
  };
  const Outcome small = eval_at("24");
  EXPECT_EQ(small.exit_code, 0) << small;
  const Outcome tiny = eval_at("2");
  EXPECT_EQ(tiny.exit_code, 2) << tiny;
  EXPECT_TRUE(tiny.says("building model resnet20")) << tiny;
}

TEST(Eval, IsExactOverAnyNumberOfRanks) {
  const fs::path weights = trained_run() / "last.safetensors";
  const Json alone = evaluated(1, weights);

  for (const int ranks : {2, 3}) {
    SCOPED_TRACE(ranks);
    const Json together = evaluated(ranks, weights);

    EXPECT_EQ(together.at("samples"), alone.at("samples"));
    EXPECT_EQ(together.at("top1"), alone.at("top1"));
    EXPECT_EQ(together.at("top5"), alone.at("top5"));
    EXPECT_NEAR(together.at("loss").get<double>(), alone.at("loss").get<double>(), 1e-9 * alone.at("loss").get<double>());
  }
}

TEST(Eval, PrintsWhatItReports) {
  const fs::path report = new_path("eval.json");
  const Outcome outcome = run({.ranks = 2, .arguments = evaluation(trained_run() / "last.safetensors", report)});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  char expected[64];
  std::snprintf(expected, sizeof expected, "top-1 %.2f %%", 100.0 * read_json(report).at("top1").get<double>());
  EXPECT_EQ(outcome.count(expected), 1) << outcome;
}

// Counted again from the logits that the same run writes: the demo's pictures are two of each class, in the order of the
// labels.
TEST(Eval, JudgesFoldersByTheirClassIndices) {
  const fs::path weights = fresh_weights("resnet20", 13, 2);
  const fs::path list = new_path("list.txt");
  const fs::path logits = new_path("logits.safetensors");
  const fs::path report = new_path("eval.json");
  std::string lines;
  std::int64_t index = 13;
  for (const std::string& folder : file_names(demo_data() / "val")) lines += folder + " " + std::to_string(--index) + "\n";
  write_text(list, lines);
  std::vector<std::string> arguments = evaluation(weights, report);
  const fs::path confusion = new_path("confusion.csv");
  arguments.insert(arguments.end(), {"--num-classes", "13", "--class-indices", list.string(), "--logits", logits.string(),
                                     "--confusion", confusion.string()});

  const Outcome outcome = run({.ranks = 2, .arguments = arguments});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  const TensorFile file = read_tensor_file(logits);
  const FileTensor& tensor = *file.find("logits");
  ASSERT_EQ(tensor.shape, (Shape{kValPictures, 13}));
  const std::vector<std::string> folders = file_names(demo_data() / "val");
  Counts counts(10, std::vector<int>(13));
  double loss = 0.0;
  int top1 = 0, top5 = 0;
  for (std::int64_t picture = 0; picture < kValPictures; ++picture) {
    const float* row = tensor.f32.data() + picture * 13;
    const float own = row[12 - picture / 2];
    double sum = 0.0;
    for (int k = 0; k < 13; ++k) sum += std::exp(static_cast<double>(row[k]) - own);
    loss += std::log(sum) / kValPictures;
    const auto larger = std::count_if(row, row + 13, [&](float logit) { return logit > own; });
    top1 += larger < 1, top5 += larger < 5;
    ++counts[static_cast<std::size_t>(picture / 2)][static_cast<std::size_t>(std::max_element(row, row + 13) - row)];
  }
  std::vector<std::string> outputs{"class 0", "class 1", "class 2"};
  outputs.insert(outputs.end(), folders.rbegin(), folders.rend());
  EXPECT_EQ(read_text(confusion), confusion_text(folders, outputs, counts));
  const Json result = read_json(report);
  EXPECT_FALSE(result.contains("per_class")) << "without --per-class";
  EXPECT_DOUBLE_EQ(result.at("top1").get<double>(), static_cast<double>(top1) / kValPictures);
  EXPECT_DOUBLE_EQ(result.at("top5").get<double>(), static_cast<double>(top5) / kValPictures);
  EXPECT_NEAR(result.at("loss").get<double>(), loss, 1e-9 * loss);  // sums of doubles in another order
}

// The mean counted again from the logits of each file by itself. 20 pictures on three ranks: unequal shares.
TEST(Ensemble, IsTheMeanOfItsMembersWhichHaveTheBitsOfEachAlone) {
  const std::vector<std::string> files{trained_run() / "last.safetensors", fresh_weights("resnet20", 10, 1),
                                       fresh_weights("resnet20", 10, 2)};
  const fs::path logits = new_path("logits.safetensors");
  const fs::path report = new_path("eval.json");
  std::vector<Json> alone;
  std::vector<double> mean(kValPictures * 10, 0.0);
  std::vector<std::vector<std::int64_t>> said(kValPictures);
  for (const std::string& file : files) {
    const Outcome outcome = run({.ranks = 3, .arguments = evaluation(file, report) + Words{"--logits", logits}});
    ASSERT_EQ(outcome.exit_code, 0) << outcome;
    alone.push_back(read_json(report));
    const TensorFile written = read_tensor_file(logits);
    for (std::int64_t picture = 0; picture < kValPictures; ++picture) {
      const float* row = written.find("logits")->f32.data() + picture * 10;
      double sum = 0.0;
      for (int k = 0; k < 10; ++k) sum += std::exp(static_cast<double>(row[k]));
      for (int k = 0; k < 10; ++k)
        mean[static_cast<std::size_t>(picture * 10 + k)] += std::exp(static_cast<double>(row[k])) / sum / 3;
      said[static_cast<std::size_t>(picture)].push_back(std::max_element(row, row + 10) - row);
    }
  }
  double loss = 0.0, pairs = 0.0;
  int top1 = 0, top5 = 0, all = 0;
  Counts counts(10, std::vector<int>(10));
  for (std::int64_t picture = 0; picture < kValPictures; ++picture) {
    const double* row = mean.data() + picture * 10;
    const double own = row[picture / 2];
    loss -= std::log(own) / kValPictures;
    const auto larger = std::count_if(row, row + 10, [&](double probability) { return probability > own; });
    top1 += larger < 1, top5 += larger < 5;
    ++counts[static_cast<std::size_t>(picture / 2)][static_cast<std::size_t>(std::max_element(row, row + 10) - row)];
    const auto& classes = said[static_cast<std::size_t>(picture)];
    const int equal = (classes[0] == classes[1]) + (classes[0] == classes[2]) + (classes[1] == classes[2]);
    pairs += equal / 3.0 / kValPictures;
    all += equal == 3;
  }

  const fs::path confusion = new_path("confusion.csv");
  const Outcome outcome = run({.ranks = 3,
                               .arguments = evaluation(files[0] + "," + files[1] + "," + files[2], report) +
                                            Words{"--per-class", "--confusion", confusion}});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  const Json result = read_json(report);
  ASSERT_EQ(result.at("members").size(), 3U);
  for (std::size_t k = 0; k < 3; ++k) {
    for (const char* key : {"weights", "top1", "top5", "loss"})
      EXPECT_EQ(result.at("members")[k].at(key), alone[k].at(key)) << key;
    EXPECT_EQ(outcome.count("of " + files[k] + "\n"), 1) << outcome;
  }
  for (const Json& whole : {result.at("ensemble"), result}) {
    EXPECT_DOUBLE_EQ(whole.at("top1").get<double>(), static_cast<double>(top1) / kValPictures);
    EXPECT_DOUBLE_EQ(whole.at("top5").get<double>(), static_cast<double>(top5) / kValPictures);
    EXPECT_NEAR(whole.at("loss").get<double>(), loss, 1e-9 * loss);  // sums of doubles in another order
  }
  EXPECT_NEAR(result.at("agreement").at("pairs").get<double>(), pairs, 1e-12);
  EXPECT_DOUBLE_EQ(result.at("agreement").at("all").get<double>(), static_cast<double>(all) / kValPictures);
  const std::vector<std::string> folders = file_names(demo_data() / "val");
  EXPECT_EQ(read_text(confusion), confusion_text(folders, folders, counts));
  ASSERT_EQ(result.at("per_class").size(), 10U);
  for (std::size_t k = 0; k < 10; ++k) {
    EXPECT_EQ(result.at("per_class")[k],
              (Json{{"class", folders[k]}, {"samples", 2}, {"damaged", 0}, {"top1", counts[k][k] / 2.0}}));
    EXPECT_EQ(outcome.count("  " + folders[k] + " "), 1) << outcome;
  }
  EXPECT_EQ(outcome.count("of the ensemble  on 20 pictures"), 1) << outcome;
  EXPECT_EQ(outcome.count("agreement: two members "), 1) << outcome;
}

TEST(Ensemble, IsRefusedForAFileThatDoesNotFitBeforeAnythingIsEvaluated) {
  const fs::path good = fresh_weights("resnet20", 10, 1);
  const fs::path other = fresh_weights("resnet20", 7, 1);
  for (const auto& [bad, says] : {std::pair{other, "file (7, 64), network (10, 64)"}, std::pair{fs::path("none"), "none"}}) {
    const Outcome outcome = run({.arguments = evaluation(good.string() + "," + bad.string(), new_path("eval.json"))});

    expect_refused(outcome, {bad.string(), says});
    EXPECT_FALSE(outcome.says("top-1")) << outcome;
  }
}

TEST(Eval, RefusesClassIndicesThatLackAFolder) {
  const fs::path list = new_path("list.txt");
  write_text(list, "no_such_folder 0\n");
  std::vector<std::string> arguments = evaluation(fresh_weights("resnet20", 10, 1), new_path("eval.json"));
  arguments.insert(arguments.end(), {"--class-indices", list.string()});

  expect_refused(run({.arguments = arguments}), {list.string(), "a line for each of them", file_names(demo_data() / "val")[0]});
}

TEST(Keeping, TheNewestCheckpointsAndNoMore) {
  EXPECT_EQ(file_names(trained_run() / "checkpoints"),
            (std::vector<std::string>{"step-000000006.safetensors", "step-000000008.safetensors"}));
}

TEST(Keeping, LastHoldsTheWeightsOfTheNewestCheckpoint) {
  const TensorFile last = read_tensor_file(trained_run() / "last.safetensors");
  const TensorFile newest = read_tensor_file(CheckpointPaths{.out = trained_run()}.checkpoint(8));

  ASSERT_GT(last.tensors.size(), 3U * 19U);
  for (const FileTensor& tensor : last.tensors) {
    ASSERT_NE(newest.find(tensor.name), nullptr) << tensor.name;
    EXPECT_TRUE(newest.find(tensor.name)->f32 == tensor.f32 && newest.find(tensor.name)->i64 == tensor.i64) << tensor.name;
  }
  EXPECT_EQ(last.metadata.at("model"), "resnet20");
}

TEST(Keeping, BestHoldsTheWeightsOfTheBestEvaluation) {
  double best = -1.0;
  double loss = 0.0;
  for (const Json& line : metrics_lines(trained_run() / "metrics.jsonl", "val_top1")) {
    if (line.at("val_top1").get<double>() <= best) continue;
    best = line.at("val_top1");
    loss = line.at("val_loss");
  }

  const Json result = evaluated(0, trained_run() / "best.safetensors");

  EXPECT_EQ(result.at("top1").get<double>(), best);
  EXPECT_NEAR(result.at("loss").get<double>(), loss, 1e-5 * loss);
}

TEST(Keeping, BestAndEvaluationsAreOfTheAverageOfTheWeights) {
  const fs::path out = new_path("averaged");

  const Outcome outcome = run({.ranks = 2,
                               .arguments = training_into(out, {"--global-batch", "16", "--steps", "4", "--base-lr", "1",
                                                                "--eval-every", "4", "--ema", "0.5"})});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(read_text(out / "best.safetensors") == read_text(out / "average.safetensors"));
  const double loss = metrics_lines(out / "metrics.jsonl", "val_loss").back().at("val_loss");
  EXPECT_NEAR(evaluated(0, out / "average.safetensors").at("loss").get<double>(), loss, 1e-5 * loss);
  EXPECT_GT(std::abs(evaluated(0, out / "last.safetensors").at("loss").get<double>() - loss), 1e-3 * loss);
}

TEST(Inspect, ShowsTensorsAndWhetherTheFileIsUndamaged) {
  const Outcome outcome = run({.arguments = {"inspect", (trained_run() / "last.safetensors").string()}});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("checksum: right")) << outcome;
  EXPECT_TRUE(outcome.says("layer3.2.bn2.running_var")) << outcome;

  const fs::path damaged = new_path("damaged.safetensors");
  fs::copy_file(trained_run() / "last.safetensors", damaged);
  flip_bit(damaged);
  const Outcome refused = run({.arguments = {"inspect", damaged.string()}});

  EXPECT_EQ(refused.exit_code, 3) << refused;
  EXPECT_TRUE(refused.says("checksum")) << refused;
}

}  // namespace
}  // namespace dtrain
