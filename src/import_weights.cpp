// Matches a file's tensors with a network's, decides, and only then copies; see import_weights.hpp.
#include "dtrain/import_weights.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "dtrain/error.hpp"
#include "src/tensor_renaming.hpp"

namespace dtrain {
namespace {

/// A message lists at most this many tensors.
constexpr std::size_t kMostListed = 10;

std::string list(const std::vector<std::string>& lines, const char* separator, std::size_t most = kMostListed) {
  std::string text;
  for (std::size_t i = 0; i < std::min(lines.size(), most); ++i) text += (i == 0 ? "" : separator) + lines[i];
  if (lines.size() > most) text += separator + ("and " + std::to_string(lines.size() - most) + " more");
  return text;
}

/// "conv1.weight" → "conv1.".
std::string_view module_of(std::string_view name) { return name.substr(0, name.rfind('.') + 1); }

/// Auxiliary heads, which the files of some networks have and some have not.
bool is_auxiliary(std::string_view model, std::string_view name) {
  if (model == "googlenet") return name.starts_with("aux1.") || name.starts_with("aux2.");
  return model == "inception_v3" && name.starts_with("AuxLogits.");
}

/// A tensor of the file that becomes one of the network's.
struct Assignment {
  const ParameterSpec* spec;
  const FileTensor* tensor;
};

/// What would be done with a file, before anything is done.
struct ImportPlan {
  std::vector<Assignment> assignments;
  std::vector<Assignment> differing;          ///< that cannot be made: of another shape or type
  std::vector<std::string> unused_weights{};  ///< unused ones of a type that weights have; not masks, counts and the like
  ImportReport report;                        ///< `taken` and `reinitialised` are filled in last
};

std::string type_text(const FileTensor& tensor) {
  if (tensor.type == ElementType::f32) return "";
  if (tensor.type == ElementType::i64) return " of integers";
  return " of type " + tensor.stored_type;
}

std::string difference_text(const ParameterSpec& spec, const FileTensor& tensor) {
  return spec.name + ": file " + to_text(tensor.shape) + type_text(tensor) + ", network " + to_text(spec.shape);
}

/// In the order of the forward pass; slots stand in that of the backward pass.
std::vector<ParameterSpec> specs_of(const ParameterStore& parameters) {
  std::vector<ParameterSpec> specs;
  std::map<std::string_view, std::size_t> places;  // of modules, backward
  for (const auto* slots : {&parameters.trained_slots(), &parameters.statistics_slots()}) {
    for (const Slot& slot : *slots) {
      places.try_emplace(module_of(slot.spec.name), places.size());
      specs.push_back(slot.spec);
    }
  }
  std::stable_sort(specs.begin(), specs.end(), [&](const ParameterSpec& a, const ParameterSpec& b) {
    return places.at(module_of(a.name)) > places.at(module_of(b.name));
  });
  return specs;
}

/// The specs outlive the plan.
ImportPlan plan_import(const TensorFile& file, const std::vector<ParameterSpec>& specs) {
  NameSet network_names;
  for (const ParameterSpec& spec : specs) network_names.insert(spec.name);
  std::vector<std::string> file_names;
  for (const FileTensor& tensor : file.tensors) file_names.push_back(tensor.name);
  const Renaming renaming = match_names(file_names, network_names);

  ImportPlan plan;
  plan.report.said = renaming.said;
  std::map<std::string_view, const FileTensor*> tensors;
  for (std::size_t i = 0; i < file.tensors.size(); ++i) tensors.emplace(renaming.names[i], &file.tensors[i]);
  for (const ParameterSpec& spec : specs) {
    const auto found = tensors.find(spec.name);
    if (found == tensors.end()) {
      plan.report.missing.push_back(spec.name);
    } else if (found->second->type != ElementType::f32 || found->second->shape != spec.shape) {
      plan.differing.push_back({&spec, found->second});
    } else {
      plan.assignments.push_back({&spec, found->second});
    }
  }
  for (std::size_t i = 0; i < file.tensors.size(); ++i) {
    const std::string& name = renaming.names[i];
    if (network_names.contains(name) || is_training_state(name) || name.ends_with(kTrackedSuffix)) continue;
    plan.report.unused.push_back(name);
    if (file.tensors[i].type == ElementType::f32) plan.unused_weights.push_back(name);
  }
  return plan;
}

/// Takes a module's assignments back.
void leave(ImportPlan& plan, std::string_view module, const std::string& reason) {
  std::erase_if(plan.assignments, [&](const Assignment& assignment) {
    const std::string& name = assignment.spec->name;
    if (!name.starts_with(module)) return false;
    plan.report.reinitialised.push_back(name + ": " + reason);
    return true;
  });
}

/// Torchvision's file of googlenet has auxiliary heads that were never trained. Their running statistics are as they were
/// initialised, which one batch would have changed. Files of dtrain are taken as they are: they say where a run began.
void leave_untrained_auxiliary(const TensorFile& file, const ImportRequest& request, ImportPlan& plan) {
  if (request.mode == ImportMode::exact || file.metadata.contains("dtrain.version")) return;
  bool is_untouched = true, has_statistics = false;
  for (const Assignment& assignment : plan.assignments) {
    const ParameterSpec& spec = *assignment.spec;
    if (!is_auxiliary(request.model, spec.name) || spec.is_trained()) continue;
    has_statistics = true;
    const float initial = spec.kind == ParameterSpec::Kind::running_var ? 1.0f : 0.0f;
    const std::vector<float>& values = assignment.tensor->f32;
    is_untouched &= std::all_of(values.begin(), values.end(), [&](float value) { return value == initial; });
  }
  if (!has_statistics || !is_untouched) return;
  const std::size_t before = plan.assignments.size();
  std::erase_if(plan.assignments,
                [&](const Assignment& assignment) { return is_auxiliary(request.model, assignment.spec->name); });
  plan.report.said.push_back("the file's auxiliary heads were never trained: " +
                             std::to_string(before - plan.assignments.size()) + " tensors of theirs are fresh");
}

/// What keeps the file from being taken.
struct Faults {
  std::vector<std::string> differing;        ///< texts
  std::vector<std::string> missing, unused;  ///< names
  bool empty() const { return differing.empty() && missing.empty() && unused.empty(); }
};

std::vector<std::string> names_of(const std::vector<Assignment>& assignments) {
  std::vector<std::string> names;
  for (const Assignment& assignment : assignments) names.push_back(assignment.spec->name);
  return names;
}

std::vector<std::string> operator+(std::vector<std::string> first, const std::vector<std::string>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

std::string text_of(const Faults& faults, const ImportPlan& plan) {
  const std::vector<std::string> matched = names_of(plan.assignments) + names_of(plan.differing);
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : "; ") + part; };
  const auto counted = [](const std::vector<std::string>& names, const std::string& what,
                          const std::vector<std::string>& groups) {
    return names.size() == 1 ? names.front() + " is " + what
                             : std::to_string(names.size()) + " tensors are " + what + ": " + list(groups, ", ");
  };
  if (!faults.differing.empty()) add(list(faults.differing, "; "));
  if (!faults.missing.empty()) add(counted(faults.missing, "missing", group_names(faults.missing, matched)));
  if (!faults.unused.empty()) add(counted(faults.unused, "left over", group_names(faults.unused, matched)));
  return text;
}

/// "a file of model resnet18 (its tensors fit model resnet18)".
std::string file_text(const TensorFile& file, const std::string& fits) {
  const auto model = file.metadata.find("model");
  const std::string named = model == file.metadata.end() ? "a file that names no model" : "a file of model " + model->second;
  return fits.empty() ? named : named + " (these tensors fit model " + fits + ")";
}

[[noreturn]] void refuse(const TensorFile& file, const ImportRequest& request, const std::string& found) {
  const std::string fits = request.recognise ? request.recognise(file) : "";
  const bool tunes = request.mode != ImportMode::exact;
  std::string heads;
  for (const std::string& name : request.head_names) {
    const std::string module(module_of(name));
    if (heads.find(module + "*") == std::string::npos) heads += (heads.empty() ? "" : " and ") + module + "*";
  }
  std::string remedy = fits.empty() || fits == request.model
                           ? "the model and the number of classes that the file was written with"
                           : "--model " + fits;
  if (request.mode == ImportMode::fine_tune) remedy += ", or --init-partial on to take what fits and leave the rest";
  throw DataError(Fault{.doing = tunes ? "fine-tuning from weights" : "taking over weights",
                        .expected = (request.mode == ImportMode::partial ? "at least one tensor"
                                     : tunes                             ? "every tensor but those of " + heads
                                                                         : std::string("every tensor with its shape")) +
                                    (request.model.empty() ? " of the network" : " of " + request.model) +
                                    (request.mode == ImportMode::partial ? " with its shape" : ", and no others"),
                        .found = file_text(file, fits) + " in which " + found,
                        .remedy = remedy});
}

/// Modules whose tensors may be missing or differ: heads. Each is taken whole or not at all.
std::set<std::string> head_modules(const ImportRequest& request) {
  std::set<std::string> modules;
  if (request.mode == ImportMode::exact) return modules;
  for (const std::string& name : request.head_names) modules.insert(std::string(module_of(name)));
  return modules;
}

/// "bn1.running_var: 2 values that are below 0": no batch-norm can divide by their root.
std::vector<std::string> texts_of_negative_variances(const ImportPlan& plan) {
  std::vector<std::string> texts;
  for (const auto& [spec, tensor] : plan.assignments) {
    if (spec->kind != ParameterSpec::Kind::running_var) continue;
    const auto count = std::count_if(tensor->f32.begin(), tensor->f32.end(), [](float value) { return value < 0.0f; });
    if (count > 0) texts.push_back(spec->name + ": " + counted(count, "value that is", "values that are") + " below 0");
  }
  return texts;
}

/// "conv1.weight: 3 values that are not finite" for each such tensor. An evaluation would give numbers; training would end at
/// its first step, and after --init-partial with fresh layers named in place of the file.
std::vector<std::string> texts_of_not_finite(const ImportPlan& plan) {
  std::vector<std::string> texts;
  for (const auto& [spec, tensor] : plan.assignments) {
    const auto count = std::count_if(tensor->f32.begin(), tensor->f32.end(), [](float value) { return !std::isfinite(value); });
    if (count > 0) texts.push_back(spec->name + ": " + counted(count, "value that is", "values that are") + " not finite");
  }
  return texts;
}

/// Weights of the right shape may still be no weights. Errors: DataError, with the tensors' names.
void require_sound_values(const ImportPlan& plan) {
  std::vector<std::string> texts = texts_of_not_finite(plan);
  const std::string expected = texts.empty() ? "running variances from 0" : "values that are finite numbers";
  if (texts.empty()) texts = texts_of_negative_variances(plan);
  if (texts.empty()) return;
  throw DataError(Fault{.doing = "taking over weights",
                        .expected = expected,
                        .found = list(texts, "; "),
                        .remedy = "weights of an earlier step, from before the run diverged, or an undamaged copy; "
                                  "`dtrain inspect` counts such values of each tensor"});
}

/// Errors: DataError: no number of batches, which training would go on counting from.
std::optional<std::int64_t> batches_tracked_in(const TensorFile& file) {
  constexpr std::int64_t kMost = std::int64_t{1} << 62;
  const auto tracked = std::ranges::find_if(
      file.tensors, [](const FileTensor& tensor) { return tensor.name.ends_with(kTrackedSuffix) && tensor.i64.size() == 1; });
  if (tracked == file.tensors.end()) return std::nullopt;
  const std::int64_t count = tracked->i64.front();
  if (count >= 0 && count <= kMost) return count;
  throw DataError(Fault{.doing = "taking over weights",
                        .expected = "a number of batches from 0 in " + tracked->name,
                        .found = std::to_string(count),
                        .remedy = "an undamaged copy of the file"});
}

Faults find_faults(const ImportRequest& request, const ImportPlan& plan) {
  Faults faults;
  const std::set<std::string> heads = head_modules(request);
  const auto is_head = [&](const std::string& name) {
    return std::any_of(heads.begin(), heads.end(), [&](const std::string& module) { return name.starts_with(module); });
  };
  for (const auto& [spec, tensor] : plan.differing) {
    if (!is_head(spec->name)) faults.differing.push_back(difference_text(*spec, *tensor));
  }
  for (const std::string& name : plan.report.missing) {
    const bool may_be_fresh = request.mode == ImportMode::fine_tune && is_auxiliary(request.model, name);
    if (!is_head(name) && !may_be_fresh) faults.missing.push_back(name);
  }
  for (const std::string& name : plan.unused_weights) {
    if (!is_head(name) && !is_auxiliary(request.model, name) && !is_bookkeeping(name)) faults.unused.push_back(name);
  }
  return faults;
}

/// A head with a tensor that is missing or differs, or with tensors that are not the network's, is left as a whole.
void leave_incomplete_heads(const ImportRequest& request, ImportPlan& plan) {
  for (const std::string& module : head_modules(request)) {
    const auto is_inside = [&](const std::string& name) { return name.starts_with(module); };
    const std::vector<std::string> differing = names_of(plan.differing);
    if (std::any_of(differing.begin(), differing.end(), is_inside) ||
        std::any_of(plan.report.missing.begin(), plan.report.missing.end(), is_inside)) {
      leave(plan, module, "fresh like the rest of its layer");
    }
  }
}

}  // namespace

