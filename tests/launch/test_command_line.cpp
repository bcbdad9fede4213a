// From arguments to configurations: every option arrives, every fault is found, and the contract's names exist.
#include <gtest/gtest.h>

#include <limits>

#include "dtrain/error.hpp"
#include "launch/command_line.hpp"
#include "launch/command_options.hpp"

namespace dtrain {
namespace {

using Words = std::vector<std::string>;

template <typename Config>
Config parsed(const Words& words, int ranks = 1) {
  const Command command = parse_command_line(words, ranks);
  EXPECT_TRUE(std::holds_alternative<Config>(command));
  return std::get<Config>(command);
}

/// Text of the error that a command line provokes; empty when it is accepted.
std::string error_of(const Words& words, int ranks = 1) {
  try {
    parse_command_line(words, ranks);
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::usage);
    return error.what();
  }
  return {};
}

void expect_error(const Words& words, const std::vector<std::string>& parts, int ranks = 1) {
  const std::string text = error_of(words, ranks);
  for (const std::string& part : parts) EXPECT_NE(text.find(part), std::string::npos) << "lacks: " << part << "\n" << text;
}

std::string help_of(const Words& words) { return parsed<ShowText>(words).text; }

TEST(CommandLine, EveryTrainOptionReachesItsField) {
  const auto c = parsed<TrainConfig>({"train",
                                      "--model",
                                      "resnet18",
                                      "--num-classes",
                                      "10",
                                      "--precision",
                                      "fp32",
                                      "--conv",
                                      "direct",
                                      "--zero-init-gamma",
                                      "on",
                                      "--init-from",
                                      "w.safetensors",
                                      "--data",
                                      "pictures",
                                      "--data-format",
                                      "imagefolder",
                                      "--val-data",
                                      "more",
                                      "--augment",
                                      "light",
                                      "--resize",
                                      "232",
                                      "--crop",
                                      "200",
                                      "--shuffle",
                                      "off",
                                      "--workers",
                                      "3",
                                      "--max-damaged",
                                      "7",
                                      "--synthetic-size",
                                      "640",
                                      "--global-batch",
                                      "96",
                                      "--local-batch",
                                      "16",
                                      "--epochs",
                                      "2.5",
                                      "--optimizer",
                                      "nesterov",
                                      "--lr",
                                      "0.2",
                                      "--momentum",
                                      "0.8",
                                      "--weight-decay",
                                      "5e-5",
                                      "--label-smoothing",
                                      "0.1",
                                      "--schedule",
                                      "poly:power=2",
                                      "--warmup-epochs",
                                      "1.5",
                                      "--warmup-start-lr",
                                      "0.01",
                                      "--seed",
                                      "18446744073709551615",
                                      "--allreduce",
                                      "ring",
                                      "--fusion-mb",
                                      "0.5",
                                      "--stall-timeout",
                                      "7.5",
                                      "--data-timeout",
                                      "33.5",
                                      "--wire-dtype",
                                      "fp32",
                                      "--overlap",
                                      "off",
                                      "--ranks-per-node",
                                      "2",
                                      "--check-replicas",
                                      "7",
                                      "--threads",
                                      "4",
                                      "--comm-cores",
                                      "0",
                                      "--bind",
                                      "numa",
                                      "--out",
                                      "run",
                                      "--resume",
                                      "auto",
                                      "--checkpoint-every",
                                      "100",
                                      "--eval-every",
                                      "0.5epoch",
                                      "--keep-checkpoints",
                                      "5",
                                      "--log-every",
                                      "20",
                                      "--metrics",
                                      "m.jsonl",
                                      "--report",
                                      "r.json"});

  EXPECT_EQ(c.model, "resnet18");
  EXPECT_EQ(c.num_classes, 10);
  EXPECT_EQ(c.precision, "fp32");
  EXPECT_EQ(c.conv, "direct");
  EXPECT_TRUE(c.zero_init_gamma);
  EXPECT_EQ(c.init_from, "w.safetensors");
  EXPECT_EQ(c.data, "pictures");
  EXPECT_EQ(c.data_format, "imagefolder");
  EXPECT_EQ(c.val_data, "more");
  EXPECT_EQ(c.augment, "light");
  EXPECT_EQ(c.resize, 232);
  EXPECT_EQ(c.crop, 200);
  EXPECT_FALSE(c.shuffle);
  EXPECT_EQ(c.workers, 3);
  EXPECT_EQ(c.max_damaged, 7);
  EXPECT_EQ(c.synthetic_size, 640);
  EXPECT_EQ(c.global_batch, 96);
  EXPECT_EQ(c.local_batch, 16);
  EXPECT_DOUBLE_EQ(c.epochs, 2.5);
  EXPECT_EQ(c.optimizer, "nesterov");
  EXPECT_DOUBLE_EQ(c.lr.value(), 0.2);
  EXPECT_FALSE(c.base_lr.has_value());
  EXPECT_DOUBLE_EQ(c.momentum.value(), 0.8);
  EXPECT_DOUBLE_EQ(c.weight_decay.value(), 5e-5);
  EXPECT_DOUBLE_EQ(c.label_smoothing, 0.1);
  EXPECT_EQ(c.schedule, "poly:power=2");
  EXPECT_DOUBLE_EQ(c.warmup_epochs, 1.5);
  EXPECT_DOUBLE_EQ(c.warmup_start_lr, 0.01);
  EXPECT_EQ(c.seed, 18446744073709551615ull);
  EXPECT_EQ(c.allreduce, "ring");
  EXPECT_DOUBLE_EQ(c.fusion_mb.value_or(0.0), 0.5);
  EXPECT_DOUBLE_EQ(c.stall_timeout_s, 7.5);
  EXPECT_DOUBLE_EQ(c.data_timeout_s, 33.5);
  EXPECT_EQ(c.wire_dtype, "fp32");
  EXPECT_EQ(c.overlap, "off");
  EXPECT_EQ(c.ranks_per_node, 2);
  EXPECT_EQ(c.threads, 4);
  EXPECT_EQ(c.comm_cores, 0);
  EXPECT_EQ(c.bind, "numa");
  EXPECT_EQ(c.out, "run");
  EXPECT_EQ(c.resume, "auto");
  EXPECT_EQ(c.checkpoint_every, "100");
  EXPECT_EQ(c.eval_every, "0.5epoch");
  EXPECT_EQ(c.keep_checkpoints, 5);
  EXPECT_EQ(c.log_every, 20);
  EXPECT_EQ(c.metrics, "m.jsonl");
  EXPECT_EQ(c.report, "r.json");
}

TEST(CommandLine, TheRemainingTrainOptionsReachTheirFieldsToo) {
  EXPECT_DOUBLE_EQ(parsed<TrainConfig>({"--base-lr", "0.3"}).base_lr.value(), 0.3);
  EXPECT_EQ(parsed<TrainConfig>({"--lr-scaling", "sqrt"}).lr_scaling, "sqrt");
  EXPECT_EQ(parsed<TrainConfig>({"--bn", "sync"}).bn, "sync");
  EXPECT_EQ(parsed<TrainConfig>({"--steps", "12"}).bn, "local");
  EXPECT_EQ(parsed<TrainConfig>({"--steps", "12"}).steps, 12);
  EXPECT_EQ(parsed<TrainConfig>({"--steps", "12"}).mixed_cpus, "refuse");
  EXPECT_EQ(parsed<TrainConfig>({"--mixed-cpus", "allow"}).mixed_cpus, "allow");
  EXPECT_EQ(parsed<BenchConfig>({"bench", "--mixed-cpus", "allow"}).training.mixed_cpus, "allow");
  EXPECT_EQ(parsed<EvalConfig>({"eval", "--weights", "w", "--data", "d", "--mixed-cpus", "allow"}).mixed_cpus, "allow");
  expect_error({"bench", "--mixed-cpus", "yes"}, {"--mixed-cpus: expected refuse or allow"});
  expect_error({"--dropout", "0.25"}, {"dropout"});  // arrives, and resnet50 has no dropout layer
}

TEST(CommandLine, WithoutOptionsTheDefaultsOfTheConfigurationHold) {
  const auto c = parsed<TrainConfig>({"train"});
  const TrainConfig defaults;

  EXPECT_EQ(c.model, defaults.model);
  EXPECT_EQ(c.schedule, defaults.schedule);
  EXPECT_EQ(c.comm_cores, defaults.comm_cores);
  EXPECT_FALSE(c.lr.has_value());
  EXPECT_EQ(c.epochs, 0.0);
}

TEST(CommandLine, TrainIsTheCommandWhenNoneIsNamed) {
  EXPECT_EQ(parsed<TrainConfig>({"--model", "resnet50", "--global-batch", "8192"}, 512).global_batch, 8192);
}

TEST(CommandLine, ValuesMayFollowAnEqualsSign) {
  EXPECT_EQ(parsed<TrainConfig>({"--model=resnet34", "--lr=1e-3"}).model, "resnet34");
  EXPECT_EQ(parsed<TrainConfig>({"--schedule=step:every=30,gamma=0.1"}).schedule, "step:every=30,gamma=0.1");
}

TEST(CommandLine, TheLastOfRepeatedOptionsHolds) { EXPECT_EQ(parsed<TrainConfig>({"--seed", "1", "--seed", "2"}).seed, 2u); }

TEST(CommandLine, OnAloneMeansOn) {
  EXPECT_TRUE(parsed<TrainConfig>({"--zero-init-gamma"}).zero_init_gamma);
  EXPECT_TRUE(parsed<TrainConfig>({"--zero-init-gamma", "--seed", "2"}).zero_init_gamma);
  EXPECT_FALSE(parsed<TrainConfig>({"--zero-init-gamma", "off"}).zero_init_gamma);
}

TEST(CommandLine, ReportsAllFaultsTogether) {
  expect_error({"--modle", "resnet50", "--lr", "fast", "--thraeds=3", "stray", "-lr", "3", "--momentum", "1.5", "--precision",
                "bf61", "--shuffle", "maybe", "--global-batch", "0", "--seed"},
               {"10 faults", "--modle", "try: --model", "--lr: expected a number, found 'fast'", "try: --threads", "'stray'",
                "try: --lr", "--momentum: expected a number from 0 to below 1", "try: --precision bf16",
                "--shuffle: expected on or off, found 'maybe'", "--global-batch: expected a whole number from 1, found '0'",
                "--seed: expected a value, found none", "dtrain train --help"});
}

TEST(CommandLine, ValuesOfUnknownOptionsAreNotFaultsOfTheirOwn) {
  expect_error({"--modle", "resnet50"}, {"1 fault\n"});
  expect_error({"--modle=resnet50"}, {"1 fault\n"});
}

TEST(CommandLine, EveryOptionOfParameterServersReachesItsField) {
  const auto backup = std::get<TrainConfig>(
      parse_command_line({"--allreduce", "ps", "--parameter-servers", "2", "--ps-mode", "backup", "--backup-workers", "3"}, 8));
  EXPECT_EQ(backup.allreduce, "ps");
  EXPECT_EQ(backup.parameter_servers, 2);
  EXPECT_EQ(backup.ps_mode, "backup");
  EXPECT_EQ(backup.backup_workers, 3);
  const auto async = std::get<BenchConfig>(
      parse_command_line({"bench", "--allreduce", "ps", "--ps-mode", "async", "--max-staleness", "0"}, 8));
  EXPECT_EQ(async.training.ps_mode, "async");
  EXPECT_EQ(async.training.max_staleness, 0);
}

TEST(CommandLine, ANumberMustBeANumberToItsEnd) {
  for (const char* value : {"", "x", "1x", "1.5", "--", "1e3", "99999999999999999999", "0x10", " 1"}) {
    EXPECT_NE(error_of({std::string("--steps=") + value}), "") << value;
  }
  for (const char* value : {"", "x", "0.1.2", "nan", "inf", "1e999", "0,1"}) {
    EXPECT_NE(error_of({std::string("--lr=") + value}), "") << value;
  }
  EXPECT_NE(error_of({"--seed", "-1"}), "");
  EXPECT_NE(error_of({"--threads", "3000000000"}), "");
}

TEST(CommandLine, EveryWholeNumberHasABound) {
  const std::string most = std::to_string(std::numeric_limits<std::int64_t>::max());
  const auto expect_bounds = [&](const OptionTable& table, const std::vector<std::string>& command) {
    for (const Option& option : table.options) {
      if (option.value != "N" || option.name == "seed") continue;
      std::vector<std::string> words = command;
      words.insert(words.end(), {"--" + option.name, most});
      expect_error(words, {"--" + option.name + ": expected "});
    }
  };
  TrainConfig train;
  EvalConfig eval;
  BenchConfig bench;
  InitConfig init;
  ModelsConfig models;
  TopoConfig topo;
  MakeDemoConfig demo;
  expect_bounds(train_table(train), {"train"});
  expect_bounds(eval_table(eval), {"eval", "--weights", "w", "--data", "d"});
  expect_bounds(bench_table(bench), {"bench"});
  expect_bounds(init_table(init), {"init", "--out", "w"});
  expect_bounds(models_table(models), {"models", "--plan", "lenet5"});
  expect_bounds(topo_table(topo), {"topo"});
  expect_bounds(make_demo_table(demo), {"make-demo", "d"});
}

TEST(CommandLine, ZeroIsRefusedWhereItMeansNothing) {
  for (const char* option :
       {"--global-batch", "--local-batch", "--epochs", "--steps", "--threads", "--workers", "--crop", "--resize",
        "--ranks-per-node", "--keep-checkpoints", "--log-every", "--lr", "--base-lr", "--fusion-mb", "--stall-timeout"}) {
    expect_error({option, "0"}, {option});
  }
  EXPECT_EQ(error_of({"--comm-cores", "0"}), "");
  EXPECT_EQ(error_of({"--weight-decay", "0"}), "");
}

TEST(CommandLine, TheConfigurationIsJudgedForTheLaunchedRanks) {
  EXPECT_EQ(error_of({"--global-batch", "4"}, 4), "");
  expect_error({"--global-batch", "4"}, {"--global-batch", "8 ranks"}, 8);
}

TEST(CommandLine, UnknownCommandsGetTheNearestName) {
  expect_error({"trian"}, {"try: dtrain train"});
  expect_error({"evall", "--data", "x"}, {"try: dtrain eval"});
  expect_error({"zzzzzzzzzz"}, {"dtrain --help"});
}

TEST(CommandLine, EveryEvalOptionReachesItsField) {
  const auto c = parsed<EvalConfig>({"eval",
                                     "--model",
                                     "resnet20",
                                     "--weights",
                                     "w.safetensors",
                                     "--data",
                                     "d",
                                     "--num-classes",
                                     "10",
                                     "--crop",
                                     "32",
                                     "--resize",
                                     "40",
                                     "--global-batch",
                                     "20",
                                     "--local-batch",
                                     "5",
                                     "--threads",
                                     "2",
                                     "--bind",
                                     "none",
                                     "--workers",
                                     "1",
                                     "--conv",
                                     "direct",
                                     "--max-damaged",
                                     "0",
                                     "--report",
                                     "e.json",
                                     "--data-format",
                                     "auto",
                                     "--precision",
                                     "fp32",
                                     "--ranks-per-node",
                                     "1",
                                     "--synthetic-size",
                                     "9",
                                     "--class-indices",
                                     "list.txt",
                                     "--confusion",
                                     "c.csv",
                                     "--stall-timeout",
                                     "9.5",
                                     "--per-class"});
  EXPECT_DOUBLE_EQ(c.stall_timeout_s, 9.5);
  EXPECT_EQ(c.confusion, "c.csv");
  EXPECT_TRUE(c.per_class);
  EXPECT_EQ(c.model, "resnet20");
  EXPECT_EQ(c.weights, "w.safetensors");
  EXPECT_EQ(c.data, "d");
  EXPECT_EQ(c.num_classes, 10);
  EXPECT_EQ(c.crop, 32);
  EXPECT_EQ(c.resize, 40);
  EXPECT_EQ(c.global_batch, 20);
  EXPECT_EQ(c.local_batch, 5);
  EXPECT_EQ(c.threads, 2);
  EXPECT_EQ(c.bind, "none");
  EXPECT_EQ(c.workers, 1);
  EXPECT_EQ(c.conv, "direct");
  EXPECT_EQ(c.max_damaged, 0);
  EXPECT_EQ(c.report, "e.json");
  EXPECT_EQ(c.data_format, "auto");
  EXPECT_EQ(c.precision, "fp32");
  EXPECT_EQ(c.ranks_per_node, 1);
  EXPECT_EQ(c.synthetic_size, 9);
  EXPECT_EQ(c.class_indices, "list.txt");
  expect_error({"eval"}, {"2 faults", "--weights", "--data"});
  expect_error({"eval", "--weights", "w", "--data", "d", "--lr", "1"}, {"--lr"});
  expect_error({"eval", "--weights", "w", "--data", "d", "--stall-timeout", "0.5"},
               {"--stall-timeout: expected a number from 1"});
  expect_error({"train", "--class-indices", "list.txt"}, {"--class-indices: expected an option of dtrain train"});
}

TEST(CommandLine, KeepsValuesAsTheyWereGiven) {
  for (const std::string name : {"a\nb", "a\r\nb", "\n", "a\x01n", "\x01\x01", "a=b --out c"}) {
    EXPECT_EQ(parsed<TrainConfig>({"--data", "x/" + name, "--out", name}).out, name);
    EXPECT_EQ(parsed<TrainConfig>({"--data=x/" + name, "--steps", "3"}).data, "x/" + name);
    EXPECT_EQ(parsed<InspectConfig>({"inspect", "x/" + name}).file, "x/" + name);
    EXPECT_EQ(parsed<PlotConfig>({"plot", "x/" + name, "y"}).runs, (std::vector<std::string>{"x/" + name, "y"}));
  }
}

TEST(CommandLine, TheOtherCommandsAreRead) {
  const auto init = parsed<InitConfig>(
      {"init", "--model", "lenet5", "--seed", "7", "--out", "o.safetensors", "--num-classes", "3", "--zero-init-gamma", "on"});
  EXPECT_EQ(init.model, "lenet5");
  EXPECT_EQ(init.seed, 7u);
  EXPECT_EQ(init.out, "o.safetensors");
  EXPECT_EQ(init.num_classes, 3);
  EXPECT_TRUE(init.zero_init_gamma);
  expect_error({"init"}, {"--out"});

  EXPECT_TRUE(parsed<ModelsConfig>({"models", "--json"}).json);
  EXPECT_FALSE(parsed<ModelsConfig>({"models"}).json);
  expect_error({"models", "--json=yes"}, {"--json: expected no value"});
  const auto plan = parsed<ModelsConfig>({"models", "--plan", "resnet20", "--local-batch", "8", "--crop", "48"});
  EXPECT_EQ(planned_run(plan).model, "resnet20");
  EXPECT_EQ(planned_run(plan).global_batch, 8);
  EXPECT_EQ(planned_run(plan).local_batch, 8);
  EXPECT_EQ(planned_run(plan).crop, 48);
  EXPECT_FALSE(planned_run(plan).aux_heads);
  expect_error({"models", "--plan", "resnet2O"}, {"--model resnet20"});
  expect_error({"models", "--local-batch", "8"}, {"--plan"});

  const auto topo = parsed<TopoConfig>(
      {"topo", "--threads", "3", "--comm-cores", "1", "--bind", "core", "--workers", "2", "--ranks-per-node", "4"});
  EXPECT_EQ(topo.threads, 3);
  EXPECT_EQ(topo.comm_cores, 1);
  EXPECT_EQ(topo.bind, "core");
  EXPECT_EQ(topo.workers, 2);
  EXPECT_EQ(topo.ranks_per_node, 4);
  expect_error({"topo", "--bind", "tight"}, {"--bind"});

  const auto demo =
      parsed<MakeDemoConfig>({"make-demo", "--train-per-class", "5", "dir", "--val-per-class", "2", "--seed", "9", "--force"});
  EXPECT_EQ(demo.directory, "dir");
  EXPECT_EQ(demo.options.train_per_class, 5);
  EXPECT_EQ(demo.options.val_per_class, 2);
  EXPECT_EQ(demo.options.seed, 9u);
  EXPECT_TRUE(demo.force);
  expect_error({"make-demo"}, {"expected DIR"});
  expect_error({"make-demo", "a", "b"}, {"'b'"});

  EXPECT_EQ(parsed<InspectConfig>({"inspect", "f.safetensors"}).file, "f.safetensors");
  expect_error({"inspect"}, {"expected FILE"});
}

TEST(CommandLine, AuxiliaryHeadsAreOffUnlessAskedForAndRefusedWhereThereAreNone) {
  EXPECT_FALSE(parsed<TrainConfig>({"--model", "googlenet"}).aux_heads);
  EXPECT_TRUE(parsed<TrainConfig>({"--model", "googlenet", "--aux-heads", "on"}).aux_heads);
  EXPECT_TRUE(parsed<InitConfig>({"init", "--model", "inception_v3", "--aux-heads", "on", "--out", "o"}).aux_heads);
  EXPECT_TRUE(planned_run(parsed<ModelsConfig>({"models", "--plan", "googlenet", "--aux-heads", "on"})).aux_heads);

  expect_error({"--model", "resnet50", "--aux-heads", "on"}, {"building model resnet50: expected no auxiliary heads",
                                                              "--aux-heads off, or --model googlenet or inception_v3"});
  expect_error({"--model", "inception_v3", "--crop", "128", "--aux-heads", "on"}, {"at least 299×299"});
  expect_error({"--model", "googlenet", "--aux-heads", "yes"}, {"--aux-heads"});
  expect_error({"models", "--aux-heads", "on"}, {"--plan"});
  EXPECT_NE(help_of({"--help"}).find("--aux-heads"), std::string::npos);
}

TEST(CommandLine, EveryBenchOptionReachesItsField) {
  const auto c = parsed<BenchConfig>({"bench",
                                      "--models",
                                      "resnet20,lenet5",
                                      "--batches",
                                      "1,4",
                                      "--precision",
                                      "fp32",
                                      "--allow-slow",
                                      "--steps",
                                      "7",
                                      "--warmup",
                                      "0",
                                      "--crop",
                                      "48",
                                      "--conv",
                                      "direct",
                                      "--recompute",
                                      "bn",
                                      "--allreduce",
                                      "ring",
                                      "--stall-timeout",
                                      "90",
                                      "--threads",
                                      "2",
                                      "--bind",
                                      "core",
                                      "--workers",
                                      "3",
                                      "--comm-cores",
                                      "1",
                                      "--json",
                                      "f.json",
                                      "--csv",
                                      "f.csv",
                                      "--ranks-per-node",
                                      "4"});

  EXPECT_EQ(c.models, "resnet20,lenet5");
  EXPECT_EQ(c.batches, "1,4");
  EXPECT_EQ(c.precision, "fp32");
  EXPECT_EQ(c.steps, 7);
  EXPECT_EQ(c.warmup, 0);
  EXPECT_EQ(c.json, "f.json");
  EXPECT_EQ(c.csv, "f.csv");
  EXPECT_DOUBLE_EQ(c.training.stall_timeout_s, 90.0);
  EXPECT_TRUE(c.training.allow_slow);
  EXPECT_EQ(c.training.crop, 48);
  EXPECT_EQ(c.training.conv, "direct");
  EXPECT_EQ(c.training.recompute, "bn");
  EXPECT_EQ(c.training.allreduce, "ring");
  EXPECT_EQ(c.training.threads, 2);
  EXPECT_EQ(c.training.bind, "core");
  EXPECT_EQ(c.training.workers, 3);
  EXPECT_EQ(c.training.comm_cores, 1);
  EXPECT_EQ(c.training.ranks_per_node, 4);
}

TEST(CommandLine, HelpNamesEveryOptionOfTheContract) {
  const std::string help = help_of({"--help"});
  for (const char* name : {"--model",
                           "--data",
                           "--data-format",
                           "--val-data",
                           "--num-classes",
                           "--global-batch",
                           "--local-batch",
                           "--bn",
                           "--epochs",
                           "--steps",
                           "--precision",
                           "--optimizer",
                           "--lr",
                           "--base-lr",
                           "--momentum",
                           "--weight-decay",
                           "--label-smoothing",
                           "--mixed-cpus",
                           "--dropout",
                           "--schedule",
                           "--warmup-epochs",
                           "--warmup-start-lr",
                           "--allreduce",
                           "--fusion-mb",
                           "--stall-timeout",
                           "--wire-dtype",
                           "--overlap",
                           "--parameter-servers",
                           "--ps-mode",
                           "--backup-workers",
                           "--max-staleness",
                           "--threads",
                           "--comm-cores",
                           "--bind",
                           "--augment",
                           "--resize",
                           "--crop",
                           "--shuffle",
                           "--workers",
                           "--conv",
                           "--out",
                           "--resume",
                           "--init-from",
                           "--checkpoint-every",
                           "--eval-every",
                           "--seed",
                           "--log-every",
                           "--metrics",
                           "--report",
                           "--zero-init-gamma",
                           "--max-damaged",
                           "--keep-checkpoints",
                           "--ranks-per-node",
                           "--synthetic-size"}) {
    EXPECT_NE(help.find(std::string(" ") + name + " "), std::string::npos) << name;
  }
  for (const char* command :
       {"train", "eval", "bench", "init", "models", "topo", "make-demo", "inspect", "plot", "--version"}) {
    EXPECT_NE(help.find(std::string("dtrain ") + command), std::string::npos) << command;
  }
}

TEST(CommandLine, EveryCommandHasHelpWithDefaults) {
  EXPECT_NE(help_of({"train", "--help"}).find("[resnet50]"), std::string::npos);
  EXPECT_NE(help_of({"--model", "nonsense", "--help"}).find("--warmup-epochs"), std::string::npos);
  EXPECT_NE(help_of({"eval", "--help"}).find("--weights"), std::string::npos);
  EXPECT_NE(help_of({"bench", "--help"}).find("--batches"), std::string::npos);
  EXPECT_NE(help_of({"init", "-h"}).find("--out"), std::string::npos);
  EXPECT_NE(help_of({"models", "--help"}).find("--json"), std::string::npos);
  EXPECT_NE(help_of({"topo", "--help"}).find("--bind"), std::string::npos);
  EXPECT_NE(help_of({"make-demo", "--help"}).find("DIR"), std::string::npos);
  EXPECT_NE(help_of({"inspect", "--help"}).find("FILE"), std::string::npos);
  EXPECT_EQ(help_of({}), help_of({"--help"}));
}

TEST(CommandLine, VersionIsALineWithNameAndNumber) {
  const std::string text = help_of({"--version"});
  EXPECT_TRUE(text.starts_with("dtrain ")) << text;
  EXPECT_NE(text.find('.'), std::string::npos);
  EXPECT_EQ(text.back(), '\n');
}

}  // namespace
}  // namespace dtrain
