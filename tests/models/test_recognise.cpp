// Which model a file of weights belongs to.
#include <gtest/gtest.h>

#include "dtrain/checkpoint.hpp"
#include "dtrain/models.hpp"

namespace dtrain {
namespace {

/// A file with the tensors of a network, all of them empty of values.
TensorFile file_of(const NetworkSpec& network, const std::string& prefix = "") {
  TensorFile file;
  for (const auto& specs : parameters_by_node(network)) {
    for (const ParameterSpec& spec : specs) file.tensors.push_back({.name = prefix + spec.name, .shape = spec.shape});
  }
  return file;
}

TEST(ModelThatFits, IsFoundForEveryModelThatHasTensorsOfItsOwn) {
  for (const ModelEntry& model : list_models()) EXPECT_EQ(model_that_fits(file_of(build_model(model.name, {}))), model.name);
}

TEST(ModelThatFits, IsFoundForAnyClassCountAuxiliaryHeadsAndBehindAPrefix) {
  EXPECT_EQ(model_that_fits(file_of(build_model("resnet18", {.num_classes = 7}))), "resnet18");
  EXPECT_EQ(model_that_fits(file_of(build_model("googlenet", {.aux_heads = true}))), "googlenet");
  EXPECT_EQ(model_that_fits(file_of(build_model("resnet34", {}), "module.")), "resnet34");
}

TEST(ModelThatFits, IsNoneForAPartOfANetworkOrForMoreThanOne) {
  TensorFile part = file_of(build_model("resnet18", {}));
  std::erase_if(part.tensors, [](const FileTensor& tensor) { return tensor.name.starts_with("layer4.1."); });
  TensorFile more = file_of(build_model("resnet18", {}));
  more.tensors.push_back({.name = "layer5.0.conv1.weight", .shape = {1}});

  EXPECT_EQ(model_that_fits(part), "");
  EXPECT_EQ(model_that_fits(more), "");
  EXPECT_EQ(model_that_fits({}), "");
}

}  // namespace
}  // namespace dtrain
