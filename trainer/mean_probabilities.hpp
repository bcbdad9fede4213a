// What several networks say together of the same pictures: the mean of their probabilities, and how often they say the same.
// One network after the other adds its logits; knows nothing of ranks and files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "dtrain/loss.hpp"

namespace dtrain {

/// The class with the largest logit or probability (ties: the lowest class); −1 where one of them is not a number or the
/// largest is not finite.
std::int32_t most_likely(std::span<const float> scores);

/// Counts over pictures; additive over ranks.
struct AgreementCounts {
  std::int64_t pairs = 0;  ///< pairs of members, over all pictures, whose most likely class is the same
  std::int64_t all = 0;    ///< pictures of which all members have the same most likely class
};

class MeanProbabilities {
 public:
  /// samples: at most as many are added.
  MeanProbabilities(std::int64_t num_classes, std::int64_t samples, std::size_t members);
  /// What one of these takes: 4 bytes a picture and class, and 4 a picture and member.
  static std::size_t bytes(std::int64_t num_classes, std::int64_t samples, std::size_t members);

  /// The next member begins with the first picture.
  void begin_member();
  /// logits (classes.size(), num_classes) row-major: of the next pictures, the same ones in the same order for each member.
  /// classes: what the pictures show.
  void add(std::span<const float> logits, std::span<const std::int32_t> classes);

  // After the last member:
  std::int64_t samples() const { return static_cast<std::int64_t>(classes_.size()); }
  /// The loss is −log of the mean probability of the picture's class, to the precision of a double.
  LossSums sums() const;
  AgreementCounts agreement() const;
  /// Of the mean.
  std::int32_t most_likely_of(std::int64_t sample) const;

 private:
  std::span<const float> row(std::size_t sample) const { return std::span(sums_).subspan(sample * num_classes_, num_classes_); }

  std::size_t num_classes_;
  std::size_t members_;
  std::size_t begun_ = 0;                  ///< members
  std::size_t position_ = 0;               ///< pictures that the present member has added
  std::vector<std::int32_t> classes_;      ///< per picture
  std::vector<float> sums_;                ///< of probabilities, (pictures, classes)
  std::vector<double> log_sums_;           ///< per picture, log of the sum for its class: does not run out of small numbers
  std::vector<std::int32_t> most_likely_;  ///< of each member, (pictures, members)
};

}  // namespace dtrain
