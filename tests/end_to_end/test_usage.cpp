// What a command line can get wrong: refused before any work starts, all faults together, each with a way out. And what it can
// ask about the program itself.
#include <gtest/gtest.h>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

struct Mistake {
  const char* name;
  std::vector<std::string> arguments;
  std::vector<std::string> says;
};

class UsageMistake : public testing::TestWithParam<Mistake> {};

TEST_P(UsageMistake, IsRefusedWithAWayOut) {
  const Outcome outcome = run({.arguments = GetParam().arguments}, kPromptlyS);

  EXPECT_EQ(outcome.exit_code, 2) << outcome;
  for (const std::string& text : GetParam().says) EXPECT_TRUE(outcome.says(text)) << "no \"" << text << "\" in " << outcome;
  EXPECT_TRUE(outcome.output.empty()) << outcome;
}

INSTANTIATE_TEST_SUITE_P(
    Usage, UsageMistake,
    testing::Values(
        Mistake{"UnknownModel", {"--model", "resnt50"}, {"\"resnt50\"", "try: --model resnet50"}},
        Mistake{"UnknownOption", {"--model", "resnet20", "--golbal-batch", "8"}, {"--golbal-batch", "try: --global-batch"}},
        Mistake{"UnknownCommand", {"trian", "--model", "resnet20"}, {"'trian'", "try: dtrain train"}},
        Mistake{"UnknownOptionOfEval", {"eval", "--wieghts", "x"}, {"--wieghts", "try: --weights"}},
        Mistake{"UnknownAlgorithm",
                {"--allreduce", "rings"},
                {"--allreduce", "hierarchical, mpi, ps or none", "try: --allreduce ring"}},
        Mistake{"GapInTheAlgorithms", {"--allreduce", "ring:0-64K;mpi:1M-max"}, {"--allreduce", "begins at 64K"}},
        Mistake{"UnknownOptimizer", {"--optimizer", "rmsprob"}, {"--optimizer", "try: --optimizer rmsprop"}},
        Mistake{"OptionOfAnotherOptimizer",
                {"--beta1", "0.8"},
                {"--beta1: expected --optimizer adamw or lamb", "leave --beta1 out"}},
        Mistake{"UnknownSchedule", {"--schedule", "cosin"}, {"--schedule"}},
        Mistake{"UnknownPrecision", {"--precision", "fp16"}, {"--precision", "fp32, bf16 or auto", "try: --precision fp32"}},
        Mistake{"Bf16OnTheWire", {"--wire-dtype", "bf16"}, {"--wire-dtype", "one rank"}},
        Mistake{"ZeroGlobalBatch", {"--global-batch", "0"}, {"--global-batch: expected a whole number from 1, found '0'"}},
        Mistake{"NegativeLocalBatch", {"--local-batch", "-4"}, {"--local-batch", "'-4'"}},
        Mistake{"ZeroSteps", {"--steps", "0"}, {"--steps", "'0'"}},
        Mistake{"NegativeEpochs", {"--epochs", "-1"}, {"--epochs: expected a number above 0"}},
        Mistake{"ZeroThreads", {"--threads", "0"}, {"--threads", "'0'"}},
        Mistake{"ZeroWorkers", {"--workers", "0"}, {"--workers", "'0'"}},
        Mistake{"NegativeRate", {"--lr", "-0.1"}, {"--lr: expected a number above 0, found -0.1"}},
        Mistake{"InfiniteRate", {"--lr", "inf"}, {"--lr", "inf"}},
        Mistake{"MomentumOfOne", {"--momentum", "1"}, {"--momentum"}},
        Mistake{"NegativeWeightDecay", {"--weight-decay", "-1"}, {"--weight-decay"}},
        Mistake{"ZeroFusion", {"--fusion-mb", "0"}, {"--fusion-mb"}},
        Mistake{"NegativeInterval", {"--checkpoint-every", "-5"}, {"--checkpoint-every"}},
        Mistake{"NotANumber", {"--steps", "ten"}, {"--steps", "'ten'"}},
        Mistake{"FractionalSteps", {"--steps", "1.5"}, {"--steps", "'1.5'"}},
        Mistake{"TooLargeNumber", {"--steps", "99999999999999999999"}, {"--steps"}},
        Mistake{"MissingValue", {"--steps"}, {"--steps: expected a value"}},
        Mistake{"TwoRates", {"--lr", "1", "--base-lr", "1"}, {"--lr and --base-lr"}},
        Mistake{"TwoLengths", {"--steps", "1", "--epochs", "1"}, {"--epochs and --steps"}},
        Mistake{"ResumeWithoutOut", {"--resume", "auto"}, {"--resume auto", "--out"}},
        Mistake{"CropLargerThanResize", {"--resize", "128", "--crop", "224"}, {"--resize", "224"}},
        Mistake{"DropoutWhereThereIsNone", {"--model", "resnet20", "--dropout", "0.5"}, {"dropout"}},
        Mistake{"EvalWithoutWeights", {"eval", "--data", "x"}, {"--weights"}},
        Mistake{"UnknownModelsAndEmptyBatch",
                {"bench", "--models", "resnt50,lenet5,vgg61", "--batches", "16,,32"},
                {"3 faults", "--models: ", "'resnt50'", "try: --models resnet50", "'vgg61'", "--batches: ", "an empty part"}},
        Mistake{"ZeroInBatches", {"bench", "--batches", "16,0"}, {"--batches: ", "whole numbers from 1 to 65536", "'0'"}},
        Mistake{"InitWithoutOut", {"init", "--model", "resnet20"}, {"--out"}},
        Mistake{"MakeDemoWithoutDirectory", {"make-demo"}, {"DIR"}},
        Mistake{"ZeroPictures", {"make-demo", "x", "--train-per-class", "0"}, {"--train-per-class", "'0'"}}),
    [](const auto& mistake) { return mistake.param.name; });

