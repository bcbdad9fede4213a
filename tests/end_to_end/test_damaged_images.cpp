// Damaged images are counted alike whatever runs: any number of ranks, any exchange, stages, resumption; told of when they are
// met; and left out of evaluation, which says so wherever it gives a figure.
#include <gtest/gtest.h>

#include "dtrain/checkpoint.hpp"
#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

const Words kWholeEpoch{"--global-batch", "16", "--epochs", "1", "--eval-every", "off"};

/// Four truncated training images, in four classes.
struct DamagedTraining {
  fs::path data = copy_of_demo_data();
  std::vector<fs::path> files;

  DamagedTraining() {
    for (const std::int64_t label : {0, 2, 5, 9}) {
      files.push_back(demo_picture(data, "train", label, label % 3));
      truncate_file(files.back(), 0.4);
    }
  }
};

const DamagedTraining& damaged_training() {
  static const DamagedTraining damage;
  return damage;
}

Outcome train_with(const std::string& max_damaged, const Words& more, int ranks = 0) {
  return run({.ranks = ranks, .arguments = training_on(damaged_training().data, more + Words{"--max-damaged", max_damaged})});
}

TEST(DamagedImages, OneMoreThanAllowedIsRefusedOnAnyNumberOfRanks) {
  for (const int ranks : {0, 2, 3, 4}) {
    SCOPED_TRACE(ranks);
    expect_refused(train_with("3", kWholeEpoch, ranks), {"expected at most 3 damaged images, found 4 so far"});
  }
}

TEST(DamagedImages, AsManyAsAllowedAreAcceptedOnAnyNumberOfRanksAndReported) {
  for (const int ranks : {0, 2, 3}) {
    SCOPED_TRACE(ranks);
    const fs::path report = new_path("report.json");

    const Outcome outcome = train_with("4", {"--global-batch", "16", "--epochs", "2", "--report", report.string()}, ranks);

    ASSERT_EQ(outcome.exit_code, 0) << outcome;
    EXPECT_EQ(outcome.count("damaged training image, replaced by the next readable one (met by rank "), 4) << outcome;
    for (const fs::path& file : damaged_training().files) EXPECT_TRUE(outcome.says(file.string())) << file << outcome;
    EXPECT_LT(outcome.errors.find("met by rank"), outcome.errors.find("so far, each replaced")) << outcome;
    const Json damaged = read_json(report).at("damaged");
    EXPECT_EQ(damaged.at("count"), 4);
    EXPECT_EQ(damaged.at("images").size(), 4U);
  }
}

TEST(DamagedImages, AreCountedWhereStepsShareNoSumsToo) {
  for (const Words& exchange : {Words{"--allreduce", "none"}, Words{"--allreduce", "ps", "--ps-mode", "async"},
                                Words{"--allreduce", "ps", "--ps-mode", "backup"}, Words{"--allreduce", "ps"}}) {
    SCOPED_TRACE(exchange.back());
    expect_refused(train_with("3", kWholeEpoch + exchange, 2), {"expected at most 3 damaged images, found 4 so far"});
  }
}

TEST(DamagedImages, AreCountedOverAllStages) {
  for (const int ranks : {0, 2}) {
    const Words stages{"--global-batch", "16", "--eval-every", "off", "--stages", "a: steps=2; b: steps=2; c: steps=1"};
    expect_refused(train_with("3", stages, ranks), {"expected at most 3 damaged images, found 4 so far"});
    EXPECT_EQ(train_with("4", stages, ranks).exit_code, 0);
  }
}

