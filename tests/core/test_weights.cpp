// Export to and import from weight files: torchvision's names, exact and fine-tuning modes.
#include <gtest/gtest.h>

#include <algorithm>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "tests/core/fixtures.hpp"

namespace dtrain {
namespace {

using test::entries_of;
using test::plain_values;
using test::small_network;
using test::StoreLayout;

const std::vector<std::string> kHead{"fc.weight", "fc.bias"};

ParameterStore initialized(const NetworkSpec& network, std::uint64_t seed, StoreLayout layout = StoreLayout::plain) {
  ParameterStore store(entries_of(network, layout));
  initialize(network, seed, store);
  return store;
}

TensorFile exported(const NetworkSpec& network, std::uint64_t seed) {
  ParameterStore store = initialized(network, seed);
  store.batches_tracked = 12;
  return export_weights(store, tensor_names(network), {.model = network.name});
}

std::string import_fault(const TensorFile& file, ParameterStore& store, ImportMode mode) {
  try {
    (void)import_weights(file, store, mode, kHead);
  } catch (const DataError& error) {
    return error.what();
  }
  return "no error";
}

void remove_tensor(TensorFile& file, const std::string& name) {
  std::erase_if(file.tensors, [&](const FileTensor& tensor) { return tensor.name == name; });
}

TEST(ExportWeights, HasTorchvisionsNamesAndOrderWithTheBatchCounter) {
  const TensorFile file = exported(small_network(), 1);

  std::vector<std::string> names;
  for (const FileTensor& tensor : file.tensors) names.push_back(tensor.name);
  EXPECT_EQ(names, (std::vector<std::string>{"conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var",
                                             "bn1.num_batches_tracked", "fc.weight", "fc.bias"}));
  const FileTensor& tracked = *file.find("bn1.num_batches_tracked");
  EXPECT_EQ(tracked.shape, Shape{});
  EXPECT_EQ(tracked.i64, std::vector<std::int64_t>{12});
  EXPECT_EQ(file.metadata, (std::map<std::string, std::string>{{"model", "small"}, {"num_classes", "3"}}));
}

TEST(ExportWeights, IsTheSameForAnyLayoutAndOrder) {
  const NetworkSpec network = small_network();
  const ParameterStore blocked = initialized(network, 1, StoreLayout::blocked);
  const ParameterStore plain = initialized(network, 1);

  const TensorFile from_blocked = export_weights(blocked, tensor_names(network), {.model = "small"});
  const TensorFile from_plain = export_weights(plain, tensor_names(network), {.model = "small"});

  for (const FileTensor& tensor : from_plain.tensors) EXPECT_EQ(from_blocked.find(tensor.name)->f32, tensor.f32);
}

TEST(ExportWeights, RefusesATensorThatTheStoreLacks) {
  const ParameterStore store = initialized(small_network(), 1);

  EXPECT_THROW((void)export_weights(store, {"conv9.weight"}, {.model = "small"}), std::logic_error);
}

TEST(ImportWeights, ExactlyGivesBackWhatWasExported) {
  const NetworkSpec network = small_network();
  const ParameterStore source = initialized(network, 1);
  ParameterStore target = initialized(network, 2, StoreLayout::blocked);
  TensorFile file = exported(network, 1);
  file.tensors[3].f32[0] = 0.25f;  // a running mean

  const ImportReport report = import_weights(file, target, ImportMode::exact, kHead);

  EXPECT_EQ(target.fingerprint(), source.fingerprint());
  EXPECT_EQ(plain_values(target, "bn1.running_mean").front(), 0.25f);
  EXPECT_EQ(target.batches_tracked, 12);
  EXPECT_EQ(report.taken.size(), 7u);
  EXPECT_TRUE(report.missing.empty() && report.unused.empty() && report.reinitialised.empty());
}

TEST(ImportWeights, ExactlyNamesEveryTensorThatIsMissingOrDiffersAndTheModel) {
  ParameterStore store = initialized(small_network(4), 2);
  const std::uint64_t before = store.fingerprint();
  TensorFile file = exported(small_network(3), 1);
  remove_tensor(file, "bn1.running_var");

  const std::string text = import_fault(file, store, ImportMode::exact);

  for (const char* part : {"fc.weight: file (3, 80), network (4, 80)", "fc.bias: file (3), network (4)",
                           "bn1.running_var is missing", "model small"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  }
  EXPECT_EQ(store.fingerprint(), before);
  EXPECT_EQ(store.batches_tracked, 0);
}

TEST(ImportWeights, ExactlyAllowsExtraTensorsAndReportsThem) {
  ParameterStore store = initialized(small_network(), 2);
  TensorFile file = exported(small_network(), 1);
  file.tensors.push_back({.name = "extra", .shape = {1}, .f32 = {1.0f}, .i64 = {}});
  file.tensors.push_back({.name = "optimizer.velocity.fc.bias", .shape = {1}, .f32 = {1.0f}, .i64 = {}});

  const ImportReport report = import_weights(file, store, ImportMode::exact, kHead);

  EXPECT_EQ(report.unused, std::vector<std::string>{"extra"});
}

TEST(ImportWeights, RefuseIntegersWhereWeightsBelong) {
  ParameterStore store = initialized(small_network(), 2);
  TensorFile file = exported(small_network(), 1);
  FileTensor& bias = file.tensors.back();
  bias = {.name = "fc.bias", .shape = {3}, .type = ElementType::i64, .f32 = {}, .i64 = {1, 2, 3}};

  EXPECT_NE(import_fault(file, store, ImportMode::exact).find("fc.bias: file (3) of integers"), std::string::npos);
}

TEST(ImportWeights, ForFineTuningKeepAHeadOfAnotherClassCount) {
  const NetworkSpec network = small_network(4);
  ParameterStore store = initialized(network, 2);
  const std::vector<float> head = plain_values(store, "fc.weight");

  const ImportReport report = import_weights(exported(small_network(3), 1), store, ImportMode::fine_tune, kHead);

  EXPECT_EQ(plain_values(store, "fc.weight"), head);
  EXPECT_EQ(plain_values(store, "conv1.weight"), plain_values(initialized(small_network(3), 1), "conv1.weight"));
  EXPECT_EQ(report.reinitialised.size(), 2u);
  EXPECT_EQ(std::count(report.reinitialised.begin(), report.reinitialised.end(), "fc.weight: file (3, 80), network (4, 80)"),
            1);
  EXPECT_EQ(report.taken.size(), 5u);
}

TEST(ImportWeights, ForFineTuningReportWhatIsMissingAndUnused) {
  ParameterStore store = initialized(small_network(), 2);
  const std::vector<float> kept = plain_values(store, "bn1.running_var");
  TensorFile file = exported(small_network(), 1);
  remove_tensor(file, "bn1.running_var");
  remove_tensor(file, "bn1.num_batches_tracked");
  file.tensors.push_back({.name = "aux.weight", .shape = {1}, .f32 = {1.0f}, .i64 = {}});

  const ImportReport report = import_weights(file, store, ImportMode::fine_tune, kHead);

  EXPECT_EQ(report.missing, std::vector<std::string>{"bn1.running_var"});
  EXPECT_EQ(report.unused, std::vector<std::string>{"aux.weight"});
  EXPECT_EQ(plain_values(store, "bn1.running_var"), kept);
}

TEST(ImportWeights, ForFineTuningRefuseOtherShapesBelowTheHead) {
  ParameterStore store = initialized(small_network(), 2);
  const std::uint64_t before = store.fingerprint();
  TensorFile file = exported(small_network(), 1);
  file.tensors[0].shape = {5, 2, 1, 9};

  const std::string text = import_fault(file, store, ImportMode::fine_tune);

  EXPECT_NE(text.find("conv1.weight: file (5, 2, 1, 9), network (5, 2, 3, 3)"), std::string::npos) << text;
  EXPECT_EQ(store.fingerprint(), before);
}

TEST(ImportWeights, ForFineTuningRefuseAFileInWhichNothingMatches) {
  ParameterStore store = initialized(small_network(), 2);
  TensorFile file;
  file.tensors.push_back({.name = "l1.weight", .shape = {1}, .f32 = {1.0f}, .i64 = {}});

  const std::string text = import_fault(file, store, ImportMode::fine_tune);

  EXPECT_NE(text.find("l1.weight"), std::string::npos) << text;
}

}  // namespace
}  // namespace dtrain
