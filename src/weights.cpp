// Between the arenas and weight files: row-major tensors under torchvision's names.
#include <algorithm>
#include <set>
#include <string_view>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"

namespace dtrain {
namespace {

constexpr std::string_view kTrackedSuffix = ".num_batches_tracked";
constexpr std::string_view kVarianceSuffix = ".running_var";
/// A message lists at most this many tensors.
constexpr std::size_t kMostListed = 10;

FileTensor export_slot(const ParameterStore& parameters, const Slot& slot) {
  FileTensor tensor{.name = slot.spec.name, .shape = slot.spec.shape, .type = ElementType::f32, .f32 = {}, .i64 = {}};
  tensor.f32.resize(static_cast<std::size_t>(element_count(slot.spec.shape)));
  copy_to_plain(slot.layout, parameters.values(slot), tensor.f32);
  return tensor;
}

std::string file_model(const TensorFile& file) {
  const auto model = file.metadata.find("model");
  return model == file.metadata.end() ? "a file that names no model" : "a file of model " + model->second;
}

std::string list(const std::vector<std::string>& lines) {
  std::string text;
  for (std::size_t i = 0; i < std::min(lines.size(), kMostListed); ++i) text += (i == 0 ? "" : "; ") + lines[i];
  if (lines.size() > kMostListed) text += "; and " + std::to_string(lines.size() - kMostListed) + " more";
  return text;
}

/// A tensor of the file that goes into a slot.
struct Assignment {
  const Slot* slot;
  const FileTensor* tensor;
};

/// What would be done with a file, before anything is done.
struct ImportPlan {
  std::vector<Assignment> assignments;
  std::vector<std::string> differing;  ///< names of tensors with another shape or type
  ImportReport report;                 ///< all but `reinitialised`
};

std::string difference_text(const Slot& slot, const FileTensor& tensor) {
  return slot.spec.name + ": file " + to_text(tensor.shape) + (tensor.type == ElementType::i64 ? " of integers" : "") +
         ", network " + to_text(slot.spec.shape);
}

ImportPlan plan_import(const TensorFile& file, const ParameterStore& parameters) {
  ImportPlan plan;
  std::set<std::string_view> known;
  for (const auto* slots : {&parameters.trained_slots(), &parameters.statistics_slots()}) {
    for (const Slot& slot : *slots) {
      known.insert(slot.spec.name);
      const FileTensor* const tensor = file.find(slot.spec.name);
      if (tensor == nullptr) {
        plan.report.missing.push_back(slot.spec.name);
      } else if (tensor->type != ElementType::f32 || tensor->shape != slot.spec.shape) {
        plan.differing.push_back(slot.spec.name);
      } else {
        plan.assignments.push_back({&slot, tensor});
        plan.report.taken.push_back(slot.spec.name);
      }
    }
  }
  for (const FileTensor& tensor : file.tensors) {
    if (is_training_state(tensor.name) || tensor.name.ends_with(kTrackedSuffix)) continue;
    if (!known.contains(tensor.name)) plan.report.unused.push_back(tensor.name);
  }
  return plan;
}

void require_exact(const TensorFile& file, const ParameterStore& parameters, const ImportPlan& plan) {
  std::vector<std::string> faults;
  for (const std::string& name : plan.differing) faults.push_back(difference_text(*parameters.find(name), *file.find(name)));
  for (const std::string& name : plan.report.missing) faults.push_back(name + " is missing");
  if (faults.empty()) return;
  throw DataError(Fault{.doing = "taking over weights",
                        .expected = "every tensor of the network with its shape",
                        .found = file_model(file) + " in which " + list(faults),
                        .remedy = "the model and the number of classes that the file was written with"});
}

/// Moves differing tensors of the head to report.reinitialised; refuses any other.
void settle_head(const TensorFile& file, const ParameterStore& parameters, const std::vector<std::string>& head_names,
                 ImportPlan& plan) {
  std::vector<std::string> faults;
  for (const std::string& name : plan.differing) {
    const std::string text = difference_text(*parameters.find(name), *file.find(name));
    const bool is_head = std::find(head_names.begin(), head_names.end(), name) != head_names.end();
    (is_head ? plan.report.reinitialised : faults).push_back(text);
  }
  const std::string doing = "fine-tuning from weights";
  if (!faults.empty()) {
    throw DataError(Fault{.doing = doing,
                          .expected = "equal shapes in all layers but the last",
                          .found = file_model(file) + " in which they differ: " + list(faults),
                          .remedy = "the model that the file was written with"});
  }
  if (plan.assignments.empty()) {
    throw DataError(Fault{.doing = doing,
                          .expected = "tensors named as in the network, such as " +
                                      (plan.report.missing.empty() ? "its weights" : plan.report.missing.back()),
                          .found = file_model(file) + " with " + list(plan.report.unused),
                          .remedy = "the model that the file was written with"});
  }
}

}  // namespace

TensorFile export_weights(const ParameterStore& parameters, const std::vector<std::string>& names, const WeightsCard& card) {
  TensorFile file;
  put_card(card, file);
  for (const std::string& name : names) {
    const Slot* const slot = parameters.find(name);
    check(slot != nullptr, "the store holds what is exported: " + name);
    file.tensors.push_back(export_slot(parameters, *slot));
    if (slot->spec.kind == ParameterSpec::Kind::linear_weight) {
      file.metadata["num_classes"] = std::to_string(slot->spec.shape.front());  // the last linear layer's remains
    }
    if (slot->spec.kind == ParameterSpec::Kind::running_var) {
      // PyTorch's batch-norm expects this scalar as its last tensor.
      const std::string layer = name.substr(0, name.size() - kVarianceSuffix.size());
      file.tensors.push_back({.name = layer + std::string(kTrackedSuffix),
                              .shape = {},
                              .type = ElementType::i64,
                              .f32 = {},
                              .i64 = {parameters.batches_tracked}});
    }
  }
  return file;
}

ImportReport import_weights(const TensorFile& file, ParameterStore& parameters, ImportMode mode,
                            const std::vector<std::string>& head_names) {
  ImportPlan plan = plan_import(file, parameters);
  if (mode == ImportMode::exact) {
    require_exact(file, parameters, plan);
  } else {
    settle_head(file, parameters, head_names, plan);
  }

  for (const Assignment& assignment : plan.assignments) {
    copy_from_plain(assignment.slot->layout, assignment.tensor->f32, parameters.values(*assignment.slot));
  }
  const auto tracked = std::find_if(file.tensors.begin(), file.tensors.end(), [](const FileTensor& tensor) {
    return tensor.name.ends_with(kTrackedSuffix) && tensor.i64.size() == 1;
  });
  if (tracked != file.tensors.end()) parameters.batches_tracked = tracked->i64.front();
  return std::move(plan.report);
}

}  // namespace dtrain
