// Directory layouts; see datasets.hpp.
#include "trainer/datasets.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "dtrain/error.hpp"
#include "trainer/class_matching.hpp"
#include "trainer/class_order.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<Dataset> synthetic(const DataSelection& selection) {
  return make_synthetic({.size = selection.synthetic_size,
                         .num_classes = selection.synthetic_classes,
                         .image_size = selection.picture_size,
                         .seed = selection.seed});
}

/// Takes the images of a folder, with an account of them.
std::unique_ptr<Dataset> take(const std::string& path, EmptyClasses empty_classes, SplitSummary& summary) {
  ImageFolder folder = read_image_folder(path, empty_classes);
  summary = {.folder = path,
             .images = folder.images->size(),
             .left_out = std::move(folder.left_out),
             .nested = std::move(folder.nested),
             .empty_classes = std::move(folder.empty_classes)};
  return std::move(folder.images);
}

void require_several_classes(const Dataset& train, const std::string& folder) {
  if (train.class_names().size() > 1) return;
  throw DataError(Fault{.doing = "opening the images for training in " + folder,
                        .expected = "two class folders or more",
                        .found = "one, " + train.class_names().front() + ": one class cannot be told from others",
                        .remedy = "a --data that holds a folder for each class"});
}

std::string quoted(const std::vector<std::string>& names) {
  std::vector<std::string> quoted;
  for (const std::string& name : names) quoted.push_back('"' + name + '"');
  return class_list(quoted);
}

/// Validation with training's classes and labels. Folders are matched by name.
std::unique_ptr<Dataset> with_classes_of(const Dataset& train, std::unique_ptr<Dataset> validation, DataSummary& summary) {
  const std::vector<std::string>&classes = train.class_names(), &folders = validation->class_names();
  std::vector<std::int32_t> places = class_positions(folders, classes);
  std::vector<bool> has_images(classes.size());
  std::vector<std::string> missing, strange, renumbered;
  for (std::size_t k = 0; k < folders.size(); ++k) {
    if (places[k] < 0) {
      strange.push_back(folders[k]);
      continue;
    }
    const std::string& name = classes[static_cast<std::size_t>(places[k])];
    if (folders[k] != name) renumbered.push_back(folders[k] + " as class " + name);
    const bool is_empty = std::ranges::binary_search(summary.validation.empty_classes, folders[k]);
    has_images[static_cast<std::size_t>(places[k])] = !is_empty;
  }
  for (std::size_t k = 0; k < classes.size(); ++k) {
    if (!has_images[k]) missing.push_back(classes[k]);
  }
  if (!strange.empty()) {
    throw DataError(Fault{.doing = "comparing the class folders of training and validation (" + summary.validation.folder + ")",
                          .expected = "folders of validation to have the names of training's",
                          .found = counted(std::ssize(classes), "class", "classes") + " in training and " +
                                   std::to_string(folders.size()) + " in validation" +
                                   (missing.empty() ? "" : ", " + quoted(missing) + " in training alone") + ", " +
                                   quoted(strange) + " in validation alone",
                          .remedy = "rename or move away the folders, or name another set with --val-data"});
  }
  if (!missing.empty()) {
    summary.warnings.push_back("validation has no images of " + std::to_string(missing.size()) + " of the " +
                               std::to_string(classes.size()) + " classes (" + class_list(missing) +
                               "): its accuracy says nothing of these");
  }
  if (!renumbered.empty()) {
    summary.warnings.push_back("folders of validation were matched with classes of training as numbers: " +
                               class_list(renumbered));
  }
  if (folders == classes) return validation;
  return relabelled(std::move(validation), classes, std::move(places));
}

/// A folder next to DIR that is DIR's validation, where DIR is named as one for training.
std::string validation_next_to(const fs::path& root) {
  const fs::path folder = fs::weakly_canonical(root);
  if (split_name(folder.filename().string()).role != SplitRole::training) return {};
  try {
    const DataLayout layout = layout_of(folder.parent_path().string());
    return fs::path(layout.training) == folder ? layout.validation : "";
  } catch (const DataError&) {
    return {};  // what lies there is not asked for
  }
}

bool is_same_folder(const std::string& a, const std::string& b) {
  std::error_code unused;
  return fs::equivalent(a, b, unused);
}

