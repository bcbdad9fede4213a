// Data sets as people have them: which folder serves as what is said at every start, alike in training, evaluation and the dry
// run; classes are matched by name; what is left out is counted; and what cannot be told is refused with the path to give.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain::data_sets {
namespace {

namespace fs = std::filesystem;

const Words kOneStepAlone{"--global-batch", "16", "--steps", "1", "--eval-every", "off"};

/// demo_data() with its folders train and val under other names; without validation where that name is empty.
fs::path demo_as(const std::string& train, const std::string& validation) {
  const fs::path data = new_path("data");
  const auto copy = [&](const char* split, const std::string& name) {
    fs::create_directories((data / name).parent_path());
    fs::copy(demo_data() / split, data / name, fs::copy_options::recursive);
  };
  copy("train", train);
  if (!validation.empty()) copy("val", validation);
  return data;
}

Outcome train_with(const fs::path& data, const Words& more = kOneStepAlone, int ranks = 0) {
  return run({.ranks = ranks, .arguments = training_on(data, more)});
}

Outcome plan_with(const fs::path& data) {
  return train_with(
      data, {"--global-batch", "16", "--epochs", "1", "--images-per-s", "100", "--dry-run", new_path("s.svg").string()});
}

const fs::path& fresh_weights() {
  static const fs::path path = [] {
    const fs::path made = new_path("weights.safetensors");
    const Outcome outcome = run({.arguments = {"init", "--model", "resnet20", "--out", made.string()}});
    if (outcome.exit_code != 0) throw std::runtime_error("init failed: " + outcome.errors);
    return made;
  }();
  return path;
}

Outcome evaluate_on(const fs::path& data) {
  return run({.arguments = {"eval", "--model", "resnet20", "--data", data.string(), "--weights", fresh_weights().string(),
                            "--threads", "1"}});
}

/// Names of the ten classes, in order.
Words class_folders() { return file_names(demo_data() / "train"); }

void expect_says(const Outcome& outcome, const Words& texts) {
  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  for (const std::string& text : texts) EXPECT_TRUE(outcome.says(text)) << "no '" << text << "' in\n" << outcome;
}

TEST(DataSets, SplitsOfAnyCommonNameServeTrainingAndEvaluationAlike) {
  for (const auto& [train, validation] : std::vector<std::pair<std::string, std::string>>{
           {"train", "valid"}, {"Training", "Testing"}, {"seg_train/seg_train", "seg_test/seg_test"}}) {
    const fs::path data = demo_as(train, validation);

    expect_says(plan_with(data), {"training      " + (data / train).string() + ": 80 images",
                                  "validation    " + (data / validation).string() + ": 20 images", "classes       10: "});
    expect_says(evaluate_on(data), {"evaluation    " + (data / validation).string() + ": 20 images", "on 20 "});
  }
}

TEST(DataSets, TestIsLeftAloneWhereThereIsAValidation) {
  const fs::path data = demo_as("train", "valid");
  fs::create_directories(data / "test");
  fs::copy(demo_picture(demo_data(), "train", 0, 0).parent_path(), data / "test" / class_folders().front());

  expect_says(train_with(data, {"--global-batch", "16", "--steps", "1"}),
              {"validation    " + (data / "valid").string(), "not used      test", "validation top-1"});
}

TEST(DataSets, ATrainingWithoutValidationSaysSo) {
  const fs::path data = demo_as("train", "");

  expect_says(train_with(data),
              {"no validation: there is no folder val, valid, validation or test in " + data.string(), "--val-data"});
  expect_refused(evaluate_on(data), {"expected a folder for validation", "images of training themselves"});
  expect_says(train_with(demo_data() / "train"),
              {"no validation: --val-data " + (demo_data() / "val").string() + " would be one"});
}

TEST(DataSets, FoldersOfEqualShapeAreRefusedByAllCommands) {
  const fs::path data = demo_as("first", "second");
  const Words says{"first and second", "--data " + (data / "first").string() + " --val-data " + (data / "second").string()};

  expect_refused(train_with(data), says);
  expect_refused(evaluate_on(data), says);
  expect_refused(plan_with(data), says);
}

TEST(DataSets, OneFolderTooHighIsRefusedWithThePathToGive) {
  const fs::path data = demo_as("all", ""), wrapped = demo_as("x/train", "x/val");

  expect_refused(train_with(data, kOneStepAlone, 2),
                 {"one folder, all", "holds 10 folders", "give " + (data / "all").string()});
  expect_refused(train_with(wrapped), {"give " + (wrapped / "x").string()});
  expect_refused(evaluate_on(wrapped), {"give " + (wrapped / "x").string()});
}

TEST(DataSets, OneClassIsRefused) {
  const fs::path data = new_path("data");
  fs::create_directories(data);
  fs::copy(demo_picture(demo_data(), "train", 0, 0).parent_path(), data / "only");

  expect_refused(train_with(data), {"found one, only: one class cannot be told from others"});
}

TEST(DataSets, AClassMayBeCalledTrain) {
  const fs::path data = new_path("data");
  const Words names{"bus", "car", "train"};
  for (std::size_t k = 0; k < names.size(); ++k) {
    fs::create_directories(data);
    fs::copy(demo_picture(demo_data(), "train", static_cast<std::int64_t>(k), 0).parent_path(), data / names[k]);
  }

  expect_says(train_with(data), {"24 images", "classes       3: bus, car, train"});
}

TEST(DataSets, ImagesAreKnownByContentAndOthersCounted) {
  const fs::path data = copy_of_demo_data();
  const auto rename = [&](std::int64_t k, const char* ending) {
    const fs::path image = demo_picture(data, "train", 0, k);
    fs::rename(image, fs::path(image).replace_extension(ending));
  };
  rename(0, ".jfif");
  rename(1, ".webp");
  rename(2, "");
  write_text(demo_picture(data, "train", 3, 1), "a text, met as damage, for its name says image");
  write_text(data / "train" / class_folders()[4] / "real.webp", std::string("RIFF\x10\x20\x30\x40WEBPVP8 "));
  write_text(data / "train" / class_folders()[5] / "real.bmp", "BM and more");
  write_text(data / "val" / class_folders()[5] / "labels.csv", "a,b\n");
  fs::create_directories(data / "train" / "@eaDir" / class_folders()[0]);

  const Outcome outcome = train_with(data);

  expect_says(outcome, {(data / "train").string() + ": 80 images", "2 images are left out, of formats that are not read: 1 BMP",
                        "1 WebP (such as " + class_folders()[4] + "/real.webp)", "of validation: 1 other file"});
  EXPECT_EQ(outcome.count("images are left out"), 1) << outcome;
}

TEST(DataSets, ValidationMayLackClassesAndIsMatchedByName) {
  const fs::path data = copy_of_demo_data();
  const fs::path only = new_path("only");
  for (const std::size_t k : {0U, 1U, 2U, 3U, 4U, 5U, 6U, 8U}) fs::remove_all(data / "val" / class_folders()[k]);
  fs::remove_all(data / "val" / class_folders()[7]);
  fs::create_directories(data / "val" / class_folders()[7]);
  fs::create_directories(only / "val");

  const Outcome outcome = train_with(data, {"--global-batch", "16", "--steps", "1", "--out", only.string()});

  expect_says(outcome, {"validation has no images of 9 of the 10 classes", "val: 2 images"});
  fs::create_directories(data / "val" / "unicorn");
  fs::copy(demo_picture(demo_data(), "val", 0, 0), data / "val" / "unicorn" / "1.jpg");
  expect_refused(train_with(data), {"\"unicorn\" in validation alone"});
}

/// Every image of one class: a network that knows these two classes by heart has 100 %.
TEST(DataSets, LabelsOfAPartialValidationAreTrainings) {
  const fs::path data = new_path("data");
  const Words folders = class_folders();
  for (const std::size_t k : {0U, 5U, 9U}) {
    fs::create_directories(data / "train");
    fs::copy(demo_data() / "train" / folders[k], data / "train" / folders[k]);
  }
  fs::create_directories(data / "val");
  fs::copy(demo_data() / "train" / folders[9], data / "val" / folders[9]);
  const Words recipe{"--crop", "32",   "--global-batch", "8",    "--epochs",     "50",
                     "--lr",   "0.05", "--augment",      "none", "--eval-every", "50epoch"};

  const Outcome partial = train_with(data, recipe);
  const Outcome self = train_with(data, recipe + Words{"--val-data", (data / "train").string()});

  expect_says(partial, {"validation has no images of 2 of the 3 classes", "validation top-1 100.00 %"});
  expect_says(self, {"validation is on the images of training themselves", "validation top-1 100.00 %"});
}

TEST(DataSets, NumbersInByteOrderAreRemarkedOn) {
  const fs::path data = copy_of_demo_data();
  const Words folders = class_folders();
  for (const char* split : {"train", "val"}) {
    for (std::size_t k = 0; k < folders.size(); ++k)
      fs::rename(data / split / folders[k], data / split / std::to_string(k + 2));
  }

  const Outcome outcome = train_with(data);

  expect_says(outcome,
              {"class folders with numbers are taken in byte order of their names, not by value: 11 is class 1, 2 is class 2"});
  EXPECT_EQ(outcome.count("in byte order"), 1) << outcome;
  expect_says(evaluate_on(data), {"in byte order"});
}

/// 8 x 8 samples of 16 bits, from 0 to 4095.
constexpr std::string_view kTwelveBitPng =
    "89504e470d0a1a0a0000000d4948445200000008000000081000000000b1f43d140000001d4944415478da63606060f26499"
    "c4769b53853b97771bff7f8681110000a3a021c1600a65330000000049454e44ae426082";

std::string bytes_of(std::string_view hexadecimal) {
  std::string bytes;
  for (std::size_t i = 0; i < hexadecimal.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hexadecimal.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

TEST(DataSets, SixteenBitImagesThatAreAlmostBlackAreWarnedOfOnce) {
  const fs::path data = new_path("data");
  for (const char* name : {"a", "b"}) {
    fs::create_directories(data / name);
    for (const char* file : {"1.png", "2.png"}) write_text(data / name / file, bytes_of(kTwelveBitPng));
  }

  const Outcome training = train_with(data, {"--global-batch", "4", "--steps", "1"}, 2);

  expect_says(training, {(data / "a" / "1.png").string() + " is a 16-bit PNG whose values take 12 of the 16 bits"});
  EXPECT_EQ(training.count("16-bit PNG"), 1) << training;
}

TEST(DataSets, TheSameDataIsFoundByAnyNumberOfRanks) {
  const fs::path data = demo_as("Train", "Dev");

  const Outcome outcome = train_with(data, kOneStepAlone, 3);

  expect_says(outcome, {"training      " + (data / "Train").string()});
  EXPECT_EQ(outcome.count("training      "), 1) << outcome;
}

// Its folders would be classes, for its own next start too.
TEST(DataSets, ARunsDirectoryIsNotAmongTheImages) {
  const fs::path split = demo_as("train", "val"), flat = split / "train";
  struct Place {
    fs::path data, out;
    bool is_good;
  };
  for (const auto& [data, out, is_good] :
       {Place{split, split / "train", false}, Place{split, split / "val" / "run", false}, Place{flat, flat / "run", false},
        Place{flat, flat, false}, Place{split, split / "run", true}, Place{flat, split / "other", true}}) {
    SCOPED_TRACE(out.string() + " of " + data.string());
    const auto before = contents(split);
    const Outcome outcome = train_with(data, kOneStepAlone + Words{"--out", out.string()}, out == flat ? 2 : 0);
    if (is_good) {
      EXPECT_EQ(outcome.exit_code, 0) << outcome;
      continue;
    }
    EXPECT_EQ(outcome.exit_code, 2) << outcome;
    EXPECT_TRUE(outcome.says("expected a directory that is not among the images")) << outcome;
    EXPECT_TRUE(contents(split) == before);
    EXPECT_FALSE(fs::exists(flat / "run"));
  }
}

}  // namespace
}  // namespace dtrain::data_sets
