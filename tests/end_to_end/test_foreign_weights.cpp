// Weights that others made, or that belong to another network: taken whole, or refused with what they are.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// Weights of a model as `dtrain init` writes them, once for all tests.
const fs::path& initial_weights(const std::string& model) {
  static std::map<std::string, fs::path> made;
  fs::path& file = made[model];
  if (file.empty()) {
    file = new_path(model + ".safetensors");
    const Outcome outcome = run({.arguments = {"init", "--model", model, "--num-classes", "10", "--out", file.string()}});
    if (outcome.exit_code != 0) throw std::runtime_error("init failed: " + outcome.errors);
  }
  return file;
}

/// A copy as another program would have written it, changed.
fs::path changed(const fs::path& weights, const std::function<void(TensorFile&)>& change) {
  TensorFile file = read_tensor_file(weights);
  file.metadata.clear();
  change(file);
  const fs::path copy = new_path("changed.safetensors");
  write_tensor_file(copy, file);
  return copy;
}

fs::path renamed(const fs::path& weights, const std::function<std::string(const std::string&)>& name) {
  return changed(weights, [&](TensorFile& file) {
    for (FileTensor& tensor : file.tensors) tensor.name = name(tensor.name);
  });
}

Outcome evaluate_file(const std::string& model, const fs::path& weights, const fs::path& report = new_path("eval.json")) {
  return run({.arguments = {"eval", "--model", model, "--crop", "32", "--resize", "32", "--data", demo_data().string(),
                            "--threads", "1", "--weights", weights.string(), "--report", report.string()}});
}

Outcome fine_tune(const std::string& model, const fs::path& weights, const Words& more = {}) {
  const Words arguments{
      "--model",        model, "--crop",       "32",  "--data",      demo_data().string(), "--threads", "1", "--steps", "1",
      "--global-batch", "2",   "--eval-every", "off", "--init-from", weights.string()};
  return run({.arguments = arguments + more});
}

double loss_of(const std::string& model, const fs::path& weights) {
  const fs::path report = new_path("eval.json");
  const Outcome outcome = evaluate_file(model, weights, report);
  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  return outcome.exit_code == 0 ? read_json(report).at("loss").get<double>() : -1.0;
}

TEST(ForeignWeights, OfAnotherModelAreRefusedByItsName) {
  expect_refused(fine_tune("resnet34", initial_weights("resnet18")),
                 {"a file of model resnet18", "--model resnet18", "--init-partial on"});
  expect_refused(evaluate_file("resnet20", initial_weights("resnet32")), {"a file of model resnet32", "--model resnet32"});
}

TEST(ForeignWeights, OfAnotherModelAreRefusedByTheirTensorsInBothDirections) {
  const auto unnamed = [](const std::string& model) { return changed(initial_weights(model), [](TensorFile&) {}); };

  expect_refused(fine_tune("resnet34", unnamed("resnet18")),
                 {"tensors are missing: ", "layer3.2.*", "these tensors fit model resnet18", "--init-partial on"});
  expect_refused(fine_tune("resnet20", unnamed("resnet32")), {"tensors are left over: ", "these tensors fit model resnet32"});
  expect_refused(evaluate_file("resnet20", unnamed("resnet32")), {"tensors are left over: ", "--model resnet32"});
  expect_refused(evaluate_file("resnet32", unnamed("resnet20")), {"tensors are missing: ", "--model resnet20"});
}

TEST(ForeignWeights, OfHalfANetworkAreRefused) {
  const fs::path half = changed(initial_weights("resnet20"), [](TensorFile& file) {
    std::erase_if(file.tensors, [](const FileTensor& tensor) { return tensor.name.starts_with("layer3."); });
  });

  expect_refused(fine_tune("resnet20", half), {"tensors are missing: layer3.*"});
  expect_refused(evaluate_file("resnet20", half), {"tensors are missing: layer3.*"});
}

