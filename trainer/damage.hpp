// Damaged images as all ranks together see them: distinct ones, counted alike whatever the number of ranks. Training replaces
// them, evaluation leaves them out; neither is decided here.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "dtrain/data.hpp"

namespace dtrain {

/// What was met of one data set.
struct DamagedImages {
  std::vector<std::int64_t> samples;  ///< numbers in the data set, rising
  std::vector<std::string> names;     ///< of the first ten of them
  std::vector<std::string> messages;  ///< what is wrong with these
  std::int64_t count() const { return static_cast<std::int64_t>(samples.size()); }
};

/// What all ranks have met, on every rank. Collective.
DamagedImages gather_damaged(std::span<const DamagedSample> mine, const Dataset& dataset, const Communicator& communicator);

/// Errors: DataError: more than are allowed. doing: "training", "evaluating".
void require_few_damaged(const DamagedImages& damaged, std::int64_t max_damaged, const std::string& doing);

/// {"count": 2, "images": [paths of the first ten]}.
nlohmann::ordered_json damage_json(const DamagedImages& damaged);

/// ", 2 left out as unreadable"; nothing where none was.
std::string left_out_text(const DamagedImages& damaged);

/// Warns, on the root, of images that an evaluation left out. images: "validation".
void warn_of_left_out(const DamagedImages& damaged, const std::string& images, const Communicator& communicator);

/// Those of a run's training set, over all ranks, stages and resumptions.
///
/// Note [News of damage travels with the step]: a rank's loader tells what it met with which batch, which is a function of the
/// plan. How much of it is news to this rank travels with the step's sums; where any rank has some, all of them share it after
/// that step. All ranks then have the same set, which is that of one rank that had met all batches by itself. While nothing is
/// damaged, that costs one float a step.
class DamageRecord {
 public:
  /// All references outlive this.
  DamageRecord(const Dataset& dataset, std::int64_t max_damaged, const Communicator& communicator)
      : dataset_(dataset), max_damaged_(max_damaged), communicator_(communicator) {}

  /// This rank has met these.
  void met(std::span<const DamagedSample> damaged);
  /// How many of those are not known to all ranks.
  std::int64_t news() const { return static_cast<std::int64_t>(news_.size()); }
  /// Makes them known; the root warns of the first ten of the run. Collective. Errors: DataError on all ranks: more than are
  /// allowed.
  void share();

  /// Those of the run that is resumed; what can be read by now is forgotten. Collective. Errors: as share().
  void restore(const std::vector<std::int64_t>& samples);

  /// What all ranks know of.
  DamagedImages images() const;
  /// The root says how many there are; only_news: if there are more than last time.
  void sum_up(bool only_news);

 private:
  const Dataset& dataset_;
  std::int64_t max_damaged_;
  const Communicator& communicator_;
  std::vector<DamagedSample> news_;
  std::map<std::int64_t, std::string> known_;  ///< to all ranks, with what is wrong with it; empty where it was not told
  std::int64_t told_ = 0;
  std::int64_t summed_up_ = 0;
};

}  // namespace dtrain
