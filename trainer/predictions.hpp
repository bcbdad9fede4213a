// What a network took each picture for: accuracy of single classes, and which classes it takes for which.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"

namespace dtrain {

struct Prediction {
  std::int32_t label = 0;        ///< of the data set: a folder
  std::int32_t most_likely = 0;  ///< of the network's classes; −1: its outputs are not finite
};

/// Those of all ranks, in the order of the ranks, on the root; none elsewhere. Collective. Cost: 8 bytes a picture.
std::vector<Prediction> gather_predictions(const std::vector<Prediction>& mine, const Communicator& communicator);

/// A name for each of the network's classes: that of the folder that stands for it, else the one in `known`, else "class 17".
/// class_indices: the class of each folder; empty: folder k is class k. known: of class 0, 1, …; may end early.
std::vector<std::string> names_of_outputs(const std::vector<std::string>& folders, std::span<const std::int32_t> class_indices,
                                          std::int64_t num_classes, const std::vector<std::string>& known = {});

struct ClassAccuracy {
  std::int64_t samples = 0;
  std::int64_t top1 = 0;
  std::int64_t left_out = 0;  ///< images that cannot be read: not among the samples
};

/// One for each folder. class_indices: as above.
std::vector<ClassAccuracy> accuracy_by_class(const std::vector<Prediction>& predictions, std::size_t folders,
                                             std::span<const std::int32_t> class_indices);

/// Comma-separated counts of pictures: a row for each folder, a column for each of the network's classes, their names in the
/// first column and line (RFC 4180: in quotes where they have commas, quotes or line ends). Pictures without a most likely
/// class are in no column.
void write_confusion(std::ostream& file, const std::vector<Prediction>& predictions, const std::vector<std::string>& folders,
                     const std::vector<std::string>& outputs);

}  // namespace dtrain
