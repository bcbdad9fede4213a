// Writes safetensors files with a checksum, atomically: from pieces, or straight from the caller's tensors.
//
// Note [The checksum is filled in last]: it covers the header, with zeros for its own digits, and the data, which come in
// pieces. So the header is written with zeros, and the digits are put in when all data have passed.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "dtrain/atomic_file.hpp"
#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "dtrain/tensor_file_writer.hpp"
#include "src/running_hash.hpp"
#include "src/tensor_format.hpp"

namespace dtrain {
namespace {

using Json = nlohmann::ordered_json;

std::span<const std::byte> data_of(const FileTensor& tensor) {
  return tensor.type == ElementType::f32 ? std::as_bytes(std::span(tensor.f32)) : std::as_bytes(std::span(tensor.i64));
}

std::size_t data_bytes(const TensorOutline& tensor) {
  const std::size_t element_bytes = tensor.type == ElementType::f32 ? sizeof(float) : sizeof(std::int64_t);
  return static_cast<std::size_t>(element_count(tensor.shape)) * element_bytes;
}

void check_names(const std::vector<TensorOutline>& tensors) {
  std::set<std::string_view> names;
  for (const TensorOutline& tensor : tensors) {
    check(tensor.name != kMetadataKey && names.insert(tensor.name).second, "tensors have names of their own: " + tensor.name);
  }
}

/// Order of the data: 8-byte elements first, so that every tensor is aligned to its elements, as readers that map the file want
/// it.
template <typename Tensor>
std::vector<const Tensor*> data_order(const std::vector<Tensor>& tensors) {
  std::vector<const Tensor*> order;
  for (const Tensor& tensor : tensors) order.push_back(&tensor);
  std::stable_partition(order.begin(), order.end(), [](const Tensor* t) { return t->type == ElementType::i64; });
  return order;
}

/// Header with tensors in the caller's order and with checksum digits of zeros.
std::string build_header(const std::vector<TensorOutline>& tensors, std::map<std::string, std::string> metadata) {
  std::map<const TensorOutline*, std::size_t> begins;
  std::size_t end = 0;
  for (const TensorOutline* tensor : data_order(tensors)) {
    begins[tensor] = end;
    end += data_bytes(*tensor);
  }

  metadata.try_emplace("format", "pt");  // what PyTorch's loaders expect; the caller may say otherwise
  metadata[std::string(kVersionKey)] = kVersion;
  metadata[std::string(kChecksumKey)] = std::string(kChecksumDigits, '0');

  Json header = Json::object();
  header[std::string(kMetadataKey)] = metadata;
  for (const TensorOutline& tensor : tensors) {
    const std::size_t begin = begins.at(&tensor);
    header[tensor.name] = {{"dtype", tensor.type == ElementType::f32 ? "F32" : "I64"},
                           {"shape", tensor.shape},
                           {"data_offsets", {begin, begin + data_bytes(tensor)}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');
  return text;
}

std::string header_of(const std::filesystem::path& path, const std::vector<TensorOutline>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  check_names(tensors);
  try {
    return build_header(tensors, metadata);
  } catch (const nlohmann::json::exception&) {
    throw DataError(Fault{.doing = "describing the tensors of " + path.string(),
                          .expected = "names and metadata in UTF-8",
                          .found = "other bytes",
                          .remedy = "paths and names without such bytes"});
  }
}

}  // namespace

struct TensorFileWriter::State {
  explicit State(const std::filesystem::path& path) : destination(path) {}

  AtomicFile destination;
  std::size_t digits_at = 0;       ///< of the checksum, in the file
  std::vector<std::size_t> sizes;  ///< of the tensors in bytes, in the order of the data
  std::size_t tensor = 0;          ///< the present one
  RunningHash of_tensor;
  std::size_t written = 0;  ///< of that one
  std::uint64_t hash = 0;   ///< of the header and all tensors before

  void end_full_tensors() {
    for (; tensor < sizes.size() && written == sizes[tensor]; ++tensor) {
      hash = of_tensor.value(hash);
      of_tensor = {};
      written = 0;
    }
  }
};

TensorFileWriter::TensorFileWriter(const std::filesystem::path& path, const std::vector<TensorOutline>& tensors,
                                   const std::map<std::string, std::string>& metadata) {
  const std::string header = header_of(path, tensors, metadata);
  state_ = std::make_unique<State>(path);
  state_->digits_at = kLengthBytes + header.find(kChecksumOpening) + kChecksumOpening.size();
  state_->hash = hash_header(header);
  for (const TensorOutline* tensor : data_order(tensors)) state_->sizes.push_back(data_bytes(*tensor));
  const std::uint64_t length = header.size();
  state_->destination.write(std::as_bytes(std::span(&length, 1)));
  state_->destination.write(std::as_bytes(std::span(header)));
  state_->end_full_tensors();
}

TensorFileWriter::~TensorFileWriter() = default;

void TensorFileWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    check(state_->tensor < state_->sizes.size(), "TensorFileWriter: as many bytes as the tensors have");
    const auto part = bytes.first(std::min(bytes.size(), state_->sizes[state_->tensor] - state_->written));
    state_->destination.write(part);
    state_->of_tensor.absorb(part);
    state_->written += part.size();
    state_->end_full_tensors();
    bytes = bytes.subspan(part.size());
  }
}

void TensorFileWriter::commit() {
  check(state_->tensor == state_->sizes.size(), "TensorFileWriter: all bytes of the tensors");
  const std::string digits = checksum_text(state_->hash);
  state_->destination.rewrite(state_->digits_at, std::as_bytes(std::span(digits)));
  state_->destination.commit();
}

void write_tensor_file(const std::filesystem::path& path, const TensorFile& file) {
  std::vector<TensorOutline> outlines;
  for (const FileTensor& tensor : file.tensors) {
    const std::size_t elements = tensor.type == ElementType::f32 ? tensor.f32.size() : tensor.i64.size();
    check(elements == static_cast<std::size_t>(element_count(tensor.shape)), "a tensor fills its shape: " + tensor.name);
    outlines.push_back({.name = tensor.name, .shape = tensor.shape, .type = tensor.type});
  }
  TensorFileWriter writer(path, outlines, file.metadata);
  for (const FileTensor* tensor : data_order(file.tensors)) writer.write(data_of(*tensor));
  writer.commit();
}

}  // namespace dtrain