TEST(ForeignWeights, AreTakenInPartWhereThatIsAskedForAndAllOfItIsListed) {
  const Outcome outcome = fine_tune("resnet20", initial_weights("resnet32"), {"--init-partial", "on"});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(
      outcome.count("in the file but not used 60: layer1.3.*, layer1.4.*, layer2.3.*, layer2.4.*, layer3.3.*, layer3.4.*"), 1)
      << outcome;
  EXPECT_TRUE(outcome.says("taken 97 tensors: conv1.weight, bn1.*, layer1.*, layer2.*, layer3.*, linear.*;")) << outcome;

  const Outcome alone = run({.arguments = training({"--steps", "1", "--init-partial", "on"})});
  EXPECT_EQ(alone.exit_code, 2) << alone;
  EXPECT_TRUE(alone.says("--init-from FILE")) << alone;
}

TEST(ForeignWeights, AreTheSameBehindTheNamesOfWrappers) {
  const double loss = loss_of("resnet20", initial_weights("resnet20"));
  const fs::path parallel = renamed(initial_weights("resnet20"), [](const std::string& name) { return "module." + name; });
  const fs::path averaged = changed(initial_weights("resnet20"), [](TensorFile& file) {
    for (FileTensor& tensor : file.tensors) tensor.name.insert(0, "_orig_mod.module.");
    file.tensors.push_back({.name = "n_averaged", .shape = {}, .type = ElementType::i64, .i64 = {40}});
  });
  const fs::path lightning = renamed(initial_weights("resnet20"), [](const std::string& name) { return "model.net." + name; });

  for (const fs::path& file : {parallel, averaged, lightning}) EXPECT_EQ(loss_of("resnet20", file), loss);

  const Outcome said = fine_tune("resnet20", parallel);
  EXPECT_EQ(said.exit_code, 0) << said;
  EXPECT_TRUE(said.says("\"module.\" taken off 116 names")) << said;
  EXPECT_TRUE(evaluate_file("resnet20", lightning).says("\"model.net.\" taken off 116 names"));
}

TEST(ForeignWeights, OfDenseNetAreTakenByTheirPublishedNames) {
  const fs::path published = renamed(initial_weights("densenet121"), [](std::string name) {
    const std::size_t layer = name.find("denselayer");
    const std::size_t digit = layer == std::string::npos ? layer : name.find_first_of("12", name.find('.', layer));
    if (digit != std::string::npos) name.insert(digit, ".");
    return name;
  });

  const Outcome outcome = evaluate_file("densenet121", published);

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("taken 606 tensors")) << outcome;
  EXPECT_TRUE(outcome.says("old names of DenseNet")) << outcome;
}

/// A copy with one more tensor, of a type that dtrain does not write.
fs::path with_tensor(const fs::path& weights, const std::string& name, const std::string& type, std::size_t bytes) {
  std::string text = read_text(changed(weights, [](TensorFile&) {}));
  std::uint64_t length = 0;
  std::memcpy(&length, text.data(), sizeof length);
  Json header = Json::parse(text.substr(sizeof length, length));
  const std::size_t end = text.size() - sizeof length - length;
  header.erase("__metadata__");
  header[name] = {{"dtype", type}, {"shape", {bytes}}, {"data_offsets", {end, end + bytes}}};
  const std::string longer = header.dump();
  const std::uint64_t longer_length = longer.size();
  std::string file(sizeof longer_length, '\0');
  std::memcpy(file.data(), &longer_length, sizeof longer_length);
  const fs::path copy = new_path("with.safetensors");
  write_text(copy, file + longer + text.substr(sizeof length + length) + std::string(bytes, '\1'));
  return copy;
}

TEST(ForeignWeights, MayHaveTensorsOfAnyTypeThatNobodyWants) {
  const double loss = loss_of("resnet20", initial_weights("resnet20"));
  for (const std::string type : {"BOOL", "F8_E4M3"}) {
    const fs::path file = with_tensor(initial_weights("resnet20"), "mask", type, 3);

    EXPECT_EQ(loss_of("resnet20", file), loss) << type;
    const Outcome listed = run({.arguments = {"inspect", file.string()}});
    EXPECT_EQ(listed.exit_code, 0) << listed;
    EXPECT_TRUE(listed.says(type == "BOOL" ? " bool " : " f8_e4m3 ")) << listed;
    EXPECT_TRUE(listed.says("tensors: those of model resnet20")) << listed;
  }
}

