// Writes safetensors files with a checksum, atomically, straight from the caller's tensors.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "src/atomic_file.hpp"
#include "src/tensor_format.hpp"

namespace dtrain {
namespace {

using Json = nlohmann::ordered_json;

std::span<const std::byte> bytes_of(const FileTensor& tensor) {
  return tensor.type == ElementType::f32 ? std::as_bytes(std::span(tensor.f32)) : std::as_bytes(std::span(tensor.i64));
}

void check_tensors(const TensorFile& file) {
  std::set<std::string_view> names;
  for (const FileTensor& tensor : file.tensors) {
    check(tensor.name != kMetadataKey && names.insert(tensor.name).second, "tensors have names of their own: " + tensor.name);
    check(tensor.type != ElementType::other, "what is written has elements: " + tensor.name);
    const std::size_t elements = tensor.type == ElementType::f32 ? tensor.f32.size() : tensor.i64.size();
    check(elements == static_cast<std::size_t>(element_count(tensor.shape)), "a tensor fills its shape: " + tensor.name);
  }
}

/// Order of the data: 8-byte elements first, so that every tensor is aligned to its elements, as readers that map the file want
/// it.
std::vector<const FileTensor*> data_order(const TensorFile& file) {
  std::vector<const FileTensor*> order;
  for (const FileTensor& tensor : file.tensors) order.push_back(&tensor);
  std::stable_partition(order.begin(), order.end(), [](const FileTensor* t) { return t->type == ElementType::i64; });
  return order;
}

/// Header with tensors in the caller's order and with checksum digits of zeros.
std::string build_header(const TensorFile& file, const std::vector<const FileTensor*>& order) {
  std::map<const FileTensor*, std::size_t> begins;
  std::size_t end = 0;
  for (const FileTensor* tensor : order) {
    begins[tensor] = end;
    end += bytes_of(*tensor).size();
  }

  std::map<std::string, std::string> metadata = file.metadata;
  metadata.try_emplace("format", "pt");  // what PyTorch's loaders expect; the caller may say otherwise
  metadata[std::string(kVersionKey)] = kVersion;
  metadata[std::string(kChecksumKey)] = std::string(kChecksumDigits, '0');

  Json header = Json::object();
  header[std::string(kMetadataKey)] = metadata;
  for (const FileTensor& tensor : file.tensors) {
    const std::size_t begin = begins.at(&tensor);
    header[tensor.name] = {{"dtype", tensor.type == ElementType::f32 ? "F32" : "I64"},
                           {"shape", tensor.shape},
                           {"data_offsets", {begin, begin + bytes_of(tensor).size()}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');
  return text;
}

void insert_checksum(std::string& header, const std::vector<const FileTensor*>& order) {
  std::uint64_t hash = hash_header(header);
  for (const FileTensor* tensor : order) hash = hash_bytes(bytes_of(*tensor), hash);
  const std::size_t digits = header.find(kChecksumOpening) + kChecksumOpening.size();
  header.replace(digits, kChecksumDigits, checksum_text(hash));
}

}  // namespace

void write_tensor_file(const std::filesystem::path& path, const TensorFile& file) {
  check_tensors(file);
  const std::vector<const FileTensor*> order = data_order(file);
  std::string header;
  try {
    header = build_header(file, order);
  } catch (const nlohmann::json::exception&) {
    throw DataError(Fault{.doing = "describing the tensors of " + path.string(),
                          .expected = "names and metadata in UTF-8",
                          .found = "other bytes",
                          .remedy = "paths and names without such bytes"});
  }
  insert_checksum(header, order);

  AtomicFile destination(path);
  const std::uint64_t length = header.size();
  destination.write(std::as_bytes(std::span(&length, 1)));
  destination.write(std::as_bytes(std::span(header)));
  for (const FileTensor* tensor : order) destination.write(bytes_of(*tensor));
  destination.commit();
}

}  // namespace dtrain