bool import_fits(const TensorFile& file, const std::vector<ParameterSpec>& parameters, const ImportRequest& request) {
  try {
    return find_faults(request, plan_import(file, parameters)).empty();
  } catch (const DataError&) {
    return false;
  }
}

ImportReport import_weights(const TensorFile& file, ParameterStore& parameters, const ImportRequest& request) {
  const std::vector<ParameterSpec> specs = specs_of(parameters);
  ImportPlan plan = plan_import(file, specs);
  if (request.mode != ImportMode::partial) {
    const Faults faults = find_faults(request, plan);
    if (!faults.empty()) refuse(file, request, text_of(faults, plan));
  }
  leave_incomplete_heads(request, plan);
  leave_untrained_auxiliary(file, request, plan);
  require_sound_values(plan);  // of what is taken alone
  const std::optional<std::int64_t> tracked = batches_tracked_in(file);
  if (plan.assignments.empty()) {
    const std::vector<std::string> groups = group_names(plan.report.unused, {});
    refuse(file, request, groups.empty() ? "no tensor fits" : "no tensor fits; it has " + list(groups, ", "));
  }
  std::vector<std::string> differing;
  for (const auto& [spec, tensor] : plan.differing) differing.push_back(difference_text(*spec, *tensor));
  plan.report.reinitialised.insert(plan.report.reinitialised.begin(), differing.begin(), differing.end());

  for (const Assignment& assignment : plan.assignments) {
    const Slot& slot = *parameters.find(assignment.spec->name);
    copy_from_plain(slot.layout, assignment.tensor->f32, parameters.values(slot));
    plan.report.taken.push_back(assignment.spec->name);
  }
  if (tracked) parameters.batches_tracked = *tracked;
  plan.report.is_partial = request.mode == ImportMode::partial;
  return std::move(plan.report);
}

std::string describe_import(const ImportReport& report, const std::string& file) {
  const std::size_t most = report.is_partial ? std::numeric_limits<std::size_t>::max() : kMostListed;
  std::vector<std::string> not_taken = report.missing;
  for (const std::string& line : report.reinitialised) not_taken.push_back(line.substr(0, line.find(':')));
  std::string text = "weights from " + file + ": taken " + std::to_string(report.taken.size()) +
                     (report.taken.size() == 1 ? " tensor" : " tensors");
  if (report.is_partial) text += ": " + list(group_names(report.taken, not_taken), ", ", most);
  const auto add = [&](const char* what, std::size_t count, const std::vector<std::string>& groups) {
    if (count > 0) text += std::string("; ") + what + " " + std::to_string(count) + ": " + list(groups, ", ", most);
  };
  add("re-initialised (other shape)", report.reinitialised.size(), report.reinitialised);
  add("not in the file, fresh", report.missing.size(), group_names(report.missing, report.taken));
  add("in the file but not used", report.unused.size(), group_names(report.unused, report.taken));
  for (const std::string& said : report.said) text += "; " + said;
  return text;
}

}  // namespace dtrain