TEST(Usage, ReportsAllFaultsTogether) {
  const Outcome outcome = run({.arguments = {"--model", "resnt50", "--global-batch", "0", "--lr", "-1", "--epohs", "3",
                                             "--threads", "-2", "--resume", "auto", "--momentum", "1.5"}});

  EXPECT_EQ(outcome.exit_code, 2) << outcome;
  EXPECT_TRUE(outcome.says("7 faults")) << outcome;
  for (const char* text : {"resnt50", "--global-batch", "--lr", "--epohs", "--threads", "--resume auto", "--momentum"}) {
    EXPECT_TRUE(outcome.says(text)) << "no " << text << " in " << outcome;
  }
}

TEST(Usage, RefusesABatchSmallerThanTheRanksOnceForAllOfThem) {
  const Outcome outcome = run({.ranks = 3, .arguments = training({"--global-batch", "2", "--steps", "1"})});

  EXPECT_EQ(outcome.exit_code, 2) << outcome;
  EXPECT_EQ(outcome.count("expected at least one sample for each of the 3 ranks, found 2"), 1) << outcome;
}

TEST(Usage, RefusesSharedMemoryAcrossNodes) {
  const Outcome outcome =
      run({.ranks = 2, .arguments = training({"--allreduce", "shm", "--ranks-per-node", "1", "--steps", "1"})});

  EXPECT_EQ(outcome.exit_code, 2) << outcome;
  EXPECT_TRUE(outcome.says("choosing --allreduce shm: expected all ranks on one node, found 2 nodes")) << outcome;
}

TEST(Usage, RefusesABatchBeyondTheMemoryBeforeItTakesAny) {
  const Outcome outcome =
      run({.arguments = {"--model", "resnet50", "--local-batch", "65536", "--global-batch", "65536"}}, kPromptlyS);

  EXPECT_EQ(outcome.exit_code, 2) << outcome;
  EXPECT_TRUE(outcome.says("planning the memory of a rank for --local-batch 65536: expected at most ")) << outcome;
  EXPECT_TRUE(outcome.says(" GB planned; try: --local-batch ")) << outcome;
  EXPECT_TRUE(outcome.says(", the largest that fits")) << outcome;
}

TEST(Usage, RefusesABatchBeyondTheMemoryOnceForAllRanks) {
  const Outcome outcome = run({.ranks = 2, .arguments = {"--model", "resnet18", "--local-batch", "50000"}}, kPromptlyS);

  EXPECT_EQ(outcome.exit_code, 2) << outcome;
  EXPECT_EQ(outcome.count("the largest that fits"), 1) << outcome;
}

// A launcher of another MPI than the one dtrain is linked with starts N processes of which each believes to be alone.
TEST(Usage, RefusesToTrainTheSameNetworkInEveryProcessOfALauncher) {
  for (const std::string variable : {"OMPI_COMM_WORLD_SIZE=4", "PMI_SIZE=4"}) {
    const Outcome outcome = run({.arguments = training({"--steps", "1"}), .environment = {variable}});

    EXPECT_EQ(outcome.exit_code, 4) << outcome;
    EXPECT_TRUE(outcome.says("every process is alone and would train the same network for itself")) << outcome;
    EXPECT_TRUE(outcome.says(variable)) << outcome;
  }
}

