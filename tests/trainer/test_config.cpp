// Judging configurations: every fault is found, each names its option, and good ones pass.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "dtrain/error.hpp"
#include "trainer/config.hpp"

namespace dtrain {
namespace {

/// Faults of the default configuration after a change.
std::vector<std::string> faults_after(const std::function<void(TrainConfig&)>& change, int ranks = 1) {
  TrainConfig config;
  change(config);
  return validate(config, ranks);
}

std::string all_of(const std::vector<std::string>& faults) {
  std::string text;
  for (const std::string& fault : faults) text += fault + "\n";
  return text;
}

void expect_one_fault(const std::function<void(TrainConfig&)>& change, const std::string& part, int ranks = 1) {
  const std::vector<std::string> faults = faults_after(change, ranks);
  EXPECT_EQ(faults.size(), 1u) << all_of(faults) << "expected one fault with: " << part;
  EXPECT_NE(all_of(faults).find(part), std::string::npos) << all_of(faults) << "lacks: " << part;
}

TEST(Config, TheDefaultsCanRunOnAnyNumberOfRanks) {
  for (const int ranks : {1, 2, 3, 512}) EXPECT_EQ(validate(TrainConfig{}, ranks), std::vector<std::string>{}) << ranks;
}

TEST(Config, EveryRankNeedsASample) {
  expect_one_fault([](TrainConfig& c) { c.global_batch = 7; }, "--global-batch: expected at least one sample for each of the 8",
                   8);
  EXPECT_TRUE(faults_after([](TrainConfig& c) { c.global_batch = 8; }, 8).empty());
}

TEST(Config, NamesTheNearestModel) {
  expect_one_fault([](TrainConfig& c) { c.model = "resnet5O"; }, "--model resnet50");
  expect_one_fault([](TrainConfig& c) { c.model = "lenet"; }, "--model lenet5");
}

TEST(Config, RefusesWhatTheModelCannotDo) {
  expect_one_fault([](TrainConfig& c) { c.dropout = 0.5; }, "dropout");            // resnet50 has no dropout layer
  expect_one_fault([](TrainConfig& c) { c.crop = 1, c.resize = 1; }, "resnet50");  // pictures too small
  expect_one_fault([](TrainConfig& c) { c.aux_heads = true; }, "--aux-heads off");
}

TEST(Config, RefusesNegativeNumbersByTheirOption) {
  const auto refuse = [](auto TrainConfig::*field, const std::string& option) {
    expect_one_fault([&](TrainConfig& c) { c.*field = -2; }, option + ": expected");
  };
  refuse(&TrainConfig::num_classes, "--num-classes");
  refuse(&TrainConfig::resize, "--resize");
  refuse(&TrainConfig::crop, "--crop");
  refuse(&TrainConfig::workers, "--workers");
  refuse(&TrainConfig::max_damaged, "--max-damaged");
  refuse(&TrainConfig::synthetic_size, "--synthetic-size");
  refuse(&TrainConfig::local_batch, "--local-batch");
  refuse(&TrainConfig::epochs, "--epochs");
  refuse(&TrainConfig::steps, "--steps");
  refuse(&TrainConfig::momentum, "--momentum");
  refuse(&TrainConfig::weight_decay, "--weight-decay");
  refuse(&TrainConfig::label_smoothing, "--label-smoothing");
  refuse(&TrainConfig::warmup_epochs, "--warmup-epochs");
  refuse(&TrainConfig::warmup_start_lr, "--warmup-start-lr");
  refuse(&TrainConfig::fusion_mb, "--fusion-mb");
  refuse(&TrainConfig::stall_timeout_s, "--stall-timeout");
  refuse(&TrainConfig::ranks_per_node, "--ranks-per-node");
  refuse(&TrainConfig::threads, "--threads");
  refuse(&TrainConfig::comm_cores, "--comm-cores");
  refuse(&TrainConfig::keep_checkpoints, "--keep-checkpoints");
  refuse(&TrainConfig::log_every, "--log-every");
}

TEST(Config, RefusesValuesOutsideTheirRange) {
  expect_one_fault([](TrainConfig& c) { c.momentum = 1.0; }, "--momentum: expected a number from 0 to below 1, found 1");
  expect_one_fault([](TrainConfig& c) { c.label_smoothing = 1.0; }, "--label-smoothing");
  expect_one_fault([](TrainConfig& c) { c.fusion_mb = 0.0; }, "--fusion-mb: expected a number above 0");
  expect_one_fault([](TrainConfig& c) { c.data_timeout_s = 0.5; },
                   "--data-timeout: expected a number from 1 to 1e+09, found 0.5");
  expect_one_fault([](TrainConfig& c) { c.stall_timeout_s = 0.5; },
                   "--stall-timeout: expected a number from 1 to 1e+09, found 0.5");
  expect_one_fault([](TrainConfig& c) { c.stall_timeout_s = std::numeric_limits<double>::infinity(); }, "--stall-timeout");
  expect_one_fault([](TrainConfig& c) { c.lr = 0.0; }, "--lr: expected a number above 0");
  expect_one_fault([](TrainConfig& c) { c.base_lr = -0.1; }, "--base-lr: expected a number above 0");
  expect_one_fault([](TrainConfig& c) { c.lr = std::numeric_limits<double>::quiet_NaN(); }, "--lr");
  expect_one_fault([](TrainConfig& c) { c.weight_decay = std::numeric_limits<double>::infinity(); }, "--weight-decay");
  expect_one_fault([](TrainConfig& c) { c.num_classes = 1; }, "--num-classes: expected a whole number from 2");
  expect_one_fault([](TrainConfig& c) { c.threads = 5000; }, "--threads");
  expect_one_fault([](TrainConfig& c) { c.workers = 5000; }, "--workers");
  expect_one_fault([](TrainConfig& c) { c.log_every = 0; }, "--log-every");
  expect_one_fault([](TrainConfig& c) { c.keep_checkpoints = 0; }, "--keep-checkpoints");
}

TEST(Config, RefusesWhatCouldNotBeMultipliedByASize) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  expect_one_fault([](TrainConfig& c) { c.global_batch = kMost; },
                   "--global-batch: expected a whole number from 0 to 1099511627776");
  expect_one_fault([](TrainConfig& c) { c.local_batch = 65537; }, "--local-batch: expected a whole number from 0 to 65536");
  expect_one_fault([](TrainConfig& c) { c.crop = 65537; }, "--crop: expected a whole number from 0 to 65536");
  expect_one_fault([](TrainConfig& c) { c.resize = kMost; }, "--resize: expected a whole number from 0 to 65536");
  expect_one_fault([](TrainConfig& c) { c.num_classes = kMost / 2; },
                   "--num-classes: expected a whole number from 2 to 2147483647");
  expect_one_fault([](TrainConfig& c) { c.synthetic_size = kMost; }, "--synthetic-size");
  expect_one_fault([](TrainConfig& c) { c.max_damaged = kMost; }, "--max-damaged");
  expect_one_fault([](TrainConfig& c) { c.log_every = kMost; }, "--log-every");
  expect_one_fault([](TrainConfig& c) { c.steps = kMost; }, "--steps");
  expect_one_fault([](TrainConfig& c) { c.steps = 3, c.warmup_epochs = 1e300; },
                   "--warmup-epochs: expected a number from 0 to 1e+06");
  expect_one_fault([](TrainConfig& c) { c.fusion_mb = 1e300; }, "--fusion-mb: expected at most 1e+06");
  expect_one_fault([](TrainConfig& c) { c.data_timeout_s = 1e300; }, "--data-timeout");
  expect_one_fault([](TrainConfig& c) { c.stall_timeout_s = 1e10; }, "--stall-timeout");
}

TEST(Config, RefusesUnknownNamesAndOffersTheNearest) {
  expect_one_fault([](TrainConfig& c) { c.precision = "fp16"; }, "try: --precision fp32");
  expect_one_fault([](TrainConfig& c) { c.conv = "dierct"; }, "try: --conv direct");
  expect_one_fault([](TrainConfig& c) { c.mixed_cpus = "alow"; }, "try: --mixed-cpus allow");
  expect_one_fault([](TrainConfig& c) { c.augment = "standart"; }, "try: --augment standard");
  expect_one_fault([](TrainConfig& c) { c.optimizer = "nestrov"; }, "try: --optimizer nesterov");
  expect_one_fault([](TrainConfig& c) { c.schedule = "cosinus"; }, "--schedule");
  expect_one_fault([](TrainConfig& c) { c.lr_scaling = "root"; }, "--lr-scaling");
  expect_one_fault([](TrainConfig& c) { c.lr = 0.1, c.lr_scaling = "sqrt"; }, "--lr-scaling: expected --base-lr");
  expect_one_fault([](TrainConfig& c) { c.allreduce = "rng"; }, "try: --allreduce ring");
  expect_one_fault([](TrainConfig& c) { c.allreduce = "pss"; }, "try: --allreduce ps");
  expect_one_fault([](TrainConfig& c) { c.allreduce = "ring:0-64K;ps:64K-max"; }, "--allreduce");
  expect_one_fault([](TrainConfig& c) { c.bind = "cores"; }, "try: --bind core");
  expect_one_fault([](TrainConfig& c) { c.data_format = "lmdb"; }, "--data-format");
  expect_one_fault([](TrainConfig& c) { c.wire_dtype = "auto"; }, "--wire-dtype");
}

TEST(Config, SharesNoUpdateAmongRanksThatTrainApart) {
  expect_one_fault(
      [](TrainConfig& c) {
        c.shared_update = "on";
        c.allreduce = "none";
      },
      "--shared-update");
}

TEST(Config, SyncsBatchNormOfRanksThatKeepStepAndOfNetworksThatHaveSome) {
  EXPECT_TRUE(faults_after([](TrainConfig& c) { c.bn = "sync"; }, 4).empty());
  EXPECT_TRUE(faults_after([](TrainConfig& c) { c.bn = "sync"; }, 1).empty());
  expect_one_fault([](TrainConfig& c) { c.bn = "synch"; }, "try: --bn sync");
  for (const char* exchange : {"ps", "none"}) {
    expect_one_fault([&](TrainConfig& c) { c.bn = "sync", c.allreduce = exchange; },
                     std::string("--allreduce ") + exchange + "; try: --allreduce auto, or --bn local", 4);
  }
  expect_one_fault([](TrainConfig& c) { c.bn = "sync", c.model = "alexnet"; }, "alexnet, which has none");
  expect_one_fault([](TrainConfig& c) { c.bn = "sync", c.model = "resnet5O"; }, "--model resnet50");
}

/// A configuration whose weights are updated by servers, as `change` has it.
std::vector<std::string> faults_with_servers(int ranks, const std::function<void(TrainConfig&)>& change) {
  TrainConfig config;
  config.allreduce = "ps";
  change(config);
  return validate(config, ranks);
}

TEST(Config, LeavesARankToTrainBesideTheServers) {
  for (const int servers : {0, 1, 2, 3}) {
    EXPECT_TRUE(faults_with_servers(4, [=](TrainConfig& c) { c.parameter_servers = servers; }).empty()) << servers;
  }
  EXPECT_EQ(faults_with_servers(4, [](TrainConfig& c) { c.parameter_servers = 4; }).size(), 1u);
  EXPECT_EQ(faults_with_servers(1, [](TrainConfig& c) { c.parameter_servers = 1; }).size(), 1u);
}

TEST(Config, CountsTheRanksThatTrain) {
  const auto with_batch = [](std::int64_t batch) {
    return faults_with_servers(4, [=](TrainConfig& c) { c.parameter_servers = 1, c.global_batch = batch; });
  };

  EXPECT_TRUE(with_batch(3).empty());
  EXPECT_EQ(with_batch(2).size(), 1u);
}

TEST(Config, LeavesOutAsManyGradientsAsThereAreOthers) {
  const auto with_backup = [](int ranks, std::optional<std::int64_t> backup) {
    return faults_with_servers(ranks, [=](TrainConfig& c) { c.ps_mode = "backup", c.backup_workers = backup; });
  };

  EXPECT_TRUE(with_backup(2, std::nullopt).empty());
  EXPECT_TRUE(with_backup(4, 3).empty());
  EXPECT_EQ(with_backup(4, 4).size(), 1u);
  EXPECT_EQ(with_backup(1, std::nullopt).size(), 1u);
}

TEST(Config, RefusesWhatServersCannotGive) {
  for (const auto& change : std::vector<std::function<void(TrainConfig&)>>{
           [](TrainConfig& c) { c.ps_mode = "asynchronous"; }, [](TrainConfig& c) { c.backup_workers = 1; },
           [](TrainConfig& c) { c.max_staleness = 1; }, [](TrainConfig& c) { c.shared_update = "on"; },
           [](TrainConfig& c) { c.wire_dtype = "bf16"; }, [](TrainConfig& c) { c.ps_mode = "async", c.max_staleness = -1; },
           [](TrainConfig& c) { c.ps_mode = "async", c.max_staleness = 21; }}) {
    EXPECT_EQ(faults_with_servers(4, change).size(), 1u);
  }
}

TEST(Config, RefusesOptionsOfServersWhereThereAreNone) {
  expect_one_fault([](TrainConfig& c) { c.parameter_servers = 1; }, "--parameter-servers");
  expect_one_fault([](TrainConfig& c) { c.ps_mode = "async"; }, "--ps-mode");
  expect_one_fault([](TrainConfig& c) { c.backup_workers = 1; }, "--backup-workers");
  expect_one_fault([](TrainConfig& c) { c.max_staleness = 1; }, "--max-staleness");
}

TEST(Config, WantsPeersForABf16Wire) {
  TrainConfig config;
  config.wire_dtype = "bf16";

  EXPECT_TRUE(validate(config, 2).empty());
  EXPECT_EQ(validate(config, 1).size(), 1u);
}

TEST(Config, KnowsEveryOptimizerAndTheNearestName) {
  for (const char* name : {"sgd", "nesterov", "rmsprop", "lars", "adamw", "lamb"}) {
    EXPECT_TRUE(faults_after([&](TrainConfig& c) { c.optimizer = name; }).empty()) << name;
  }
  expect_one_fault([](TrainConfig& c) { c.optimizer = "adam"; }, "--optimizer adamw");
}

// Runs a second time where oneDNN is told that the CPU has neither bf16 nor AVX-512 (CMakeLists.txt).
TEST(ConfigPrecision, IsBf16WhereTheCpuHasItAndRefusedElsewhere) {
  TrainConfig config;
  config.precision = "bf16";
  switch (bf16_support()) {
    case Bf16Support::native:
      EXPECT_TRUE(validate(config, 1).empty());
      break;
    case Bf16Support::slow:
      expect_one_fault([](TrainConfig& c) { c.precision = "bf16"; }, "--allow-slow");
      config.allow_slow = true;
      EXPECT_TRUE(validate(config, 1).empty());
      break;
    case Bf16Support::none:
      expect_one_fault([](TrainConfig& c) { c.precision = "bf16", c.allow_slow = true; }, "try: --precision fp32");
      break;
  }
}

TEST(ConfigPrecision, IsChosenByTheCpuWhereItIsAutomatic) {
  EXPECT_EQ(parse_precision("fp32"), Precision::fp32);
  EXPECT_EQ(parse_precision("bf16"), Precision::bf16);
  EXPECT_EQ(parse_precision("auto"), bf16_support() == Bf16Support::native ? Precision::bf16 : Precision::fp32);
}

TEST(Config, RefusesContradictions) {
  expect_one_fault([](TrainConfig& c) { c.lr = 0.1, c.base_lr = 0.1; }, "--lr and --base-lr");
  expect_one_fault([](TrainConfig& c) { c.epochs = 1.0, c.steps = 10; }, "--epochs and --steps");
  expect_one_fault([](TrainConfig& c) { c.resume = "auto"; }, "--out DIR");
  expect_one_fault([](TrainConfig& c) { c.resume = "a.safetensors", c.init_from = "b.safetensors"; },
                   "--resume and --init-from");
  expect_one_fault([](TrainConfig& c) { c.optimizer = "nesterov", c.momentum = 0.0; }, "--optimizer sgd");
  expect_one_fault([](TrainConfig& c) { c.resize = 200, c.crop = 224; }, "--resize: expected at least --crop 224");
  expect_one_fault([](TrainConfig& c) { c.epochs = 4.0, c.warmup_epochs = 5.0; }, "--warmup-epochs: expected no more than");
  expect_one_fault([](TrainConfig& c) { c.warmup_epochs = 91.0; }, "--warmup-epochs");
  EXPECT_TRUE(faults_after([](TrainConfig& c) { c.steps = 10, c.warmup_epochs = 91.0; }).empty());  // depends on the data
}

TEST(Config, AResumedRunMayNameACheckpointOrItsDirectory) {
  EXPECT_TRUE(faults_after([](TrainConfig& c) { c.resume = "auto", c.out = "run"; }).empty());
  EXPECT_TRUE(faults_after([](TrainConfig& c) { c.resume = "a.safetensors"; }).empty());
  EXPECT_TRUE(faults_after([](TrainConfig& c) { c.resume = "auto", c.out = "run", c.init_from = "w.safetensors"; }).empty());
}

TEST(Config, ReportsAllFaultsTogether) {
  const std::vector<std::string> faults = faults_after(
      [](TrainConfig& c) {
        c.model = "vgg";
        c.global_batch = 1;
        c.momentum = 2.0;
        c.schedule = "linear";
        c.allreduce = "tree";
        c.checkpoint_every = "daily";
        c.eval_every = "0";
      },
      2);
  ASSERT_EQ(faults.size(), 7u) << all_of(faults);
  for (const char* option :
       {"--model", "--global-batch", "--momentum", "--schedule", "--allreduce", "--checkpoint-every", "--eval-every"}) {
    EXPECT_NE(all_of(faults).find(option), std::string::npos) << option;
  }
}

TEST(Config, EvaluationNeedsWeightsAndData) {
  const std::vector<std::string> faults = validate(EvalConfig{}, 1);
  ASSERT_EQ(faults.size(), 2u) << all_of(faults);
  EXPECT_NE(faults[0].find("--weights"), std::string::npos);
  EXPECT_NE(faults[1].find("--data"), std::string::npos);
  EXPECT_TRUE(validate(EvalConfig{.weights = "w.safetensors", .data = "pictures"}, 4).empty());
  EXPECT_EQ(validate(EvalConfig{.model = "resnet", .weights = "w", .data = "d", .global_batch = 3, .bind = "tight"}, 4).size(),
            3u);
}

TEST(Config, SeveralFilesOfWeightsHaveNamesAndNoLogits) {
  EXPECT_TRUE(validate(EvalConfig{.weights = "a,b,c", .data = "pictures"}, 1).empty());
  EXPECT_TRUE(validate(EvalConfig{.weights = "a", .data = "pictures", .logits = "l"}, 1).empty());
  for (const char* list : {"a,,b", ",a", "a,", "a,b,a"}) {
    const auto faults = validate(EvalConfig{.weights = list, .data = "pictures"}, 1);
    ASSERT_EQ(faults.size(), 1u) << list << all_of(faults);
    EXPECT_TRUE(faults[0].starts_with("--weights: reading the list '")) << faults[0];
  }

  const auto faults = validate(EvalConfig{.weights = "a,b", .data = "pictures", .logits = "l"}, 1);

  ASSERT_EQ(faults.size(), 1u) << all_of(faults);
  EXPECT_NE(faults[0].find("--logits: expected one file of weights"), std::string::npos) << faults[0];
}

TEST(Config, ClassIndicesNeedClassFolders) {
  EXPECT_TRUE(validate(EvalConfig{.weights = "w", .data = "pictures", .class_indices = "list.txt"}, 1).empty());

  const auto faults = validate(EvalConfig{.weights = "w", .data = "synthetic", .class_indices = "list.txt"}, 1);

  ASSERT_EQ(faults.size(), 1u) << all_of(faults);
  EXPECT_NE(faults[0].find("--class-indices: expected class folders"), std::string::npos) << faults[0];
}

TEST(Interval, ReadsStepsEpochsAndOff) {
  EXPECT_EQ(parse_interval("100"), (Interval{.steps = 100}));
  EXPECT_EQ(parse_interval("1epoch"), (Interval{.epochs = 1.0}));
  EXPECT_EQ(parse_interval("0.5epoch"), (Interval{.epochs = 0.5}));
  EXPECT_EQ(parse_interval("2epochs"), (Interval{.epochs = 2.0}));
  EXPECT_TRUE(parse_interval("off").is_off());
  EXPECT_FALSE(parse_interval("1epoch").is_off());
}

TEST(Interval, RefusesEverythingElse) {
  for (const char* text : {"", "0", "-1", "1.5", "epoch", "0epoch", "-1epoch", "1 epoch", "1epoche", "infepoch", "nanepoch",
                           "never", "10steps", "1e3"}) {
    EXPECT_THROW(parse_interval(text), ConfigError) << text;
  }
}

std::vector<std::int64_t> due_steps(const Interval& interval, std::int64_t steps, std::int64_t steps_per_epoch) {
  std::vector<std::int64_t> due;
  for (std::int64_t step = 0; step <= steps; ++step) {
    if (is_due(interval, step, steps_per_epoch)) due.push_back(step);
  }
  return due;
}

TEST(Interval, EndsAfterSoManyStepsOrEpochs) {
  EXPECT_EQ(due_steps({.steps = 4}, 12, 5), (std::vector<std::int64_t>{4, 8, 12}));
  EXPECT_EQ(due_steps({.epochs = 1.0}, 12, 5), (std::vector<std::int64_t>{5, 10}));
  EXPECT_EQ(due_steps({.epochs = 2.0}, 20, 5), (std::vector<std::int64_t>{10, 20}));
  EXPECT_EQ(due_steps({}, 20, 5), (std::vector<std::int64_t>{}));
}

TEST(Interval, FractionsOfAnEpochEndWithTheStepThatCompletesThem) {
  EXPECT_EQ(due_steps({.epochs = 0.5}, 10, 5), (std::vector<std::int64_t>{3, 5, 8, 10}));
  EXPECT_EQ(due_steps({.epochs = 0.1}, 4, 2), (std::vector<std::int64_t>{1, 2, 3, 4}));  // shorter than a step: every step
}

TEST(Interval, TenthsOfAnEpochAddUpToWholeEpochs) {
  // 0.1 is not a binary fraction: without care the tenth interval would end one step late.
  const std::vector<std::int64_t> due = due_steps({.epochs = 0.1}, 100000, 1000);
  ASSERT_EQ(due.size(), 1000u);
  for (std::size_t i = 0; i < due.size(); ++i) EXPECT_EQ(due[i], static_cast<std::int64_t>(i + 1) * 100);
}

TEST(NearestName, FindsTheSmallestEditDistance) {
  const std::vector<std::string> names{"resnet18", "resnet50", "vgg16", "adamw"};
  EXPECT_EQ(nearest_name("resnet5O", names), "resnet50");
  EXPECT_EQ(nearest_name("resnt18", names), "resnet18");
  EXPECT_EQ(nearest_name("vgg", names), "vgg16");
  EXPECT_EQ(nearest_name("adam", names), "adamw");
}

TEST(NearestName, OffersNothingWhenNothingIsSimilar) {
  EXPECT_EQ(nearest_name("squeezenet1_1", {"vgg16", "adamw"}), "");
  EXPECT_EQ(nearest_name("x", {}), "");
}

}  // namespace
}  // namespace dtrain