TEST(DamagedImages, AreRememberedOverAResumptionUnlessTheyCanBeReadAgain) {
  const fs::path data = copy_of_demo_data();
  for (const fs::path& file : damaged_training().files) {
    fs::copy_file(file, data / fs::relative(file, damaged_training().data), fs::copy_options::overwrite_existing);
  }
  const fs::path out = new_path("run");
  const Words options = training_on(data, kWholeEpoch);
  const Words saving{"--out", out.string(), "--checkpoint-every", "1", "--keep-checkpoints", "9"};
  ASSERT_EQ(run({.arguments = options + saving}).exit_code, 0);
  fs::path saved;  // before the last of the damaged ones is met
  std::string met;
  for (std::int64_t step = 1; step < 5; ++step) {
    const auto metadata = read_tensor_file(checkpoint(out, step)).metadata;
    const auto entry = metadata.find("dtrain.damaged");
    if (entry == metadata.end() || std::ranges::count(entry->second, ' ') > 2) continue;
    saved = checkpoint(out, step);
    met = entry->second;
  }
  ASSERT_FALSE(met.empty()) << "no damaged image in the first steps";
  const Words resumed = options + Words{"--resume", saved.string(), "--max-damaged", "3"};

  for (const int ranks : {0, 2}) expect_refused(run({.ranks = ranks, .arguments = resumed}), {"at most 3", "found 4 so far"});

  const auto mended = static_cast<std::size_t>(std::stoll(met));  // the first of those met: in the order of the data set
  const fs::path file = demo_picture(data, "train", static_cast<std::int64_t>(mended) / 8, static_cast<std::int64_t>(mended) % 8);
  fs::copy_file(demo_data() / fs::relative(file, data), file, fs::copy_options::overwrite_existing);
  const Outcome outcome = run({.ranks = 2, .arguments = resumed});
  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("; 1 of them can be read now")) << outcome;
}

/// Validation images of which three cannot be read, two of them a whole class; and weights.
struct DamagedValidation {
  fs::path data = copy_of_demo_data();
  fs::path readable = copy_of_demo_data();  ///< without those that share their class with a readable one
  fs::path weights = new_path("weights.safetensors");
  std::vector<fs::path> files{demo_picture(data, "val", 3, 0), demo_picture(data, "val", 3, 1), demo_picture(data, "val", 6, 0)};

  DamagedValidation() {
    for (const fs::path& file : files) truncate_file(file, 0.4);
    fs::remove(demo_picture(readable, "val", 6, 0));
    EXPECT_EQ(run({.arguments = {"init", "--model", "resnet20", "--out", weights.string()}}).exit_code, 0);
  }

  Words evaluation(const Words& more) const {
    return Words{"eval", "--model", "resnet20", "--data", data.string(), "--weights", weights.string(), "--threads", "1"} + more;
  }
};

const DamagedValidation& damaged_validation() {
  static const DamagedValidation damage;
  return damage;
}

TEST(DamagedImages, AreLeftOutOfEvaluationOnAnyNumberOfRanks) {
  const DamagedValidation& damage = damaged_validation();
  std::vector<Json> reports;
  std::vector<std::string> tables;
  for (const int ranks : {0, 2, 3}) {
    const fs::path report = new_path("report.json");
    const fs::path confusion = new_path("confusion.csv");

    const Outcome outcome = run({.ranks = ranks,
                                 .arguments = damage.evaluation({"--per-class", "--report", report.string(), "--confusion",
                                                                 confusion.string()})});

    ASSERT_EQ(outcome.exit_code, 0) << outcome;
    EXPECT_TRUE(outcome.says("on 17 pictures of " + damage.data.string() + ", 3 left out as unreadable")) << outcome;
    EXPECT_EQ(outcome.count("3 damaged evaluated images cannot be read"), 1) << outcome;
    for (const fs::path& file : damage.files) EXPECT_EQ(outcome.count(file.string()), 1) << outcome;
    reports.push_back(read_json(report));
    tables.push_back(read_text(confusion));
  }

  for (const Json& report : reports) {
    EXPECT_EQ(report.at("samples"), 17);
    EXPECT_EQ(report.at("damaged").at("count"), 3);
    EXPECT_EQ(report.at("damaged").at("images").at(2), damage.files[2].string());
    EXPECT_EQ(report.at("top1"), reports[0].at("top1"));
    EXPECT_NEAR(report.at("loss").get<double>(), reports[0].at("loss").get<double>(), 1e-5);
    const Json& whole_class = report.at("per_class").at(3);
    EXPECT_EQ(whole_class.at("samples"), 0);
    EXPECT_EQ(whole_class.at("damaged"), 2);
    EXPECT_TRUE(whole_class.at("top1").is_null());
    EXPECT_EQ(report.at("per_class").at(6).at("samples"), 1);
  }
  EXPECT_EQ(tables[0], tables[1]);
  EXPECT_EQ(tables[0], tables[2]);
}

