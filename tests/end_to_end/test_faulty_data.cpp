// Data sets that are missing, wrong or damaged: refused with their path, or trained on with every damaged picture named.
#include <gtest/gtest.h>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// One epoch without evaluation: every training picture is read once.
const std::vector<std::string> kOneEpoch{"--global-batch", "16", "--epochs", "1", "--eval-every", "off"};

Outcome train_on(const fs::path& data, std::vector<std::string> more = kOneEpoch, int ranks = 0) {
  return run({.ranks = ranks, .arguments = training_on(data, more)});
}

std::vector<std::string> one_epoch_and(const std::vector<std::string>& more) {
  std::vector<std::string> options = kOneEpoch;
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

/// A text file and a truncated JPEG among the training pictures; their paths.
struct Damage {
  fs::path data = copy_of_demo_data();
  fs::path text_file = demo_picture(data, "train", 2, 3);
  fs::path truncated = demo_picture(data, "train", 7, 0);

  Damage() {
    write_text(text_file, "These are not the pixels you are looking for.\n");
    truncate_file(truncated, 0.5);
  }
};

TEST(FaultyData, AMissingFolderIsNamed) {
  expect_refused(train_on("/nonexistent/pictures"), {"/nonexistent/pictures", "no such directory"});
}

TEST(FaultyData, AMissingFolderIsNamedOnceByAllRanks) {
  const Outcome outcome = train_on("/nonexistent/pictures", kOneEpoch, 3);

  expect_refused(outcome, {"[rank 0 on "});
  EXPECT_EQ(outcome.count("opening the picture folder /nonexistent/pictures"), 1) << outcome;
}

TEST(FaultyData, AnEmptyFolderIsRefused) {
  const fs::path data = new_path("empty");
  fs::create_directories(data);

  expect_refused(train_on(data), {data.string(), "neither folders nor images"});
}

TEST(FaultyData, AFileInsteadOfAFolderIsRefused) {
  const fs::path data = new_path("file");
  write_text(data, "pictures");

  expect_refused(train_on(data), {data.string(), "a file, not a directory"});
}

TEST(FaultyData, AClassWithoutPicturesIsNamed) {
  const fs::path data = copy_of_demo_data();
  fs::create_directories(data / "train" / "unicorn");

  expect_refused(train_on(data), {"unicorn"});
}

TEST(FaultyData, ClassesThatDifferBetweenTrainingAndValidationAreNamed) {
  const fs::path data = copy_of_demo_data();
  const fs::path folder = demo_picture(data, "val", 4, 0).parent_path();
  fs::rename(folder, data / "val" / "unicorn");

  expect_refused(train_on(data),
                 {"\"" + folder.filename().string() + "\" in training alone", "\"unicorn\" in validation alone"});
}

/// Two hosts, each with a copy of the data.
Outcome with_copies(const Words& arguments, const fs::path& first, const fs::path& second) {
  const Words line = Words{DTRAIN_BINARY} + arguments;
  return run({.ranks = 2,
              .arguments = {},
              .line = mpirun_line({line + Words{"--data", first.string()}, line + Words{"--data", second.string()}})},
             kPromptlyS);
}

/// Path below the data set's train or val.
std::string below(const fs::path& picture) { return (picture.parent_path().filename() / picture.filename()).string(); }

// As many images, and the same first and last one: sample numbers stand for others in the middle alone.
TEST(FaultyData, CopiesThatDifferBetweenHostsAreRefusedWithTheFirstImageThatDoes) {
  const Words arguments{"train", "--model", "resnet20", "--threads", "1", "--global-batch", "16", "--steps", "2"};
  const fs::path moved = copy_of_demo_data(), renamed = copy_of_demo_data();
  const fs::path last_of_class = demo_picture(moved, "train", 4, 7), first_of_next = demo_picture(moved, "train", 5, 0);
  fs::rename(last_of_class, first_of_next.parent_path() / "0000-.jpg");
  fs::rename(demo_picture(renamed, "val", 3, 1), demo_picture(renamed, "val", 3, 1).replace_filename("0001x.jpg"));

  const Outcome training = with_copies(arguments, demo_data(), moved);
  const Outcome validation = with_copies(arguments, demo_data(), renamed);

  expect_refused(
      training, {"comparing the images for training", "image 39: \"" + below(last_of_class) + " in class 4, ",
                 "but \"" + below(first_of_next.parent_path() / "0000-.jpg") + " in class 5, ", "ranks that differ: 1 (host "});
  expect_refused(validation,
                 {"comparing the images for validation", "image 7: \"" + below(demo_picture(demo_data(), "val", 3, 1)),
                  "0001x.jpg in class 3, ", "ranks that differ: 1 (host "});
}

TEST(FaultyData, CopiesOfOtherSizesAreRefusedByEvalToo) {
  const fs::path weights = new_path("w.safetensors"), smaller = copy_of_demo_data();
  ASSERT_EQ(run({.arguments = {"init", "--model", "resnet20", "--num-classes", "10", "--out", weights.string()}}).exit_code, 0);
  fs::remove(demo_picture(smaller, "val", 9, 1));

  const Outcome outcome =
      with_copies({"eval", "--model", "resnet20", "--threads", "1", "--weights", weights.string()}, demo_data(), smaller);

  expect_refused(outcome, {"comparing the images for evaluation", "images: \"20\" on rank 0", "but \"19\" on rank 1",
                           "but \"none\" on rank 1"});
}

TEST(FaultyData, AMissingValidationFolderIsNamed) {
  expect_refused(run({.arguments = training({"--steps", "1", "--val-data", "/nonexistent/val"})}), {"/nonexistent/val"});
}

TEST(FaultyData, DamagedPicturesAreReplacedCountedAndNamed) {
  const Damage damage;
  const fs::path metrics = new_path("metrics.jsonl");

  const Outcome outcome = train_on(damage.data, one_epoch_and({"--metrics", metrics.string()}));

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("2 damaged training images")) << outcome;
  EXPECT_TRUE(outcome.says(damage.text_file.string())) << outcome;
  EXPECT_TRUE(outcome.says(damage.truncated.string())) << outcome;
  std::int64_t samples = 0;
  for (const auto in_step : whole_numbers(metrics_lines(metrics, "loss"), "samples")) samples += in_step;
  EXPECT_EQ(samples, kTrainPictures);
}

