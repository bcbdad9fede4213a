// Counting predictions; see predictions.hpp.
#include "trainer/predictions.hpp"

#include <algorithm>
#include <cstring>
#include <ostream>

namespace dtrain {
namespace {

std::int32_t output_of(std::int32_t folder, std::span<const std::int32_t> class_indices) {
  return class_indices.empty() ? folder : class_indices[static_cast<std::size_t>(folder)];
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string cell = "\"";
  for (const char letter : text) cell += letter == '"' ? std::string("\"\"") : std::string(1, letter);
  return cell + "\"";
}

}  // namespace

std::vector<Prediction> gather_predictions(const std::vector<Prediction>& mine, const Communicator& communicator) {
  const std::string bytes(reinterpret_cast<const char*>(mine.data()), mine.size() * sizeof(Prediction));
  std::vector<Prediction> all;
  for (const std::string& part : communicator.gather_texts(bytes)) {
    const std::size_t begin = all.size();
    all.resize(begin + part.size() / sizeof(Prediction));
    std::memcpy(static_cast<void*>(all.data() + begin), part.data(), part.size());
  }
  return all;
}

std::vector<std::string> names_of_outputs(const std::vector<std::string>& folders, std::span<const std::int32_t> class_indices,
                                          std::int64_t num_classes, const std::vector<std::string>& known) {
  std::vector<std::string> names;
  for (std::int64_t k = 0; k < num_classes; ++k) {
    names.push_back(k < std::ssize(known) ? known[static_cast<std::size_t>(k)] : "class " + std::to_string(k));
  }
  for (std::size_t folder = 0; folder < folders.size(); ++folder) {
    names[static_cast<std::size_t>(output_of(static_cast<std::int32_t>(folder), class_indices))] = folders[folder];
  }
  return names;
}

std::vector<ClassAccuracy> accuracy_by_class(const std::vector<Prediction>& predictions, std::size_t folders,
                                             std::span<const std::int32_t> class_indices) {
  std::vector<ClassAccuracy> classes(folders);
  for (const Prediction& prediction : predictions) {
    ClassAccuracy& own = classes[static_cast<std::size_t>(prediction.label)];
    ++own.samples;
    own.top1 += prediction.most_likely == output_of(prediction.label, class_indices) ? 1 : 0;
  }
  return classes;
}

void write_confusion(std::ostream& file, const std::vector<Prediction>& predictions, const std::vector<std::string>& folders,
                     const std::vector<std::string>& outputs) {
  file << "true/predicted";
  for (const std::string& name : outputs) file << "," << csv_cell(name);
  file << "\n";
  // Row by row: of 20 000 classes all counts together would take gigabytes.
  std::vector<Prediction> sorted = predictions;
  std::ranges::stable_sort(sorted, {}, &Prediction::label);
  auto next = sorted.begin();
  std::vector<std::int64_t> counts(outputs.size());
  for (std::size_t folder = 0; folder < folders.size(); ++folder) {
    std::ranges::fill(counts, 0);
    for (; next != sorted.end() && static_cast<std::size_t>(next->label) == folder; ++next) {
      if (next->most_likely >= 0) ++counts[static_cast<std::size_t>(next->most_likely)];
    }
    file << csv_cell(folders[folder]);
    for (const std::int64_t count : counts) file << "," << count;
    file << "\n";
  }
}

}  // namespace dtrain