TEST(DamagedImages, DoNotChangeTheFiguresOfTheOthers) {
  const DamagedValidation& damage = damaged_validation();
  const fs::path data = copy_of_demo_data();
  truncate_file(demo_picture(data, "val", 6, 0), 0.4);
  const fs::path reports[] = {new_path("report.json"), new_path("report.json")};
  const Words common{"eval", "--model", "resnet20", "--weights", damage.weights.string(), "--threads", "1"};

  const Outcome damaged = run({.arguments = common + Words{"--data", data.string(), "--report", reports[0].string()}});
  const Outcome absent = run({.arguments = common + Words{"--data", damage.readable.string(), "--report", reports[1].string()}});

  ASSERT_EQ(damaged.exit_code, 0) << damaged;
  ASSERT_EQ(absent.exit_code, 0) << absent;
  for (const char* figure : {"top1", "top5", "samples"}) {
    EXPECT_EQ(read_json(reports[0]).at(figure), read_json(reports[1]).at(figure)) << figure;
  }
  EXPECT_NEAR(read_json(reports[0]).at("loss").get<double>(), read_json(reports[1]).at("loss").get<double>(), 1e-5);
}

TEST(DamagedImages, AreLeftOutForEveryMemberOfAnEnsemble) {
  const DamagedValidation& damage = damaged_validation();
  const fs::path other = new_path("other.safetensors");
  ASSERT_EQ(run({.arguments = {"init", "--model", "resnet20", "--seed", "2", "--out", other.string()}}).exit_code, 0);
  for (const int ranks : {0, 3}) {
    const fs::path report = new_path("report.json");

    const Outcome outcome = run({.ranks = ranks,
                                 .arguments = damage.evaluation({"--weights", damage.weights.string() + "," + other.string(),
                                                                 "--report", report.string()})});

    ASSERT_EQ(outcome.exit_code, 0) << outcome;
    EXPECT_EQ(read_json(report).at("samples"), 17);
    EXPECT_TRUE(outcome.says("3 left out as unreadable")) << outcome;
  }
}

TEST(DamagedImages, OneMoreThanAllowedIsRefusedByEvaluationOnAnyNumberOfRanks) {
  for (const int ranks : {0, 2, 3}) {
    SCOPED_TRACE(ranks);
    expect_refused(run({.ranks = ranks, .arguments = damaged_validation().evaluation({"--max-damaged", "2"})}),
                   {"at most 2 damaged images", "3 so far"});
    EXPECT_EQ(run({.ranks = ranks, .arguments = damaged_validation().evaluation({"--max-damaged", "3"})}).exit_code, 0);
  }
}

TEST(DamagedImages, AnEvaluationOfNothingElseIsRefused) {
  const fs::path data = copy_of_demo_data();
  for (std::int64_t k = 0; k < kValPictures; ++k) truncate_file(demo_picture(data, "val", k / 2, k % 2), 0.4);
  for (const int ranks : {0, 2}) {
    expect_refused(run({.ranks = ranks, .arguments = damaged_validation().evaluation({"--data", data.string()})}),
                   {"expected an image that can be read, found none among 20"});
  }
}

TEST(DamagedImages, AreLeftOutOfTheValidationOfTraining) {
  const fs::path metrics = new_path("metrics.jsonl");
  const fs::path report = new_path("report.json");

  const Outcome outcome = run({.ranks = 2,
                               .arguments = training_on(damaged_validation().data,
                                                        {"--global-batch", "16", "--epochs", "2", "--metrics", metrics.string(),
                                                         "--report", report.string()})});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_GE(outcome.count(", 3 left out as unreadable"), 2) << outcome;
  EXPECT_EQ(outcome.count(damaged_validation().files[0].string()), 1) << outcome;  // named once
  for (const Json& line : metrics_lines(metrics, "val_loss")) {
    EXPECT_EQ(line.at("val_samples"), 17);
    EXPECT_EQ(line.at("val_damaged"), 3);
  }
  EXPECT_EQ(read_json(report).at("validation").at("damaged").at("count"), 3);
  EXPECT_EQ(read_json(report).at("damaged").at("count"), 0);
}

}  // namespace
}  // namespace dtrain
