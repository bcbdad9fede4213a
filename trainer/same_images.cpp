// Comparing data sets over ranks; see same_images.hpp.
#include "trainer/same_images.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <span>
#include <string_view>
#include <vector>

#include "collectives/agreement.hpp"
#include "dtrain/error.hpp"
#include "dtrain/parameters.hpp"

namespace dtrain {
namespace {

constexpr std::string_view kMark = "names:";

bool are_equal(const std::vector<std::string>& texts) {
  return std::ranges::all_of(texts, [&](const std::string& text) { return text == texts.front(); });
}

/// "dots/0003.jpg in class 4, dots"; past the end: "none".
std::string image_text(const Dataset* dataset, const std::string& folder, std::int64_t sample) {
  if (dataset == nullptr || sample >= dataset->size()) return "none";
  std::string name = dataset->sample_name(sample);
  if (!folder.empty() && name.starts_with(folder))
    name.erase(0, std::min(name.find_first_not_of('/', folder.size()), name.size()));
  const std::int32_t label = dataset->label(sample);
  return name + " in class " + std::to_string(label) + ", " + dataset->class_names()[static_cast<std::size_t>(label)];
}

/// The first sample that is not the same on all ranks, by halving: about 20 exchanges for a million. Collective.
std::int64_t first_difference(const Dataset* dataset, const std::string& folder, const Communicator& communicator) {
  const double own_size = dataset != nullptr ? static_cast<double>(dataset->size()) : 0.0;
  std::int64_t same = 0;  // so many are the same
  auto limit = static_cast<std::int64_t>(communicator.min(own_size));
  while (same < limit) {
    const std::int64_t middle = same + (limit - same + 1) / 2;
    std::uint64_t hash = 0;
    for (std::int64_t i = same; i < middle; ++i) {
      const std::string text = image_text(dataset, folder, i);
      hash = hash_bytes(std::as_bytes(std::span(text)), hash);
    }
    if (are_equal(communicator.gather_texts(std::to_string(hash)))) {
      same = middle;
    } else {
      limit = middle - 1;
    }
  }
  return same;
}

}  // namespace

std::string digest_text(const Dataset& dataset) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(dataset.digest()));
  return std::string(kMark) + text.data();
}

bool is_digest_text(const std::string& text) { return text.starts_with(kMark); }

void require_same_images(const std::string& purpose, const Dataset* dataset, const std::string& folder,
                         const Communicator& communicator) {
  if (are_equal(communicator.gather_texts(dataset != nullptr ? digest_text(*dataset) : "none"))) return;
  std::string root = folder;
  while (root.size() > 1 && root.ends_with('/')) root.pop_back();
  const std::int64_t sample = first_difference(dataset, root, communicator);
  const RankValues own{.host = host_name(),
                       .values = {{"images", std::to_string(dataset != nullptr ? dataset->size() : 0)},
                                  {"image " + std::to_string(sample), image_text(dataset, root, sample)}}};
  std::vector<RankValues> ranks;
  for (const std::string& text : communicator.gather_texts(to_text(own))) {
    ranks.push_back(read_rank_values(text, communicator.job_rank(static_cast<int>(ranks.size()))));
  }
  const std::string differences = describe_differences(ranks);
  throw DataError(Fault{.doing = "comparing the images for " + purpose + " of the ranks",
                        .expected = "the same names in the same class folders on every rank",
                        .found = differences.empty() ? "other class folders, without images" : differences,
                        .remedy = "one copy of the data for all hosts, or copies that are the same"});
}

}  // namespace dtrain
