// The logits of an evaluation: kept by each rank for its own images, written by the root in pieces.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "collectives/gather_pieces.hpp"
#include "trainer/evaluation.hpp"

namespace dtrain {

class LogitsFile {
 public:
  /// samples: at most as many of this rank.
  LogitsFile(std::int64_t samples, std::int64_t num_classes);
  /// What a rank keeps.
  static std::size_t bytes(std::int64_t samples, std::int64_t num_classes);

  void add(const EvaluatedBatch& batch);

  /// Tensors "logits" (rows, classes) and "samples" (rows): a row for each image that could be read, in the order of the data
  /// set, and its number there, from 0. Images that cannot be read have no row; metadata "dtrain.left_out" has their numbers.
  /// The root keeps a piece of the others' rows at a time. rows: of all ranks. Collective. Errors: DataError, on the root.
  void write(const std::filesystem::path& path, const std::string& model, const DamagedImages& left_out, std::int64_t rows,
             const Communicator& communicator, std::size_t piece_bytes = kPieceBytes) const;

 private:
  std::int64_t num_classes_;
  std::vector<float> logits_;
  std::vector<std::int64_t> samples_;
};

}  // namespace dtrain
