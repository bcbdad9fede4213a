// Cards to metadata and back; see weights_card.hpp.
#include "dtrain/weights_card.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "dtrain/models.hpp"
#include "src/tensor_format.hpp"

namespace dtrain {
namespace {

constexpr const char* kModel = "model";
constexpr const char* kClassNames = "class_names";
constexpr const char* kResize = "resize";
constexpr const char* kCrop = "crop";
constexpr const char* kInterpolation = "interpolation";
constexpr const char* kMean = "mean";
constexpr const char* kStddev = "std";
constexpr std::array<const char*, 5> kPreprocessing{kResize, kCrop, kInterpolation, kMean, kStddev};
constexpr const char* kLearningRate = "learning_rate";

std::string list_text(const std::array<float, 3>& values) { return "[" + to_text(values) + "]"; }

/// Reads one file's metadata.
class CardReader {
 public:
  explicit CardReader(const TensorFile& file) : metadata_(file.metadata) {}

  bool has(const char* key) const { return metadata_.contains(key); }

  /// Or a part of it.
  bool has_preprocessing() const {
    return std::ranges::any_of(kPreprocessing, [&](const char* key) { return has(key); });
  }

  std::string text(const char* key) const { return metadata_.at(key); }

  std::vector<std::string> names() const {
    const nlohmann::json json = parsed(kClassNames);
    if (!json.is_array()) refuse(kClassNames, "a JSON list of texts");
    std::vector<std::string> names;
    for (const nlohmann::json& name : json) {
      if (!name.is_string()) refuse(kClassNames, "a JSON list of texts");
      names.push_back(name.get<std::string>());
    }
    return names;
  }

  Preprocessing preprocessing() const {
    for (const char* key : kPreprocessing) {
      if (!has(key)) refuse(key, "resize, crop, interpolation, mean and std together");
    }
    const std::optional<Interpolation> interpolation = parse_interpolation(text(kInterpolation));
    if (!interpolation) refuse(kInterpolation, "bilinear, bicubic or nearest");
    Preprocessing result{.resize = side(kResize, 0),
                         .crop = side(kCrop, 1),
                         .interpolation = *interpolation,
                         .mean = channels(kMean),
                         .stddev = channels(kStddev)};
    for (const float value : result.stddev) {
      if (value <= 0.0f) refuse(kStddev, "three numbers above 0");
    }
    return result;
  }

  double number(const char* key) const {
    const nlohmann::json json = parsed(key);
    if (!json.is_number() || !std::isfinite(json.get<double>())) refuse(key, "a number");
    return json.get<double>();
  }

 private:
  [[noreturn]] void refuse(const char* key, const std::string& expected) const {
    throw DataError(Fault{.doing = std::string("reading ") + key + " from the metadata of a file of weights",
                          .expected = expected,
                          .found = has(key) ? "'" + text(key) + "'" : "none",
                          .remedy = "the file as it was written"});
  }

  nlohmann::json parsed(const char* key) const { return nlohmann::json::parse(text(key), nullptr, false); }

  std::int64_t side(const char* key, std::int64_t lowest) const {
    const nlohmann::json json = parsed(key);
    const bool is_side =
        json.is_number_integer() && json.get<std::int64_t>() >= lowest && json.get<std::int64_t>() <= kLargestSide;
    if (!is_side) refuse(key, "a whole number of pixels");
    return json.get<std::int64_t>();
  }

  std::array<float, 3> channels(const char* key) const {
    const nlohmann::json json = parsed(key);
    if (!json.is_array() || json.size() != 3) refuse(key, "three numbers");
    std::array<float, 3> values{};
    for (std::size_t c = 0; c < values.size(); ++c) {
      if (!json[c].is_number() || !std::isfinite(json[c].get<float>())) refuse(key, "three numbers");
      values[c] = json[c].get<float>();
    }
    return values;
  }

  const std::map<std::string, std::string>& metadata_;
};

/// Bytes of the UTF-8 character at the front; 0: none is there. Source: RFC 3629, §4.
std::size_t character_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto follows = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    return follows(1, first == 0xE0 ? 0xA0 : 0x80, first == 0xED ? 0x9F : 0xBF) && follows(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    return follows(1, first == 0xF0 ? 0x90 : 0x80, first == 0xF4 ? 0x8F : 0xBF) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

namespace {

template <typename Take>
void take_if_readable(WeightsCard& card, const Take& take) {
  try {
    take();
  } catch (const DataError& error) {
    card.unread.emplace_back(error.what());
  }
}

}  // namespace

WeightsCard card_of(const TensorFile& file) {
  const CardReader reader(file);
  WeightsCard card;
  if (reader.has(kModel)) card.model = reader.text(kModel);
  if (!reader.has(kVersionKey.data())) {
    // Another program's file, or one of ours that it has written anew: what reads as ours is taken, the rest means something
    // else.
    take_if_readable(card, [&] {
      if (reader.has(kClassNames)) card.class_names = reader.names();
    });
    take_if_readable(card, [&] {
      if (reader.has_preprocessing()) card.preprocessing = reader.preprocessing();
    });
    return card;
  }
  if (reader.has(kClassNames)) card.class_names = reader.names();
  if (reader.has(kMean)) card.preprocessing = reader.preprocessing();
  if (reader.has(kLearningRate)) card.learning_rate = reader.number(kLearningRate);
  return card;
}

void put_card(const WeightsCard& card, TensorFile& file) {
  if (!card.model.empty()) file.metadata[kModel] = card.model;
  if (!card.class_names.empty()) file.metadata[kClassNames] = nlohmann::json(card.class_names).dump();
  if (card.learning_rate) file.metadata[kLearningRate] = shortest_text(static_cast<float>(*card.learning_rate));
  if (!card.preprocessing) return;
  const Preprocessing& preprocessing = *card.preprocessing;
  file.metadata[kResize] = std::to_string(preprocessing.resize);
  file.metadata[kCrop] = std::to_string(preprocessing.crop);
  file.metadata[kInterpolation] = to_text(preprocessing.interpolation);
  file.metadata[kMean] = list_text(preprocessing.mean);
  file.metadata[kStddev] = list_text(preprocessing.stddev);
}

std::string class_name_of(std::string_view folder) {
  std::string name;
  while (!folder.empty()) {
    const std::size_t bytes = character_bytes(folder);
    if (bytes > 0) {
      name += folder.substr(0, bytes);
    } else {
      std::array<char, 5> escape{};
      std::snprintf(escape.data(), escape.size(), "\\x%02X", static_cast<unsigned>(static_cast<unsigned char>(folder.front())));
      name += escape.data();
    }
    folder.remove_prefix(std::max<std::size_t>(bytes, 1));
  }
  return name;
}

}  // namespace dtrain
