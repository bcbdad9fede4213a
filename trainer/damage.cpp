// Gathering, counting and telling of damaged images; see damage.hpp.
#include "trainer/damage.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "dtrain/error.hpp"
#include "trainer/visible_text.hpp"

namespace dtrain {
namespace {

constexpr std::size_t kTold = 10;  ///< named to people; the others are counted

/// Of one rank, for the way between ranks: "number length message" of each; messages of the first kTold alone.
std::string packed(std::span<const DamagedSample> damaged) {
  std::string text;
  for (std::size_t i = 0; i < damaged.size(); ++i) {
    const std::string& message = i < kTold ? damaged[i].message : std::string();
    text += std::to_string(damaged[i].sample) + " " + std::to_string(message.size()) + " " + message;
  }
  return text;
}

std::vector<DamagedSample> unpacked(const std::string& text) {
  std::vector<DamagedSample> damaged;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t digits = 0;
    const std::int64_t sample = std::stoll(text.substr(at, 24), &digits);
    at += digits + 1;
    const std::size_t length = std::stoull(text.substr(at, 24), &digits);
    at += digits + 1;
    damaged.push_back({.sample = sample, .message = text.substr(at, length)});
    at += length;
  }
  return damaged;
}

DamagedImages images_of(const std::map<std::int64_t, std::string>& known, const Dataset& dataset) {
  DamagedImages images;
  for (const auto& [sample, message] : known) {
    images.samples.push_back(sample);
    if (images.names.size() == kTold) continue;
    images.names.push_back(dataset.sample_name(sample));
    images.messages.push_back(message);
  }
  return images;
}

}  // namespace

DamagedImages gather_damaged(std::span<const DamagedSample> mine, const Dataset& dataset, const Communicator& communicator) {
  std::map<std::int64_t, std::string> known;
  for (const std::string& text : communicator.gather_texts(packed(mine))) {
    for (DamagedSample& one : unpacked(text)) known.emplace(one.sample, std::move(one.message));
  }
  return images_of(known, dataset);
}

void require_few_damaged(const DamagedImages& damaged, std::int64_t max_damaged, const std::string& doing) {
  if (damaged.count() <= max_damaged) return;
  std::string examples;
  for (std::size_t i = 0; i < damaged.names.size(); ++i) {
    examples += "\n  " + visible_text(damaged.messages[i].empty() ? damaged.names[i] : damaged.messages[i]);
  }
  throw DataError(Fault{.doing = doing + ", over all ranks",
                        .expected = "at most " + counted(max_damaged, "damaged image"),
                        .found = std::to_string(damaged.count()) + " so far, for example" + examples + "\n  ",
                        .remedy = "restore these files from their source or delete them, or allow more (--max-damaged)"});
}

nlohmann::ordered_json damage_json(const DamagedImages& damaged) {
  return {{"count", damaged.count()}, {"images", damaged.names}};
}

std::string left_out_text(const DamagedImages& damaged) {
  return damaged.count() == 0 ? "" : ", " + std::to_string(damaged.count()) + " left out as unreadable";
}

void warn_of_left_out(const DamagedImages& damaged, const std::string& images, const Communicator& communicator) {
  if (damaged.count() == 0 || !communicator.is_root()) return;
  spdlog::warn("{} cannot be read, and left out of all figures:", counted(damaged.count(), "damaged " + images + " image"));
  for (const std::string& message : damaged.messages) spdlog::warn("  {}", message);
}

void DamageRecord::met(std::span<const DamagedSample> damaged) {
  for (const DamagedSample& one : damaged) {
    if (known_.contains(one.sample)) continue;
    // A new loader, as every stage has one, meets again what an earlier one met in the same step.
    if (std::ranges::find(news_, one.sample, &DamagedSample::sample) == news_.end()) news_.push_back(one);
  }
}

void DamageRecord::share() {
  const std::vector<std::string> texts = communicator_.gather_texts(packed(std::exchange(news_, {})));
  for (std::size_t rank = 0; rank < texts.size(); ++rank) {
    for (DamagedSample& one : unpacked(texts[rank])) {
      const auto [entry, is_new] = known_.emplace(one.sample, std::move(one.message));
      if (!is_new || told_ >= static_cast<std::int64_t>(kTold)) continue;
      ++told_;
      if (!communicator_.is_root()) continue;
      spdlog::warn("damaged training image, replaced by the next readable one (met by rank {}): {}",
                   communicator_.job_rank(static_cast<int>(rank)), entry->second);
      if (told_ == static_cast<std::int64_t>(kTold)) spdlog::warn("further damaged training images are counted, not named");
    }
  }
  require_few_damaged(images(), max_damaged_, "training");
}

void DamageRecord::restore(const std::vector<std::int64_t>& samples) {
  if (samples.empty()) return;
  std::vector<DamagedSample> mine;
  Picture picture;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (i % static_cast<std::size_t>(communicator_.size()) != static_cast<std::size_t>(communicator_.rank())) continue;
    if (samples[i] < 0 || samples[i] >= dataset_.size()) continue;
    try {
      dataset_.decode(samples[i], {}, picture);
    } catch (const DataError& damage) {
      mine.push_back({.sample = samples[i], .message = damage.what()});
    }
  }
  for (const std::string& text : communicator_.gather_texts(packed(mine))) {
    for (DamagedSample& one : unpacked(text)) known_.emplace(one.sample, std::move(one.message));
  }
  const DamagedImages left = images();
  summed_up_ = told_ = left.count();
  if (communicator_.is_root()) {
    const auto readable = static_cast<std::int64_t>(samples.size()) - left.count();
    spdlog::warn("the resumed run had met {}{}", counted(static_cast<std::int64_t>(samples.size()), "damaged training image"),
                 readable == 0 ? "" : "; " + std::to_string(readable) + " of them can be read now");
  }
  require_few_damaged(left, max_damaged_, "resuming");
}

DamagedImages DamageRecord::images() const { return images_of(known_, dataset_); }

void DamageRecord::sum_up(bool only_news) {
  const auto count = static_cast<std::int64_t>(known_.size());
  if (count == 0 || (only_news && count == summed_up_)) return;
  summed_up_ = count;
  if (!communicator_.is_root()) return;
  spdlog::warn("{} so far, each replaced by the next readable one (--max-damaged {})", counted(count, "damaged training image"),
               max_damaged_);
}

}  // namespace dtrain