TEST(Help, OfEveryCommandNamesItsOptionsAndSucceeds) {
  for (const std::string command : {"train", "eval", "bench", "init", "models", "topo", "make-demo", "inspect"}) {
    const Outcome outcome = run({.arguments = {command, "--help"}});

    EXPECT_EQ(outcome.exit_code, 0) << outcome;
    EXPECT_TRUE(outcome.says("dtrain " + command)) << outcome;
    EXPECT_TRUE(outcome.errors.empty()) << outcome;
  }
}

TEST(Help, OfTheProgramNamesAllCommandsAndAllOptionsOfTraining) {
  const Outcome outcome = run({.arguments = {"--help"}});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  for (const std::string command : {"train", "eval", "bench", "init", "models", "topo", "make-demo", "inspect", "--version"}) {
    EXPECT_TRUE(outcome.says("dtrain " + command)) << command;
  }
  for (const std::string option : {"model",
                                   "data",
                                   "data-format",
                                   "val-data",
                                   "num-classes",
                                   "global-batch",
                                   "local-batch",
                                   "epochs",
                                   "steps",
                                   "precision",
                                   "optimizer",
                                   "lr",
                                   "base-lr",
                                   "momentum",
                                   "weight-decay",
                                   "dropout",
                                   "schedule",
                                   "label-smoothing",
                                   "allreduce",
                                   "warmup-epochs",
                                   "fusion-mb",
                                   "wire-dtype",
                                   "overlap",
                                   "shared-update",
                                   "check-replicas",
                                   "threads",
                                   "comm-cores",
                                   "bind",
                                   "augment",
                                   "resize",
                                   "crop",
                                   "shuffle",
                                   "workers",
                                   "conv",
                                   "out",
                                   "resume",
                                   "init-from",
                                   "eval-every",
                                   "seed",
                                   "log-every",
                                   "checkpoint-every",
                                   "metrics",
                                   "keep-checkpoints",
                                   "report"}) {
    EXPECT_TRUE(outcome.says("--" + option + " ")) << option;
  }
}

TEST(Help, UnderMpirunIsPrintedOnce) {
  const Outcome outcome = run({.ranks = 2, .arguments = {"--version"}});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(outcome.count("dtrain 0."), 1) << outcome;
}

TEST(Models, AreListedAsTextAndAsJson) {
  const Outcome text = run({.arguments = {"models"}});
  const Outcome json = run({.arguments = {"models", "--json"}});

  EXPECT_EQ(text.exit_code, 0) << text;
  bool has_resnet50 = false;
  for (const Json& model : Json::parse(json.output)) {
    EXPECT_TRUE(text.says(model.at("name"))) << model;
    if (model.at("name") != "resnet50") continue;
    has_resnet50 = true;
    EXPECT_EQ(model.at("parameters"), 25557032);
  }
  EXPECT_TRUE(has_resnet50);
}

TEST(Models, PlanWhatARunReports) {
  const std::vector<std::string> options{"--local-batch", "12", "--crop", "48", "--conv", "direct"};
  std::vector<std::string> planning{"models", "--plan", "resnet20", "--json"};
  std::vector<std::string> running{"--model",   "resnet20", "--global-batch", "12",
                                   "--steps",   "2",        "--num-classes",  "10",
                                   "--threads", "1",        "--report",       new_path("report.json").string()};
  planning.insert(planning.end(), options.begin(), options.end());
  running.insert(running.end(), options.begin(), options.end());

  const Json plan = Json::parse(run({.arguments = planning}).output);
  const Outcome outcome = run({.arguments = running});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  const Json report = read_json(running[11]);
  const double resident = plan.at("resident_bytes");  // measured, so that it differs a little from run to run
  for (const auto& [key, bytes] : report.at("memory").items()) {
    if (key == "resident_bytes") continue;
    EXPECT_EQ(plan.at(key), bytes) << key;
  }
  EXPECT_NEAR(report.at("memory").at("resident_bytes").get<double>(), resident, 0.1 * resident);
  EXPECT_NEAR(report.at("planned_bytes").get<double>(), plan.at("planned_bytes").get<double>(), 0.1 * resident);
}

TEST(Topo, ShowsEveryRank) {
  const Outcome outcome = run({.ranks = 2, .arguments = {"topo"}});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  for (const char* row : {"\n  rank ", "\n  0 ", "\n  1 "}) EXPECT_EQ(outcome.count(row), 1) << outcome;
}

}  // namespace
}  // namespace dtrain
