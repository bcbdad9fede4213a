// Counting predictions; see predictions.hpp.
#include "trainer/predictions.hpp"

#include <algorithm>
#include <cstring>
#include <ostream>

#include "collectives/gather_pieces.hpp"

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
  std::vector<std::byte> bytes;
  gather_in_pieces(communicator, std::as_bytes(std::span(mine)), [&](std::span<const std::byte> piece) {
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  });
  std::vector<Prediction> all(bytes.size() / sizeof(Prediction));
  if (!all.empty()) std::memcpy(static_cast<void*>(all.data()), bytes.data(), bytes.size());
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
