// How images become what a network sees, as values: they belong to its weights.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dtrain {

/// Filter with which images are resized; each equals PIL's of that name.
enum class Interpolation { bilinear, bicubic, nearest };
std::string to_text(Interpolation interpolation);
/// Empty: no such filter.
std::optional<Interpolation> parse_interpolation(std::string_view name);

/// How images are prepared for evaluation: shorter side resized, centre cropped, normalised. It belongs to the weights.
struct Preprocessing {
  std::int64_t resize = 256;  ///< shorter side, pixels
  std::int64_t crop = 224;    ///< side of what the network sees, pixels
  Interpolation interpolation = Interpolation::bilinear;
  std::array<float, 3> mean{0.485f, 0.456f, 0.406f};  ///< of values in [0, 1], RGB
  std::array<float, 3> stddev{0.229f, 0.224f, 0.225f};
  bool operator==(const Preprocessing&) const = default;
};

/// The fewest digits that read back as the same number.
std::string shortest_text(float value);
/// "0.485, 0.456, 0.406".
std::string to_text(const std::array<float, 3>& channels);
/// "resize 256 (bilinear), crop 224, mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225".
std::string to_text(const Preprocessing& preprocessing);

}  // namespace dtrain
