// Names that people type out of habit are answered with the name here, and never taken for it.
#include <gtest/gtest.h>

#include <filesystem>

#include "dtrain/error.hpp"
#include "launch/command_line.hpp"
#include "launch/commands.hpp"

namespace dtrain {
namespace {

using HabitWords = std::vector<std::string>;

/// What a refused line is answered.
std::string answer_to(const HabitWords& words) {
  try {
    parse_command_line(words, 1);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

std::string shown_for(const HabitWords& words) { return std::get<ShowText>(parse_command_line(words, 1)).text; }

struct HabitCase {
  HabitWords words;
  std::string answer;
};

void expect_answers(const std::vector<HabitCase>& cases) {
  for (const HabitCase& habit : cases) {
    const std::string text = answer_to(habit.words);
    EXPECT_NE(text.find("try: " + habit.answer), std::string::npos) << habit.words.front() << " → " << text;
  }
}

TEST(Habits, OfTrainingScriptsAreAnsweredWithTheNameHere) {
  expect_answers({
      {{"--batch-size", "256"}, "--global-batch N, which counts the images of all ranks together"},
      {{"-b", "256"}, "--global-batch N"},
      {{"-b256"}, "--global-batch N"},
      {{"--batch", "256"}, "--global-batch N"},
      {{"--arch", "resnet18"}, "--model NAME"},
      {{"-a", "resnet18"}, "--model NAME"},
      {{"--wd", "1e-4"}, "--weight-decay F"},
      {{"-j", "4"}, "--workers N"},
      {{"-j4"}, "--workers N"},
      {{"--num-workers", "4"}, "--workers N"},
      {{"--jobs=4"}, "--workers N"},
      {{"--learning-rate", "0.1"}, "--lr F"},
      {{"--num-epochs", "3"}, "--epochs F"},
      {{"--pretrained"}, "--init-from FILE"},
      {{"--gpu", "0"}, "nothing in its place: dtrain computes on CPUs"},
      {{"--device", "cuda"}, "nothing in its place"},
      {{"--amp"}, "--precision bf16"},
      {{"--fp16"}, "--precision bf16"},
      {{"--train-dir", "x"}, "--data DIR"},
      {{"--root", "x"}, "--data DIR"},
      {{"--output-dir", "x"}, "--out DIR"},
      {{"--save-dir", "x"}, "--out DIR"},
      {{"--checkpoint", "x"}, "--resume auto"},
      {{"--input-size", "224"}, "--crop N"},
      {{"--img-size", "224"}, "--crop N"},
      {{"--lr-scheduler", "cosine"}, "--schedule cosine"},
      {{"-e"}, "the command: dtrain eval"},
      {{"--print-freq", "5"}, "--log-every N"},
      {{"--world-size", "4"}, "nothing in its place: mpirun -np N"},
      // tf_cnn_benchmarks, timm, Horovod
      {{"--batch_size=64"}, "--global-batch N"},
      {{"--num_batches", "100"}, "--steps N"},
      {{"--num_gpus=1"}, "nothing in its place"},
      {{"--data_dir=x"}, "--data DIR"},
      {{"--opt", "sgd"}, "--optimizer sgd"},
      {{"--sched", "cosine"}, "--schedule cosine"},
      {{"--smoothing", "0.1"}, "--label-smoothing F"},
      {{"--model-ema-decay", "0.99"}, "--ema F"},
      {{"--batches-per-allreduce", "2"}, "--local-batch N"},
      {{"--fp16-allreduce"}, "--wire-dtype bf16"},
  });
}

TEST(Habits, OfUnderscoresCapitalsSingleDashesAndBeginningsAreAnswered) {
  expect_answers({
      {{"--global_batch", "64"}, "--global-batch"},
      {{"--Global-Batch=64"}, "--global-batch"},
      {{"-lr", "0.1"}, "--lr"},
      {{"-epochs", "3"}, "--epochs"},
      {{"--momen", "0.9"}, "--momentum"},
      {{"--label-smooth", "0.1"}, "--label-smoothing"},
  });
}

TEST(Habits, AreAnsweredWithWhatTheCommandHas) {
  expect_answers({
      {{"eval", "--data", "x", "--weights", "w", "--batch-size", "8"}, "--global-batch N"},
      {{"eval", "--data", "x", "--weights", "w", "--checkpoint", "w"}, "--weights FILE"},
      {{"eval", "--data", "x", "--weights", "w", "--val-dir", "w"}, "--data DIR"},
      {{"bench", "--batch-size", "8"}, "--batches N"},
      {{"bench", "--model", "resnet18"}, "--models"},
      {{"models", "--plan", "resnet18", "--batch-size", "8"}, "--local-batch N"},
      {{"init", "--arch", "resnet18", "--out", "w"}, "--model NAME"},
  });
  EXPECT_EQ(answer_to({"topo", "--batch-size", "8"}).find("--global-batch"), std::string::npos);
}

TEST(Habits, OfValuesAfterAnEqualsSignWithBlanksAreAnswered) {
  for (const HabitWords& words : std::vector<HabitWords>{{"--epochs", "=", "90"}, {"--epochs=", "90"}, {"--epochs", "=90"}}) {
    const std::string text = answer_to(words);
    EXPECT_NE(text.find("= with blanks around it; try: --epochs=90"), std::string::npos) << text;
    EXPECT_NE(text.find("1 fault"), std::string::npos) << text;
  }
}

TEST(Habits, OfEditorsThatLengthenDashesAreAnswered) {
  EXPECT_NE(answer_to({"--model", "resnet18", "\u2013lr", "0.1"}).find("no hyphen"), std::string::npos);
  EXPECT_NE(answer_to({"--model", "resnet18", "\u2014lr"}).find("try: --lr"), std::string::npos);
}

TEST(Habits, OfOtherCommandsAreAnswered) {
  const std::string data = std::filesystem::temp_directory_path().string();
  expect_answers({
      {{"test", "--data", "x"}, "dtrain eval --data DIR"},
      {{"validate"}, "dtrain eval --data DIR"},
      {{"fit"}, "dtrain train --data DIR"},
      {{"finetune"}, "dtrain train --data DIR --model NAME --init-from FILE --preset finetune"},
      {{"benchmark"}, "dtrain bench"},
      {{data}, "dtrain train --data " + data},
      {{"--model", "resnet18", data}, "--data " + data},
      {{"-a", "resnet18", data}, "--data " + data},
      {{"trian"}, "dtrain train"},
  });
}

TEST(Habits, OfAskingForHelpAndVersionAreFollowed) {
  const std::string overview = shown_for({"--help"});
  for (const HabitWords& words : std::vector<HabitWords>{{"help"}, {"-h"}, {"help", "help"}}) {
    EXPECT_EQ(shown_for(words), overview);
  }
  EXPECT_EQ(shown_for({"help", "eval"}), shown_for({"eval", "--help"}));
  EXPECT_EQ(shown_for({"--help", "train"}), shown_for({"train", "-h"}));
  for (const char* word : {"-V", "-v", "version"}) EXPECT_EQ(shown_for({word}), shown_for({"--version"}));
  expect_answers({{{"help", "validate"}, "dtrain eval"}, {{"train", "--version"}, "dtrain --version"}});
}

TEST(PlotCommand, TakesOneRunOrMore) {
  EXPECT_EQ(std::get<PlotConfig>(parse_command_line({"plot", "a,b"}, 1)).runs, HabitWords{"a,b"});
  const auto config = std::get<PlotConfig>(parse_command_line({"plot", "a", "--out", "x.svg", "b", "--csv=y.csv"}, 1));
  EXPECT_EQ(config.runs, (HabitWords{"a", "b"}));
  EXPECT_EQ(config.out, "x.svg");
  EXPECT_EQ(config.csv, "y.csv");
  EXPECT_NE(answer_to({"plot"}).find("expected RUN"), std::string::npos);
  EXPECT_NE(shown_for({"plot", "--help"}).find("--csv"), std::string::npos);
}

TEST(Habits, OfNamingANetworkAfterModelsShowThatOne) {
  const auto config = std::get<ModelsConfig>(parse_command_line({"models", "resnet50"}, 1));

  const std::string text = models_text(config);

  EXPECT_NE(text.find("25,557,032"), std::string::npos) << text;
  EXPECT_NE(text.find("--plan resnet50"), std::string::npos) << text;
  EXPECT_EQ(text.find("resnet18"), std::string::npos) << text;
  expect_answers(
      {{{"models", "resnet5O"}, "dtrain models resnet50"}, {{"models", "resnet50", "--local-batch", "8"}, "--plan resnet50"}});
}

}  // namespace
}  // namespace dtrain
