// Finds the layers of each bucket; see bucket_names.hpp.
#include "trainer/bucket_names.hpp"

#include <algorithm>

namespace dtrain {
namespace {

/// "layer4.2.conv3" of "layer4.2.conv3.weight".
std::string layer_of(const Slot& slot) { return slot.spec.name.substr(0, slot.spec.name.rfind('.')); }

std::string contents_of(const Range& bucket, const std::vector<Slot>& slots) {
  const Slot* first = nullptr;
  const Slot* last = nullptr;
  std::int64_t end = 0;  // of the arena's last slot
  for (const Slot& slot : slots) {
    end = std::max(end, slot.offset + slot.size);
    if (slot.offset >= bucket.end || slot.offset + slot.size <= bucket.begin) continue;
    if (first == nullptr || slot.offset < first->offset) first = &slot;
    if (last == nullptr || slot.offset > last->offset) last = &slot;
  }
  std::string text;
  if (first != nullptr) {
    text = layer_of(*last);
    if (layer_of(*first) != text) text += " … " + layer_of(*first);
  }
  if (bucket.end > end) text += (text.empty() ? "" : " and ") + std::string("the step's sums");
  return text;
}

}  // namespace

std::vector<std::string> bucket_names(const std::vector<Range>& buckets, const std::vector<Slot>& trained_slots,
                                      const AlgorithmTable& algorithms) {
  std::vector<std::string> names;
  for (const Range& bucket : buckets) {
    const std::int64_t bytes = bucket.size() * static_cast<std::int64_t>(sizeof(float));
    names.push_back("bucket " + std::to_string(names.size() + 1) + " of " + std::to_string(buckets.size()) + " (" +
                    contents_of(bucket, trained_slots) + ", " + std::to_string(bytes) + " bytes) by " +
                    to_text(algorithms.choose(bytes)));
  }
  return names;
}

}  // namespace dtrain
