// The commands that need no other rank.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "dtrain/models.hpp"
#include "launch/commands.hpp"

namespace dtrain {
namespace {

class Commands : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(testing::TempDir()) / "dtrain_commands";
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string path(const std::string& name) const { return (directory_ / name).string(); }
  std::filesystem::path directory_;
};

TEST_F(Commands, InitWritesTheSameWeightsForTheSameSeed) {
  write_fresh_weights({.model = "lenet5", .seed = 3, .out = path("a.safetensors")});
  write_fresh_weights({.model = "lenet5", .seed = 3, .out = path("b.safetensors")});
  write_fresh_weights({.model = "lenet5", .seed = 4, .out = path("c.safetensors")});

  const TensorFile a = read_tensor_file(path("a.safetensors"));
  const TensorFile b = read_tensor_file(path("b.safetensors"));
  const TensorFile c = read_tensor_file(path("c.safetensors"));
  ASSERT_FALSE(a.tensors.empty());
  EXPECT_EQ(a.tensors.front().f32, b.tensors.front().f32);
  EXPECT_NE(a.tensors.front().f32, c.tensors.front().f32);
  EXPECT_EQ(a.metadata.at("model"), "lenet5");
}

TEST_F(Commands, InitHonoursClassesAndGamma) {
  const std::string said =
      write_fresh_weights({.model = "resnet20", .num_classes = 7, .zero_init_gamma = true, .out = path("w.safetensors")});

  const TensorFile file = read_tensor_file(path("w.safetensors"));
  EXPECT_NE(said.find("7 classes"), std::string::npos);
  EXPECT_EQ(file.metadata.at("num_classes"), "7");
  ASSERT_NE(file.find("layer1.0.bn2.weight"), nullptr);
  for (const float gamma : file.find("layer1.0.bn2.weight")->f32) EXPECT_EQ(gamma, 0.0f);
  for (const float gamma : file.find("layer1.0.bn1.weight")->f32) EXPECT_EQ(gamma, 1.0f);
}

TEST_F(Commands, InitWritesAuxiliaryHeadsWhenAskedBesideTheSameOtherWeights) {
  write_fresh_weights({.model = "googlenet", .num_classes = 7, .seed = 3, .out = path("a.safetensors")});
  write_fresh_weights({.model = "googlenet", .num_classes = 7, .aux_heads = true, .seed = 3, .out = path("b.safetensors")});

  const TensorFile without = read_tensor_file(path("a.safetensors"));
  const TensorFile with = read_tensor_file(path("b.safetensors"));
  EXPECT_EQ(without.find("aux1.fc2.weight"), nullptr);
  ASSERT_NE(with.find("aux1.fc2.weight"), nullptr);
  EXPECT_EQ(with.find("aux2.fc2.weight")->shape, (Shape{7, 1024}));
  for (const FileTensor& tensor : without.tensors) EXPECT_EQ(with.find(tensor.name)->f32, tensor.f32) << tensor.name;
}

TEST_F(Commands, InitRefusesUnknownModelsAndPlacesItCannotWrite) {
  EXPECT_THROW(write_fresh_weights({.model = "resnet51", .out = path("w.safetensors")}), ConfigError);
  EXPECT_THROW(write_fresh_weights({.model = "lenet5", .out = "/proc/nowhere/w.safetensors"}), DataError);
}

TEST_F(Commands, ModelsListsEveryNetworkInBothForms) {
  const std::string table = models_text({});
  const auto json = nlohmann::json::parse(models_text({.json = true}));

  ASSERT_EQ(json.size(), list_models().size());
  for (std::size_t i = 0; i < json.size(); ++i) {
    EXPECT_EQ(json[i].at("name"), list_models()[i].name);
    EXPECT_NE(table.find(list_models()[i].name), std::string::npos);
    const NetworkSpec network = build_model(list_models()[i].name, {});
    EXPECT_EQ(json[i].at("forward_flops_per_image"), forward_flops(network));
    EXPECT_EQ(json[i].at("training_flops_per_image"), training_flops(network));
    EXPECT_EQ(json[i].at("activation_bytes_per_image_f32"), 4 * activation_elements(network));
    EXPECT_EQ(json[i].at("activation_bytes_per_image_bf16"), 2 * activation_elements(network));
  }
  EXPECT_NE(table.find("25,557,032"), std::string::npos);  // resnet50, as torchvision counts
}

TEST_F(Commands, APlanIsPrintedLineByLineInBothForms) {
  RankMemory memory;
  memory.activations_bytes = 7'000'000;
  memory.scratch_bytes = 2'000'000;
  memory.weights_bytes = 3'000'000;
  memory.resident_bytes = 1'000'000;

  const std::string text = plan_text({.plan = "lenet5"}, memory, 20'000'000);
  const auto json = nlohmann::json::parse(plan_text({.json = true, .plan = "lenet5"}, memory, 20'000'000));

  for (const char* line :
       {"scratch                 2.0\n", "total                             11.0\n", "here              21.0\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << text;
  }
  EXPECT_EQ(json.at("activations_bytes"), 7'000'000);
  EXPECT_EQ(json.at("planned_bytes"), 11'000'000);
}

TEST_F(Commands, InspectShowsTensorsAndTheStateOfTheChecksum) {
  write_fresh_weights({.model = "lenet5", .out = path("w.safetensors")});

  const std::string text = inspect_text({.file = path("w.safetensors")});

  EXPECT_NE(text.find("checksum: right"), std::string::npos);
  EXPECT_NE(text.find("model: lenet5"), std::string::npos);
  for (const FileTensor& tensor : read_tensor_file(path("w.safetensors")).tensors) {
    EXPECT_NE(text.find("  " + tensor.name + " "), std::string::npos) << tensor.name;
  }
}

TEST_F(Commands, InspectGivesTheRangeOfValuesAndCountsWhatIsNotFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  TensorFile file;
  file.tensors.push_back({.name = "w", .shape = {4}, .f32 = {-1.0f, 2.0f, 5.0f, nan}});
  file.tensors.push_back({.name = "empty", .shape = {0}});
  file.metadata["notes"] = "first\nsecond";
  write_tensor_file(path("f.safetensors"), file);

  const std::string text = inspect_text({.file = path("f.safetensors")});

  EXPECT_NE(text.find("-1"), std::string::npos);
  EXPECT_NE(text.find("5    2     1 NOT FINITE"), std::string::npos) << text;  // max, mean
  EXPECT_NE(text.find("notes:\n    first\n    second\n"), std::string::npos) << text;
  EXPECT_NE(text.find("2 tensors, 4 elements"), std::string::npos) << text;
}

TEST_F(Commands, InspectRefusesADamagedFile) {
  write_fresh_weights({.model = "lenet5", .out = path("w.safetensors")});
  std::fstream stream(path("w.safetensors"), std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(-1, std::ios::end);
  stream.put('\x7f');
  stream.close();

  EXPECT_THROW(inspect_text({.file = path("w.safetensors")}), DataError);
  EXPECT_THROW(inspect_text({.file = path("missing.safetensors")}), DataError);
}

TEST_F(Commands, MakeDemoReplacesAnEarlierOneOnlyWhenForced) {
  const MakeDemoConfig once{.directory = path("demo"), .options = {.train_per_class = 1, .val_per_class = 1}};
  MakeDemoConfig forced = once;
  forced.force = true;

  render_demo(once);
  EXPECT_THROW(render_demo(once), DataError);
  EXPECT_NO_THROW(render_demo(forced));

  EXPECT_TRUE(std::filesystem::is_directory(directory_ / "demo" / "train"));
}

TEST_F(Commands, MakeDemoNeverRemovesWhatItDidNotMake) {
  const MakeDemoConfig forced{.directory = path("demo"), .options = {.train_per_class = 1, .val_per_class = 1}, .force = true};
  std::filesystem::create_directories(directory_ / "demo" / "train");
  std::ofstream(directory_ / "demo" / "thesis.tex") << "years of work";

  EXPECT_THROW(render_demo(forced), DataError);

  EXPECT_TRUE(std::filesystem::exists(directory_ / "demo" / "thesis.tex"));
  EXPECT_TRUE(std::filesystem::exists(directory_ / "demo" / "train"));
}

}  // namespace
}  // namespace dtrain
