// Export to and import from weight files: torchvision's names, exact and fine-tuning modes.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "dtrain/import_weights.hpp"
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
    (void)import_weights(file, store, {.mode = mode, .head_names = kHead});
  } catch (const DataError& error) {
    return error.what();
  }
  return "no error";
}

void add_tensor(TensorFile& file, const std::string& name) {
  file.tensors.push_back({.name = name, .shape = {1}, .f32 = {1.0f}, .i64 = {}});
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

  const ImportReport report = import_weights(file, target, {.mode = ImportMode::exact, .head_names = kHead});

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

TEST(ImportWeights, ExactlyRefusesTensorsThatAreLeftOver) {
  ParameterStore store = initialized(small_network(), 2);
  const std::uint64_t before = store.fingerprint();
  TensorFile file = exported(small_network(), 1);
  for (const char* name : {"layer9.conv.weight", "layer9.conv.bias", "extra"}) add_tensor(file, name);

  const std::string text = import_fault(file, store, ImportMode::exact);

  EXPECT_NE(text.find("3 tensors are left over: layer9.*, extra"), std::string::npos) << text;
  EXPECT_EQ(store.fingerprint(), before);
}

TEST(ImportWeights, RefuseValuesThatAreNoWeightsInEveryMode) {
  for (const ImportMode mode : {ImportMode::exact, ImportMode::fine_tune, ImportMode::partial}) {
    ParameterStore store = initialized(small_network(), 2);
    const std::uint64_t before = store.fingerprint();
    TensorFile not_finite = exported(small_network(), 1);
    not_finite.tensors[3].f32[0] = std::numeric_limits<float>::quiet_NaN();
    not_finite.tensors[3].f32[1] = -std::numeric_limits<float>::infinity();
    TensorFile negative = exported(small_network(), 1);
    negative.tensors[4].f32[2] = -1.0f;

    const std::string text = import_fault(not_finite, store, mode);
    const std::string other = import_fault(negative, store, mode);

    EXPECT_NE(text.find("bn1.running_mean: 2 values that are not finite"), std::string::npos) << text;
    EXPECT_NE(other.find("bn1.running_var: 1 value that is below 0"), std::string::npos) << other;
    EXPECT_EQ(store.fingerprint(), before);
  }
}

TEST(ImportWeights, AskNothingOfValuesThatAreNotTaken) {
  ParameterStore store = initialized(small_network(4), 2);  // another head than the file's
  TensorFile file = exported(small_network(3), 1);
  file.tensors.back().f32[0] = std::numeric_limits<float>::quiet_NaN();

  EXPECT_EQ(import_fault(file, store, ImportMode::fine_tune), "no error");
}

TEST(ImportWeights, RefuseACountOfBatchesThatIsNone) {
  ParameterStore store = initialized(small_network(), 2);
  TensorFile file = exported(small_network(), 1);
  for (const std::int64_t count : {std::int64_t{-1}, std::numeric_limits<std::int64_t>::max()}) {
    file.tensors[5].i64 = {count};

    const std::string text = import_fault(file, store, ImportMode::exact);

    EXPECT_NE(text.find("bn1.num_batches_tracked"), std::string::npos) << text;
  }
}

TEST(ImportWeights, TakeNoNoticeOfWhatToolsAndOptimizersLeaveInFiles) {
  for (const ImportMode mode : {ImportMode::exact, ImportMode::fine_tune, ImportMode::partial}) {
    ParameterStore store = initialized(small_network(), 2);
    TensorFile file = exported(small_network(), 1);
    for (const char* name : {"n_averaged", "conv1.total_ops", "optimizer.velocity.fc.bias"}) add_tensor(file, name);

    const ImportReport report = import_weights(file, store, {.mode = mode, .head_names = kHead});

    EXPECT_EQ(report.taken.size(), 7u);
    EXPECT_EQ(report.unused, (std::vector<std::string>{"n_averaged", "conv1.total_ops"}));
  }
}

TEST(ImportWeights, TakeNoNoticeOfTypesThatNobodyWants) {
  ParameterStore store = initialized(small_network(), 2);
  TensorFile file = exported(small_network(), 1);
  file.tensors.push_back(
      {.name = "scale", .shape = {1}, .type = ElementType::other, .f32 = {}, .i64 = {}, .stored_type = "F8_E4M3"});
  file.tensors.push_back({.name = "fc.mask", .shape = {1}, .type = ElementType::i64, .f32 = {}, .i64 = {1}});

  const ImportReport report = import_weights(file, store, {.mode = ImportMode::exact, .head_names = kHead});

  EXPECT_EQ(report.unused, (std::vector<std::string>{"scale", "fc.mask"}));

  for (FileTensor& tensor : file.tensors) {
    if (tensor.name == "fc.bias") tensor.type = ElementType::other, tensor.stored_type = "F8_E4M3";
  }
  const std::string text = import_fault(file, store, ImportMode::exact);
  EXPECT_NE(text.find("fc.bias: file (3) of type F8_E4M3, network (3)"), std::string::npos) << text;
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

  const ImportReport report =
      import_weights(exported(small_network(3), 1), store, {.mode = ImportMode::fine_tune, .head_names = kHead});

  EXPECT_EQ(plain_values(store, "fc.weight"), head);
  EXPECT_EQ(plain_values(store, "conv1.weight"), plain_values(initialized(small_network(3), 1), "conv1.weight"));
  EXPECT_EQ(report.reinitialised.size(), 2u);
  EXPECT_EQ(std::count(report.reinitialised.begin(), report.reinitialised.end(), "fc.weight: file (3, 80), network (4, 80)"),
            1);
  EXPECT_EQ(report.taken.size(), 5u);
}

TEST(ImportWeights, ForFineTuningRefuseWhatIsMissingOrLeftOverBelowTheHead) {
  ParameterStore store = initialized(small_network(), 2);
  const std::uint64_t before = store.fingerprint();
  TensorFile file = exported(small_network(), 1);
  remove_tensor(file, "bn1.running_var");
  remove_tensor(file, "bn1.num_batches_tracked");
  add_tensor(file, "aux.weight");

  const std::string text = import_fault(file, store, ImportMode::fine_tune);

  for (const char* part :
       {"bn1.running_var is missing", "aux.weight is left over", "every tensor but those of fc.*", "--init-partial on"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  }
  EXPECT_EQ(store.fingerprint(), before);
}

TEST(ImportWeights, ForFineTuningMayLackTheHeadWhichStaysWholeAsItWas) {
  ParameterStore store = initialized(small_network(), 2);
  const std::vector<float> weight = plain_values(store, "fc.weight"), bias = plain_values(store, "fc.bias");
  TensorFile without = exported(small_network(), 1), half = exported(small_network(), 1);
  remove_tensor(without, "fc.weight");
  remove_tensor(without, "fc.bias");
  remove_tensor(half, "fc.weight");
  half.tensors.back().f32 = {7.0f, 8.0f, 9.0f};

  for (const TensorFile& file : {without, half}) {
    const ImportReport report = import_weights(file, store, {.mode = ImportMode::fine_tune, .head_names = kHead});

    EXPECT_EQ(report.taken.size(), 5u);
    EXPECT_EQ(plain_values(store, "fc.weight"), weight);
    EXPECT_EQ(plain_values(store, "fc.bias"), bias);
  }
  EXPECT_NE(import_fault(without, store, ImportMode::exact).find("2 tensors are missing: fc.*"), std::string::npos);
}

TEST(ImportWeights, ForFineTuningMayHaveAHeadOfOtherParts) {
  ParameterStore store = initialized(small_network(), 2);
  TensorFile file = exported(small_network(), 1);
  for (FileTensor& tensor : file.tensors) {
    if (tensor.name.starts_with("fc.")) tensor.name.insert(3, "1.");  // behind a dropout layer
  }

  const ImportReport report = import_weights(file, store, {.mode = ImportMode::fine_tune, .head_names = kHead});

  EXPECT_EQ(report.missing, (std::vector<std::string>{"fc.weight", "fc.bias"}));
  EXPECT_EQ(report.unused, (std::vector<std::string>{"fc.1.weight", "fc.1.bias"}));
  EXPECT_NE(import_fault(file, store, ImportMode::exact), "no error");
}

TEST(ImportWeights, InPartTakeWhatFitsAndListAllOfIt) {
  ParameterStore store = initialized(small_network(), 2);
  const std::vector<float> kept = plain_values(store, "conv1.weight");
  TensorFile file = exported(small_network(4), 1);
  file.tensors[0].shape = {5, 2, 1, 9};
  remove_tensor(file, "bn1.running_var");
  for (int k = 0; k < 20; ++k) add_tensor(file, "other" + std::to_string(k));

  const ImportReport report = import_weights(file, store, {.mode = ImportMode::partial, .head_names = kHead});

  EXPECT_EQ(plain_values(store, "conv1.weight"), kept);
  const std::string text = describe_import(report, "f");
  for (const char* part : {"taken 3 tensors: bn1.weight, bn1.bias, bn1.running_mean;", "conv1.weight: file (5, 2, 1, 9)",
                           "not in the file, fresh 1: bn1.running_var", "not used 20: other0, other1", "other18, other19"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  }
}

TEST(ImportWeights, SayTheModelThatTheTensorsFitWhereTheyDoNotFitHere) {
  ParameterStore store = initialized(small_network(), 2);
  TensorFile file = exported(small_network(), 1);
  add_tensor(file, "layer9.weight");
  const ImportRequest request{
      .mode = ImportMode::fine_tune, .model = "small", .head_names = kHead, .recognise = [](const TensorFile&) {
        return std::string("large");
      }};

  try {
    (void)import_weights(file, store, request);
    FAIL() << "it was taken";
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("these tensors fit model large"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("try: --model large, or --init-partial on"), std::string::npos) << error.what();
  }
}

TEST(ImportWeights, UnderstandWhatWrappersPutBeforeNamesAndSayIt) {
  for (const std::string prefix :
       {"module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "net.backbone."}) {
    const ParameterStore source = initialized(small_network(), 1);
    for (const ImportMode mode : {ImportMode::exact, ImportMode::fine_tune}) {
      ParameterStore store = initialized(small_network(), 2);
      TensorFile file = exported(small_network(), 1);
      for (FileTensor& tensor : file.tensors) tensor.name.insert(0, prefix);
      add_tensor(file, "n_averaged");

      const ImportReport report = import_weights(file, store, {.mode = mode, .head_names = kHead});

      EXPECT_EQ(store.fingerprint(), source.fingerprint()) << prefix;
      EXPECT_EQ(store.batches_tracked, 12);
      ASSERT_EQ(report.said.size(), 1u);
      EXPECT_NE(report.said[0].find("taken off 8 names"), std::string::npos) << report.said[0];
    }
  }
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

// torchvision's file of googlenet has auxiliary heads as they were initialised; its training never saw them.
TEST(ImportWeights, ForFineTuningLeaveAuxiliaryHeadsThatWereNeverTrained) {
  using Kind = ParameterSpec::Kind;
  const auto store_of = [] {
    std::vector<ParameterStore::Entry> entries;
    for (const auto& [name, kind] : {std::pair{"fc.weight", Kind::linear_weight},
                                     {"aux1.conv.bn.weight", Kind::norm_weight},
                                     {"aux1.conv.bn.running_mean", Kind::running_mean},
                                     {"aux1.conv.bn.running_var", Kind::running_var}}) {
      entries.push_back({.spec = {.name = name, .shape = {2}, .kind = kind}, .layout = plain_layout({2})});
    }
    return ParameterStore(std::move(entries));
  };
  const auto file_of = [](float mean) {
    TensorFile file;
    for (const auto& [name, value] : {std::pair{"fc.weight", 3.0f},
                                      {"aux1.conv.bn.weight", 5.0f},
                                      {"aux1.conv.bn.running_mean", mean},
                                      {"aux1.conv.bn.running_var", 1.0f}}) {
      file.tensors.push_back({.name = name, .shape = {2}, .f32 = {value, value}});
    }
    return file;
  };
  const ImportRequest request{.mode = ImportMode::fine_tune, .model = "googlenet", .head_names = {"fc.weight"}};
  ParameterStore untrained = store_of(), trained = store_of(), own = store_of();
  TensorFile written = file_of(0.0f);
  written.metadata["dtrain.version"] = "1";

  const ImportReport report = import_weights(file_of(0.0f), untrained, request);
  (void)import_weights(file_of(0.5f), trained, request);
  (void)import_weights(written, own, request);

  EXPECT_EQ(plain_values(untrained, "aux1.conv.bn.weight"), (std::vector<float>{0.0f, 0.0f}));
  EXPECT_EQ(report.said,
            std::vector<std::string>{"the file's auxiliary heads were never trained: 3 tensors of theirs are fresh"});
  EXPECT_EQ(plain_values(trained, "aux1.conv.bn.weight"), (std::vector<float>{5.0f, 5.0f}));
  EXPECT_EQ(plain_values(own, "aux1.conv.bn.weight"), (std::vector<float>{5.0f, 5.0f}));
}

}  // namespace
}  // namespace dtrain
