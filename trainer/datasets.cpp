// Directory layouts; see datasets.hpp.
#include "trainer/datasets.hpp"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<Dataset> synthetic(const DataSelection& selection) {
  return make_synthetic({.size = selection.synthetic_size,
                         .num_classes = selection.synthetic_classes,
                         .image_size = selection.picture_size,
                         .seed = selection.seed});
}

/// val/ or test/ below a directory; empty when neither is there.
fs::path held_out_folder(const fs::path& root) {
  for (const char* name : {"val", "test"}) {
    if (fs::is_directory(root / name)) return root / name;
  }
  return {};
}

std::string first_difference(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  for (const std::string& name : a) {
    if (std::ranges::find(b, name) == b.end()) return name;
  }
  return {};
}

void require_equal_classes(const Dataset& train, const Dataset& validation, const fs::path& validation_root) {
  if (train.class_names() == validation.class_names()) return;
  const std::string only_train = first_difference(train.class_names(), validation.class_names());
  const std::string only_validation = first_difference(validation.class_names(), train.class_names());
  std::string found = counted(std::ssize(train.class_names()), "class", "classes") + " in training and " +
                      std::to_string(validation.class_names().size()) + " in validation";
  if (!only_train.empty()) found += ", \"" + only_train + "\" in training alone";
  if (!only_validation.empty()) found += ", \"" + only_validation + "\" in validation alone";
  throw DataError(Fault{.doing = "comparing the class folders of training and validation (" + validation_root.string() + ")",
                        .expected = "the same folder names in both",
                        .found = found,
                        .remedy = "rename or add the folders, or name another set with --val-data"});
}

}  // namespace

RunData open_run_data(const DataSelection& selection) {
  RunData data;
  if (selection.train == "synthetic") {
    data.is_synthetic = true;
    data.train = synthetic(selection);
    if (!selection.validation.empty()) data.validation = open_image_folder(selection.validation);
    return data;
  }
  const fs::path root = selection.train;
  const bool has_train_folder = fs::is_directory(root / "train");
  data.train = open_image_folder(has_train_folder ? root / "train" : root);
  const fs::path validation_root =
      !selection.validation.empty() ? fs::path(selection.validation) : (has_train_folder ? held_out_folder(root) : fs::path());
  if (!validation_root.empty()) {
    data.validation = open_image_folder(validation_root);
    require_equal_classes(*data.train, *data.validation, validation_root);
  }
  return data;
}

std::unique_ptr<Dataset> open_evaluation_data(const DataSelection& selection) {
  if (selection.train == "synthetic") return synthetic(selection);
  const fs::path root = selection.train;
  const fs::path held_out = held_out_folder(root);
  return open_image_folder(held_out.empty() ? root : held_out);
}

std::string describe_dataset(const Dataset& dataset) {
  std::ostringstream text;
  text << counted(dataset.size(), "sample");
  for (const std::string& name : dataset.class_names()) text << ", " << name;
  if (dataset.size() > 0) {
    // Paths may differ between nodes (local copies); file names and labels may not.
    for (const std::int64_t sample : {std::int64_t{0}, dataset.size() - 1}) {
      text << "; " << fs::path(dataset.sample_name(sample)).filename().string() << "=" << dataset.label(sample);
    }
  }
  return text.str();
}

}  // namespace dtrain
