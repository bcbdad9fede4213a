// Broadcast of tensor files; see shared_reading.hpp.
#include "trainer/shared_reading.hpp"

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "trainer/on_root.hpp"

namespace dtrain {
namespace {

/// 512 ranks' statistics of a ResNet-50 are 100 MB.
bool is_for_root_alone(const FileTensor& tensor) { return tensor.name.starts_with(kRankStatisticsPrefix); }

/// All but the values of the tensors, as CBOR, whose texts need not be UTF-8.
std::string outline_of(const TensorFile& file) {
  nlohmann::json outline{{"metadata", nlohmann::json::object()}, {"tensors", nlohmann::json::array()}};
  for (const auto& [key, value] : file.metadata) outline["metadata"][key] = value;
  for (const FileTensor& tensor : file.tensors) {
    if (is_for_root_alone(tensor)) continue;
    outline["tensors"].push_back(
        {tensor.name, tensor.shape, static_cast<int>(tensor.type), tensor.stored_type, tensor.f32.size(), tensor.i64.size()});
  }
  std::string bytes;
  nlohmann::json::to_cbor(outline, bytes);
  return bytes;
}

/// The file of an outline, with room for the values.
TensorFile outlined_file(const std::string& bytes) {
  const nlohmann::json outline = nlohmann::json::from_cbor(bytes);
  TensorFile file;
  for (const auto& [key, value] : outline.at("metadata").items()) file.metadata[key] = value.get<std::string>();
  for (const nlohmann::json& entry : outline.at("tensors")) {
    FileTensor tensor{.name = entry.at(0).get<std::string>(),
                      .shape = entry.at(1).get<Shape>(),
                      .type = static_cast<ElementType>(entry.at(2).get<int>())};
    tensor.stored_type = entry.at(3).get<std::string>();
    tensor.f32.resize(entry.at(4).get<std::size_t>());
    tensor.i64.resize(entry.at(5).get<std::size_t>());
    file.tensors.push_back(std::move(tensor));
  }
  return file;
}

}  // namespace

TensorFile read_on_root(const std::filesystem::path& path, const Communicator& communicator) {
  TensorFile file;
  on_root(communicator, [&] { file = read_tensor_file(path); });
  if (communicator.size() == 1) return file;
  const std::string outline = communicator.broadcast_text(communicator.is_root() ? outline_of(file) : "");
  if (!communicator.is_root()) file = outlined_file(outline);
  for (FileTensor& tensor : file.tensors) {
    if (is_for_root_alone(tensor)) continue;
    communicator.broadcast(std::as_writable_bytes(std::span(tensor.f32)));
    communicator.broadcast(std::as_writable_bytes(std::span(tensor.i64)));
  }
  return file;
}

}  // namespace dtrain
