// The commands that need no other rank.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
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

TEST_F(Commands, InspectShowsControlCharactersInsteadOfObeyingThem) {
  TensorFile file;
  file.tensors.push_back({.name = "w\x1b[2J", .shape = {1}, .f32 = {0.0f}});
  file.metadata["title\x1b]0;x\a"] = "one\r\ntwo\x1b[31m";
  write_tensor_file(path("f.safetensors"), file);

  const std::string text = inspect_text({.file = path("f.safetensors")});

  EXPECT_NE(text.find("  w\\x1b[2J  (1)"), std::string::npos) << text;
  EXPECT_NE(text.find("  title\\x1b]0;x\\x07:\n    one\\x0d\n    two\\x1b[31m\n"), std::string::npos) << text;
  EXPECT_EQ(text.find_first_of("\x1b\r\a"), std::string::npos) << text;
}

TEST_F(Commands, InitReplacesNoFile) {
  write_fresh_weights({.model = "lenet5", .seed = 3, .out = path("w.safetensors")});

  EXPECT_THROW(write_fresh_weights({.model = "lenet5", .seed = 4, .out = path("w.safetensors")}), DataError);

  write_fresh_weights({.model = "lenet5", .seed = 3, .out = path("again.safetensors")});
  EXPECT_EQ(read_tensor_file(path("w.safetensors")).tensors.front().f32,
            read_tensor_file(path("again.safetensors")).tensors.front().f32);
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

/// Names and contents of all files below a directory, and the directories and links.
std::map<std::string, std::string> everything_in(const std::filesystem::path& directory) {
  std::map<std::string, std::string> found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    std::string& content = found[entry.path().string()];
    std::ifstream file(entry.path(), std::ios::binary);
    if (entry.is_regular_file()) content = {std::istreambuf_iterator<char>(file), {}};
  }
  return found;
}

/// Of a data set that make-demo made or did not make, changed by somebody: --force is refused and everything is as before.
class MakeDemoForced : public Commands {
 protected:
  MakeDemoConfig forced_{.options = {.train_per_class = 1, .val_per_class = 1}, .force = true};
  std::filesystem::path root_;

  void SetUp() override {
    Commands::SetUp();
    root_ = forced_.directory = path("demo");
    std::filesystem::create_directories(root_);
  }

  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name, std::ios::binary) << text;
  }

  void expect_kept(const std::string& reason) const {
    const auto before = everything_in(root_);
    try {
      render_demo(forced_);
      FAIL() << "replaced";
    } catch (const DataError& error) {
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
    EXPECT_EQ(everything_in(root_), before);
  }
};

TEST_F(MakeDemoForced, KeepsADataSetOfItsOwnLayoutThatItDidNotMake) {
  write("train/cats/0000.jpg", "a cat");
  write("train/cats/notes.txt", "years of work");
  write("val/cats/0000.jpg", "another cat");

  expect_kept("without the mark");
}

TEST_F(MakeDemoForced, KeepsFilesThatWerePutIntoItsDataSet) {
  render_demo(forced_);
  write("train/dots/0001.jpg", "a picture of mine");

  expect_kept("train/dots/0001.jpg, which it did not write");
}

TEST_F(MakeDemoForced, KeepsPicturesThatWereChanged) {
  render_demo(forced_);
  write("val/star/0000.jpg", "retouched");

  expect_kept("val/star/0000.jpg, which is not as it was written");
}

TEST_F(MakeDemoForced, KeepsWhatLinksLeadTo) {
  render_demo(forced_);
  const std::filesystem::path moved = path("moved");
  std::filesystem::rename(root_ / "train", moved);
  std::filesystem::create_directory_symlink(moved, root_ / "train");
  const auto before = everything_in(moved);

  expect_kept("train, which it did not write");
  EXPECT_EQ(everything_in(moved), before);
}

TEST_F(MakeDemoForced, KeepsWhatAForeignMarkStandsBeside) {
  write("train/cats/0000.jpg", "a cat");
  write(".dtrain-demo", "not what make-demo writes\n0000000000000000 train/cats/0000.jpg\n");

  expect_kept("without the mark");
}

TEST_F(MakeDemoForced, ReplacesWhatItMadeAlsoWhereItsRemovalWasInterrupted) {
  render_demo({.directory = forced_.directory, .options = {.train_per_class = 2, .val_per_class = 1}});
  std::filesystem::remove_all(root_ / "train" / "dots");

  render_demo(forced_);
  std::filesystem::create_directory_symlink(root_, path("link"));
  render_demo({.directory = path("link"), .options = forced_.options, .force = true});

  EXPECT_FALSE(std::filesystem::exists(root_ / "train" / "star" / "0001.jpg"));
  EXPECT_TRUE(std::filesystem::exists(root_ / "train" / "dots" / "0000.jpg"));
}

}  // namespace
}  // namespace dtrain
