// Random pictures with random labels, for measurements without files.
#include <array>
#include <span>
#include <string>
#include <utility>

#include "dtrain/data.hpp"
#include "dtrain/error.hpp"
#include "dtrain/random.hpp"
#include "src/running_hash.hpp"

namespace dtrain {
namespace {

constexpr std::int64_t kPoolSize = 64;
enum : std::uint64_t { kPixels = 1, kLabels = 2 };  // third key of the random streams

Picture random_picture(const SyntheticOptions& options, std::int64_t index) {
  Picture picture{options.image_size, options.image_size, {}};
  picture.rgb.resize(static_cast<std::size_t>(options.image_size * options.image_size * 3));
  Random random(options.seed, RandomPurpose::synthetic_pictures, {kPixels, static_cast<std::uint64_t>(index)});
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < picture.rgb.size(); ++i) {
    bits = i % 8 == 0 ? random.next() : bits >> 8;
    picture.rgb[i] = static_cast<std::uint8_t>(bits);
  }
  return picture;
}

class SyntheticDataset final : public Dataset {
 public:
  explicit SyntheticDataset(const SyntheticOptions& options) : options_(options) {
    for (std::int64_t c = 0; c < options.num_classes; ++c) class_names_.push_back("class" + std::to_string(c));
    for (std::size_t i = 0; i < pool_.size(); ++i) pool_[i] = random_picture(options, static_cast<std::int64_t>(i));
  }

  std::int64_t size() const override { return options_.size; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::int32_t label(std::int64_t sample) const override {
    Random random(options_.seed, RandomPurpose::synthetic_pictures, {kLabels, static_cast<std::uint64_t>(sample)});
    return static_cast<std::int32_t>(random.below(options_.num_classes));
  }
  std::string sample_name(std::int64_t sample) const override { return "synthetic picture " + std::to_string(sample); }
  std::uint64_t digest() const override {
    const std::array<std::uint64_t, 5> what{
        static_cast<std::uint64_t>(RandomPurpose::synthetic_pictures), static_cast<std::uint64_t>(options_.size),
        static_cast<std::uint64_t>(options_.num_classes), static_cast<std::uint64_t>(options_.image_size), options_.seed};
    RunningHash hash;
    hash.absorb(std::as_bytes(std::span(what)));
    return hash.value(0);
  }
  PictureSize picture_size(std::int64_t) const override { return {options_.image_size, options_.image_size}; }
  void decode(std::int64_t sample, const DecodeHint&, Picture& picture) const override {
    picture = pool_[static_cast<std::size_t>(sample % kPoolSize)];
  }

 private:
  SyntheticOptions options_;
  std::vector<std::string> class_names_;
  std::array<Picture, kPoolSize> pool_;
};

}  // namespace

std::unique_ptr<Dataset> make_synthetic(const SyntheticOptions& options) {
  check(options.size >= 1 && options.num_classes >= 1 && options.image_size >= 1, "synthetic extents are positive");
  return std::make_unique<SyntheticDataset>(options);
}

}  // namespace dtrain