/// The layout of DIR with a folder for validation: DIR itself where it has no splits.
DataLayout validation_layout(const std::string& root) {
  DataLayout layout = layout_of(root);
  if (!layout.has_splits) layout.validation = layout.training;
  if (!layout.validation.empty()) return layout;
  throw DataError(Fault{.doing = "opening the images to evaluate on in " + root,
                        .expected = "a folder for validation (val, valid, validation, or test)",
                        .found = layout.no_validation,
                        .remedy = "the folder that holds its class folders; " + layout.training +
                                  " would evaluate on the images of training themselves"});
}

bool is_below(const fs::path& path, const fs::path& folder) {
  const fs::path from_folder = path.lexically_relative(folder);
  return !from_folder.empty() && *from_folder.begin() != "..";
}

/// The layout of a directory as far as it has one: what is wrong with it is said when it is opened.
DataLayout layout_if_any(const std::string& root) {
  try {
    return layout_of(root);
  } catch (const DataError&) {
    return {};
  }
}

}  // namespace

void require_out_beside_images(const std::string& out, const DataSelection& selection) {
  const fs::path own = fs::weakly_canonical(fs::absolute(out));
  for (const std::string& root : {selection.train, selection.validation}) {
    std::error_code none;
    if (root.empty() || root == "synthetic" || !is_below(own, fs::weakly_canonical(fs::absolute(root), none))) continue;
    const DataLayout layout = layout_if_any(root);
    for (const std::string& folder : {layout.training, layout.validation}) {
      if (folder.empty() || !is_below(own, fs::weakly_canonical(fs::absolute(folder), none))) continue;
      throw ConfigError(Fault{.doing = "--out " + out,
                              .expected = "a directory that is not among the images",
                              .found = "one in " + folder + ", whose folders are classes",
                              .remedy = "--out somewhere else"});
    }
  }
}

RunData open_run_data(const DataSelection& selection) {
  RunData data;
  DataSummary& summary = data.summary;
  if (selection.train == "synthetic") {
    data.is_synthetic = true;
    data.train = synthetic(selection);
    summary.training = {
        .folder = "synthetic pictures", .images = data.train->size(), .left_out = {}, .nested = {}, .empty_classes = {}};
    summary.no_validation = "no --val-data";
  } else {
    const DataLayout layout = layout_of(selection.train);
    if (layout.training.empty()) {
      throw DataError(Fault{.doing = "opening the images for training in " + selection.train,
                            .expected = "a folder for training (train, training …) next to " + layout.validation,
                            .found = "none",
                            .remedy = "--data " + layout.validation + " to train on these"});
    }
    data.train = take(layout.training, EmptyClasses::refused, summary.training);
    require_several_classes(*data.train, layout.training);
    summary.unused = layout.unused;
    summary.no_validation = layout.no_validation + "; --val-data DIR names one";
    if (selection.validation.empty() && !layout.validation.empty()) {
      data.validation = take(layout.validation, EmptyClasses::kept, summary.validation);
    }
    if (!layout.has_splits) {
      const std::string next = validation_next_to(layout.training);
      summary.no_validation = next.empty()
                                  ? layout.training + " is all taken for training; --val-data DIR names images for validation"
                                  : "--val-data " + next + " would be one";
    }
  }
  if (!selection.validation.empty())
    data.validation = take(validation_layout(selection.validation).validation, EmptyClasses::kept, summary.validation);
  summary.classes = data.train->class_names();
  const std::string order = number_order_remark(summary.classes);
  if (!order.empty()) summary.warnings.push_back(order);
  if (data.validation && !data.is_synthetic) {
    data.validation = with_classes_of(*data.train, std::move(data.validation), summary);
    if (is_same_folder(summary.training.folder, summary.validation.folder))
      summary.warnings.push_back("validation is on the images of training themselves: its accuracy says nothing of others");
  }
  return data;
}

EvaluationData open_evaluation_data(const DataSelection& selection) {
  EvaluationData data;
  if (selection.train == "synthetic") {
    data.images = synthetic(selection);
    data.summary.validation = {
        .folder = "synthetic pictures", .images = data.images->size(), .left_out = {}, .nested = {}, .empty_classes = {}};
  } else {
    const DataLayout layout = validation_layout(selection.train);
    data.images = take(layout.validation, EmptyClasses::kept, data.summary.validation);
    data.summary.unused = layout.unused;
    const std::string order = number_order_remark(data.images->class_names());
    if (!order.empty()) data.summary.warnings.push_back(order);
    const std::vector<std::string>& empty = data.summary.validation.empty_classes;
    if (!empty.empty()) data.summary.warnings.push_back("class folders without images: " + class_list(empty));
  }
  data.summary.classes = data.images->class_names();
  return data;
}

}  // namespace dtrain
