// Auxiliary heads: trained, saved, resumed and taken from files where they are asked for, and ignored elsewhere.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// GoogLeNet on pictures of 32 pixels. A later --model takes the place of the one that `training_into` names.
std::vector<std::string> with_googlenet(const fs::path& out, const std::string& aux_heads,
                                        const std::vector<std::string>& more) {
  std::vector<std::string> options{"--model",        "googlenet", "--crop",      "32",      "--resize",     "32",
                                   "--global-batch", "8",         "--aux-heads", aux_heads, "--eval-every", "off"};
  options.insert(options.end(), more.begin(), more.end());
  return training_into(out, options);
}

/// Four steps with auxiliary heads on two ranks, all checkpoints kept; made once.
const fs::path& trained() {
  static const fs::path out = [] {
    const fs::path made = new_path("trained");
    const Outcome outcome =
        run({.ranks = 2, .arguments = with_googlenet(made, "on", {"--steps", "4", "--checkpoint-every", "2"})});
    if (outcome.exit_code != 0) throw std::runtime_error("training failed: " + outcome.errors);
    return made;
  }();
  return out;
}

bool is_auxiliary(const FileTensor& tensor) { return tensor.name.starts_with("aux"); }

bool is_trained(const FileTensor& tensor) {
  return tensor.type == ElementType::f32 && tensor.name.find(".running_") == std::string::npos;
}

TEST(AuxHeads, LearnAndTheirLossIsBesideTheMainOne) {
  for (const Json& line : metrics_lines(trained() / "metrics.jsonl", "loss")) {
    // ln 10 = 2.3 from each head at the start, two of them times 0.3.
    EXPECT_NEAR(line.at("loss").get<double>(), 2.3, 1.5);
    EXPECT_NEAR(line.at("aux_loss").get<double>(), 0.6 * 2.3, 0.9);
  }
  const TensorFile early = read_tensor_file(checkpoint(trained(), 2));
  const TensorFile late = read_tensor_file(checkpoint(trained(), 4));
  int compared = 0;
  for (const FileTensor& tensor : late.tensors) {
    if (!is_auxiliary(tensor) || !is_trained(tensor)) continue;
    EXPECT_FALSE(early.find(tensor.name)->f32 == tensor.f32) << tensor.name;
    ++compared;
  }
  EXPECT_EQ(compared, 2 * (1 + 2 + 2 + 2)) << "a convolution, its batch-norm and two linear layers in each";
}

TEST(AuxHeads, ContinueWithTheBitsOfTheUninterruptedRun) {
  const fs::path out = new_path("resumed");

  const Outcome outcome =
      run({.ranks = 2,
           .arguments = with_googlenet(
               out, "on", {"--steps", "4", "--resume", checkpoint(trained(), 2).string(), "--checkpoint-every", "2"})});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_FALSE(outcome.says("resumed with different")) << outcome;
  EXPECT_TRUE(read_text(checkpoint(out, 4)) == read_text(checkpoint(trained(), 4)));
}

TEST(AuxHeads, CanBeDroppedWhenARunIsResumedButNotAdded) {
  const fs::path without = new_path("without");
  const Outcome dropped =
      run({.arguments = with_googlenet(without, "off", {"--steps", "4", "--resume", checkpoint(trained(), 2).string()})});
  ASSERT_EQ(dropped.exit_code, 0) << dropped;
  EXPECT_TRUE(dropped.says("resumed with different")) << dropped;
  EXPECT_TRUE(dropped.says("different aux heads (")) << dropped;
  EXPECT_TRUE(std::ranges::none_of(read_tensor_file(without / "last.safetensors").tensors, is_auxiliary));

  const Outcome added = run(
      {.arguments = with_googlenet(new_path("added"), "on", {"--steps", "5", "--resume", checkpoint(without, 4).string()})});
  EXPECT_EQ(added.exit_code, 2) << added;
  for (const char* text : {"different aux heads (on, before: ", "optimizer.velocity.aux", "--init-from"}) {
    EXPECT_TRUE(added.says(text)) << text << " in " << added;
  }
}

// A step with a rate of 1e-30 changes no float that is not 0.
TEST(AuxHeads, AreTakenFromAFileWhenAskedAndIgnoredInOneLineElsewhere) {
  const fs::path weights = trained() / "last.safetensors";
  const auto start = [&](const fs::path& out, const std::string& aux_heads, const std::vector<std::string>& more) {
    std::vector<std::string> options{"--steps", "1", "--lr", "1e-30", "--weight-decay", "0", "--init-from", weights.string()};
    options.insert(options.end(), more.begin(), more.end());
    const Outcome outcome = run({.arguments = with_googlenet(out, aux_heads, options)});
    EXPECT_EQ(outcome.exit_code, 0) << outcome;
    return outcome;
  };
  const fs::path on = new_path("on"), off = new_path("off"), other = new_path("other");

  const Outcome taken = start(on, "on", {});
  const Outcome ignored = start(off, "off", {});
  const Outcome other_classes = start(other, "on", {"--num-classes", "12"});

  EXPECT_FALSE(taken.says("not used") || taken.says("fresh")) << taken;
  EXPECT_TRUE(read_tensor_file(on / "last.safetensors").find("aux2.fc1.weight")->f32 ==
              read_tensor_file(weights).find("aux2.fc1.weight")->f32);
  EXPECT_EQ(ignored.count("in the file but not used 18: aux1.*, aux2.*"), 1) << ignored;
  EXPECT_TRUE(std::ranges::none_of(read_tensor_file(off / "last.safetensors").tensors, is_auxiliary));
  EXPECT_TRUE(other_classes.says("re-initialised (other shape) 6")) << other_classes;
}

TEST(AuxHeads, AreFreshWhereTheFileHasNone) {
  const fs::path weights = new_path("plain.safetensors");
  ASSERT_EQ(run({.arguments = {"init", "--model", "googlenet", "--num-classes", "10", "--out", weights.string()}}).exit_code,
            0);

  const Outcome outcome =
      run({.arguments = with_googlenet(new_path("fresh"), "on", {"--steps", "1", "--init-from", weights.string()})});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("not in the file, fresh 18: ")) << outcome;
}

TEST(AuxHeads, ChangeNothingInEvaluation) {
  const fs::path weights = trained() / "last.safetensors";
  TensorFile file = read_tensor_file(weights);
  std::erase_if(file.tensors, is_auxiliary);
  const fs::path stripped = new_path("stripped.safetensors");
  write_tensor_file(stripped, file);
  const auto evaluated = [](const fs::path& path) {
    const fs::path report = new_path("eval.json");
    const Outcome outcome =
        run({.arguments = {"eval", "--model", "googlenet", "--crop", "32", "--resize", "32", "--data", demo_data().string(),
                           "--threads", "1", "--weights", path.string(), "--report", report.string()}});
    EXPECT_EQ(outcome.exit_code, 0) << outcome;
    return std::pair(outcome, read_json(report));
  };

  const auto [whole, with] = evaluated(weights);
  const auto [silent, without] = evaluated(stripped);

  EXPECT_EQ(with.at("loss"), without.at("loss"));
  EXPECT_EQ(whole.count("in the file but not used 18: aux1.*, aux2.*"), 1) << whole;
  EXPECT_FALSE(silent.says("not used")) << silent;
}

}  // namespace
}  // namespace dtrain
