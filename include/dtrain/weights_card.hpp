// What belongs to weights beside their tensors: which class each output stands for, and how images become what the network
// sees. Files of weights keep it as metadata, so that nobody has to remember it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dtrain/preprocessing.hpp"

namespace dtrain {

struct TensorFile;

struct WeightsCard {
  std::string model;                             ///< empty: unknown
  std::vector<std::string> class_names{};        ///< of output 0, 1, …; may end before the outputs do; empty: unknown
  std::optional<Preprocessing> preprocessing{};  ///< of the images that the network expects
  std::optional<double> learning_rate{};         ///< of the last step before they were saved
  /// Why an entry of another program's file that has one of our names does not count: "reading mean from …: expected …".
  std::vector<std::string> unread{};
  bool operator==(const WeightsCard&) const = default;
};

/// What a file says of itself. Metadata: model; class_names: a JSON list of texts; resize, crop: whole numbers; interpolation:
/// a name; mean, std: JSON lists of three numbers; learning_rate: a number. The five of preprocessing stand together or not at
/// all. Errors: DataError: a file of dtrain's in which one of them is something else. Of other programs' files what
/// reads as this is taken; the rest may mean something else there, and is named in `unread`.
WeightsCard card_of(const TensorFile& file);
/// Puts a card into a file's metadata; what is unknown is left out.
void put_card(const WeightsCard& card, TensorFile& file);

/// A folder's name as cards have it: bytes that are no UTF-8, which JSON cannot hold, stand as \xNN.
std::string class_name_of(std::string_view folder);

}  // namespace dtrain