TEST(FaultyData, DamagedPicturesAreNamedByTheRankThatMetThem) {
  const Damage damage;

  const Outcome outcome = train_on(damage.data, kOneEpoch, 2);

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says(damage.text_file.string())) << outcome;
  EXPECT_TRUE(outcome.says(damage.truncated.string())) << outcome;
}

TEST(FaultyData, MoreDamagedPicturesThanAllowedEndTheRun) {
  const Damage damage;

  const Outcome outcome = train_on(damage.data, one_epoch_and({"--max-damaged", "1"}));

  expect_refused(outcome,
                 {"expected at most 1 damaged image, found 2 so far", damage.text_file.string(), damage.truncated.string()});
}

TEST(FaultyData, DamagedPicturesLeaveTheRunReproducible) {
  const Damage damage;
  const fs::path reports[] = {new_path("report.json"), new_path("report.json")};

  const Outcome one = train_on(damage.data, one_epoch_and({"--workers", "1", "--report", reports[0].string()}));
  const Outcome three = train_on(damage.data, one_epoch_and({"--workers", "3", "--report", reports[1].string()}));

  ASSERT_EQ(one.exit_code, 0) << one;
  ASSERT_EQ(three.exit_code, 0) << three;
  EXPECT_EQ(fingerprint(reports[0]), fingerprint(reports[1]));
}

TEST(FaultyData, DamagedValidationPicturesAreNamedToo) {
  const fs::path data = copy_of_demo_data();
  const fs::path damaged = demo_picture(data, "val", 3, 1);
  truncate_file(damaged, 0.4);

  const Outcome outcome = train_on(data, {"--global-batch", "16", "--steps", "1"});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says(damaged.string())) << outcome;
}

TEST(FaultyData, DamagedPicturesAreNamedByEval) {
  const fs::path data = copy_of_demo_data();
  const fs::path damaged = demo_picture(data, "val", 3, 1);
  truncate_file(damaged, 0.4);
  const fs::path weights = new_path("weights.safetensors");
  ASSERT_EQ(run({.arguments = {"init", "--model", "resnet20", "--out", weights.string()}}).exit_code, 0);
  const std::vector<std::string> evaluation{"eval",      "--model",        "resnet20",  "--data", data.string(),
                                            "--weights", weights.string(), "--threads", "1"};
  std::vector<std::string> strict = evaluation;
  strict.insert(strict.end(), {"--max-damaged", "0"});

  const Outcome tolerant_outcome = run({.arguments = evaluation});
  const Outcome strict_outcome = run({.arguments = strict});

  EXPECT_EQ(tolerant_outcome.exit_code, 0) << tolerant_outcome;
  EXPECT_TRUE(tolerant_outcome.says(damaged.string())) << tolerant_outcome;
  expect_refused(strict_outcome, {damaged.string(), "at most 0 damaged images"});
}

TEST(FaultyData, MoreClassesThanAskedForAreRefused) {
  const Outcome outcome = run({.arguments = training({"--steps", "1", "--num-classes", "4"})});

  EXPECT_EQ(outcome.exit_code, 2) << outcome;
  EXPECT_TRUE(outcome.says("expected at least 10 classes")) << outcome;
}

}  // namespace
}  // namespace dtrain