TEST(ForeignWeights, ThatAreNoneAreNamedForWhatTheyAreWhereverTheyAreGiven) {
  const fs::path pointer = new_path("pointer.safetensors"), page = new_path("page.safetensors"), pickle = new_path("best.pth");
  write_text(pointer, "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1113\n");
  write_text(page, "<!doctype html><html>");
  write_text(pickle, "PK\3\4" + std::string(22, '\0') + "\x0c" + std::string(3, '\0') + "net/data.pkl");

  expect_refused(evaluate_file("resnet20", pointer), {"a pointer of Git LFS to a file of 1113 bytes", "git lfs pull"});
  expect_refused(fine_tune("resnet20", page), {"an HTML page"});
  expect_refused(run({.arguments = {"inspect", pickle.string()}}), {"a file of torch.save", "save_file"});
  expect_refused(run({.arguments = training({"--steps", "1", "--resume", pickle.string()})}), {"a file of torch.save"});
  expect_refused(evaluate_file("resnet20", initial_weights("resnet20").string() + "," + demo_data().string()),
                 {"found a directory"});
}

// torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V2: resize 232.
TEST(ForeignWeights, OfAPublishedNameBringTheirPreprocessing) {
  const fs::path published = new_path("").parent_path() / "mobilenet_v2-7ebf99e0.safetensors";
  fs::rename(changed(initial_weights("mobilenet_v2"), [](TensorFile&) {}), published);
  const fs::path report = new_path("eval.json");
  const Words eval{"eval", "--model",   "mobilenet_v2",     "--data",   demo_data().string(), "--threads",
                   "1",    "--weights", published.string(), "--report", report.string()};

  const Outcome outcome = run({.arguments = eval});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("preprocessing: resize 232 (bilinear), crop 224")) << outcome;
  EXPECT_TRUE(outcome.says("mobilenet_v2-7ebf99e0 of torchvision")) << outcome;
  EXPECT_EQ(read_json(report).at("preprocessing").at("resize"), 232);

  const Outcome asked = run({.arguments = eval + Words{"--resize", "256", "--interpolation", "bicubic"}});
  EXPECT_TRUE(asked.says("preprocessing: resize 256 (bicubic), crop 224")) << asked;
}

TEST(ForeignWeights, WarnsWhereImagesMayHaveToBePreparedInAnotherWay) {
  const fs::path made = new_path("googlenet.safetensors");
  ASSERT_EQ(run({.arguments = {"init", "--model", "googlenet", "--out", made.string()}}).exit_code, 0);
  const fs::path unknown = with_tensor(made, "mask", "BOOL", 3);
  const fs::path list = new_path("list.txt");
  std::string lines;
  int index = 0;
  for (const std::string& folder : file_names(demo_data() / "val")) lines += folder + " " + std::to_string(index++) + "\n";
  write_text(list, lines);
  const auto evaluated = [&](const fs::path& weights, const Words& more) {
    return run(
        {.arguments = Words{"eval", "--model", "googlenet", "--crop", "32", "--resize", "32", "--data", demo_data().string(),
                            "--threads", "1", "--weights", weights.string(), "--class-indices", list.string()} +
                      more});
  };

  EXPECT_TRUE(evaluated(unknown, {}).says("where these are such, give --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5"));
  EXPECT_FALSE(evaluated(made, {}).says("transform_input"));
  EXPECT_FALSE(evaluated(unknown, {"--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"}).says("transform_input"));
}

TEST(ForeignWeights, WhoseMetadataCannotBeTakenSayWhichEntry) {
  const fs::path weights = changed(initial_weights("resnet20"), [](TensorFile& file) {
    file.metadata["model"] = "resnet20_of_mine";
    file.metadata["mean"] = "[0.5, 0.5]";
  });
  std::string bytes = read_text(weights);
  for (const std::string mark : {"dtrain.version", "dtrain.checksum"}) {  // as long, and no marks of ours
    ASSERT_NE(bytes.find(mark), std::string::npos);
    bytes.replace(bytes.find(mark), 6, "mine_1");
  }
  write_text(weights, bytes);
  for (const Outcome& outcome : {evaluate_file("resnet20", weights), fine_tune("resnet20", weights)}) {
    EXPECT_EQ(outcome.exit_code, 0) << outcome;
    EXPECT_EQ(outcome.count("an entry of its metadata does not count: "), 2) << outcome;
    EXPECT_TRUE(outcome.says("'resnet20_of_mine', which dtrain does not have")) << outcome;
  }
}

}  // namespace
}  // namespace dtrain
