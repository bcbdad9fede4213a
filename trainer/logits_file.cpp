// Rows of all ranks into one file; see logits_file.hpp.
#include "trainer/logits_file.hpp"

#include <map>
#include <optional>
#include <span>

#include "dtrain/tensor_file_writer.hpp"

namespace dtrain {

LogitsFile::LogitsFile(std::int64_t samples, std::int64_t num_classes) : num_classes_(num_classes) {
  logits_.reserve(static_cast<std::size_t>(samples * num_classes));
  samples_.reserve(static_cast<std::size_t>(samples));
}

std::size_t LogitsFile::bytes(std::int64_t samples, std::int64_t num_classes) {
  return static_cast<std::size_t>(samples) * (static_cast<std::size_t>(num_classes) * sizeof(float) + sizeof(std::int64_t));
}

void LogitsFile::add(const EvaluatedBatch& batch) {
  logits_.insert(logits_.end(), batch.logits.begin(), batch.logits.end());
  samples_.insert(samples_.end(), batch.samples.begin(), batch.samples.end());
}

void LogitsFile::write(const std::filesystem::path& path, const std::string& model, const DamagedImages& left_out,
                       std::int64_t rows, const Communicator& communicator, std::size_t piece_bytes) const {
  std::optional<TensorFileWriter> writer;
  if (communicator.is_root()) {
    std::map<std::string, std::string> metadata{{"dtrain.model", model}};
    std::string& numbers = metadata["dtrain.left_out"];
    for (const std::int64_t sample : left_out.samples) numbers += (numbers.empty() ? "" : " ") + std::to_string(sample);
    writer.emplace(path,
                   std::vector<TensorOutline>{{.name = "logits", .shape = {rows, num_classes_}},
                                              {.name = "samples", .shape = {rows}, .type = ElementType::i64}},
                   metadata);
  }
  const auto take = [&](std::span<const std::byte> piece) { writer->write(piece); };
  gather_in_pieces(communicator, std::as_bytes(std::span(samples_)), take, piece_bytes);  // I64 comes first in the data
  gather_in_pieces(communicator, std::as_bytes(std::span(logits_)), take, piece_bytes);
  if (writer) writer->commit();
}

}  // namespace dtrain
