// Texts of preprocessing; see preprocessing.hpp.
#include "dtrain/preprocessing.hpp"

#include <charconv>

namespace dtrain {

std::string shortest_text(float value) {
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  return {buffer.data(), end};
}

std::string to_text(Interpolation interpolation) {
  switch (interpolation) {
    case Interpolation::bilinear:
      return "bilinear";
    case Interpolation::bicubic:
      return "bicubic";
    case Interpolation::nearest:
      break;
  }
  return "nearest";
}

std::optional<Interpolation> parse_interpolation(std::string_view name) {
  for (const Interpolation interpolation : {Interpolation::bilinear, Interpolation::bicubic, Interpolation::nearest}) {
    if (name == to_text(interpolation)) return interpolation;
  }
  return std::nullopt;
}

std::string to_text(const std::array<float, 3>& channels) {
  return shortest_text(channels[0]) + ", " + shortest_text(channels[1]) + ", " + shortest_text(channels[2]);
}

std::string to_text(const Preprocessing& preprocessing) {
  return "resize " + std::to_string(preprocessing.resize) + " (" + to_text(preprocessing.interpolation) + "), crop " +
         std::to_string(preprocessing.crop) + ", mean " + to_text(preprocessing.mean) + ", std " +
         to_text(preprocessing.stddev);
}

}  // namespace dtrain
