// Writes a safetensors file whose tensors are never in memory as a whole: outlines first, then their bytes in pieces.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dtrain/checkpoint.hpp"

namespace dtrain {

/// A tensor whose elements follow later.
struct TensorOutline {
  std::string name;
  Shape shape;
  ElementType type = ElementType::f32;
};

class TensorFileWriter {
 public:
  /// Begins the file beside its destination, as write_tensor_file does. Errors (here and below): DataError; the destination is
  /// as before.
  TensorFileWriter(const std::filesystem::path& path, const std::vector<TensorOutline>& tensors,
                   const std::map<std::string, std::string>& metadata);
  TensorFileWriter(const TensorFileWriter&) = delete;
  /// Removes what is written unless it was committed.
  ~TensorFileWriter();

  /// The next bytes of the data: all I64 tensors, then all F32 tensors, each in the order of the outlines. A piece may end
  /// anywhere.
  void write(std::span<const std::byte> bytes);
  /// All data have been written: completes the checksum and puts the file in its place.
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dtrain
