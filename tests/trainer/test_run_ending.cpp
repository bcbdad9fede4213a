// The last lines of a run: what is best, and the command to copy, which a shell reads as it is meant.
#include <gtest/gtest.h>

#include "trainer/run_ending.hpp"

namespace dtrain {
namespace {

TEST(ShellWords, AreQuotedWhereAShellWouldReadThemOtherwise) {
  EXPECT_EQ(quoted_for_shell("runs/a-1.safetensors"), "runs/a-1.safetensors");
  EXPECT_EQ(quoted_for_shell("my data"), "'my data'");
  EXPECT_EQ(quoted_for_shell("it's $5"), "'it'\\''s $5'");
  EXPECT_EQ(quoted_for_shell(""), "''");
}

TEST(EvaluationLine, HasWhatTheRunWasToldAboutItsImages) {
  TrainConfig config;
  config.data = "my data";
  config.model = "resnet20";

  EXPECT_EQ(evaluation_line(config, "dtrain", 1, "a/best.safetensors"),
            "dtrain eval --data 'my data' --model resnet20 --weights a/best.safetensors");
  config.val_data = "val";
  config.crop = 48;
  config.precision = "bf16";
  EXPECT_EQ(evaluation_line(config, "/opt/dtrain", 4, "w"),
            "mpirun -np 4 --bind-to none /opt/dtrain eval --data val --model resnet20 --weights w --crop 48 --precision bf16");
  EXPECT_EQ(evaluation_line(config, "dtrain", 1, ""), "") << "nothing was saved";
  EXPECT_EQ(evaluation_line({}, "dtrain", 1, "w"), "") << "synthetic images";
}

TEST(EndingLines, TellBestLastTimeAndTheLineToCopy) {
  const RunEnding ending{.best = BestEvaluation{.top1 = 0.712, .epoch = 12.0, .step = 600},
                         .best_file = "a/best.safetensors",
                         .last_file = "a/last.safetensors",
                         .steps_done = 750,
                         .last = EpochRow{.epoch = 15.0, .step = 750, .loss = 0.5, .top1 = 0.9},
                         .total_s = 61.0,
                         .all_parts_s = 3700.0,
                         .was_resumed = true,
                         .evaluation = "dtrain eval …"};

  EXPECT_EQ(ending_lines(ending),
            (std::vector<std::string>{"best: validation top-1 71.20 % at epoch 12.00 (step 600): a/best.safetensors",
                                      "last: training loss 0.5000, top-1 90.00 % at epoch 15.00 (step 750): a/last.safetensors",
                                      "time: 1:01; steps and evaluations of all parts of the run: 1:01:40",
                                      "evaluate: dtrain eval …"}));
  RunEnding stopped = ending;
  stopped.steps_done = 763;
  EXPECT_EQ(ending_lines(stopped)[1], "last: training loss 0.5000, top-1 90.00 % at epoch 15.00 (step 750)");
  EXPECT_EQ(ending_lines(stopped)[2], "saved: weights after step 763, which were not evaluated: a/last.safetensors");
  EXPECT_EQ(ending_lines({.total_s = 5.0}), (std::vector<std::string>{"time: 0:05"}));
}

}  // namespace
}  // namespace dtrain
