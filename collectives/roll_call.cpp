// The table of answers and fates; see roll_call.hpp.
#include "collectives/roll_call.hpp"

#include <algorithm>
#include <limits>

#include "dtrain/error.hpp"

namespace dtrain {

namespace {

constexpr std::uint32_t kActivityBits = 2;
constexpr std::uint32_t kActivities = (1U << kActivityBits) - 1;

/// Counts from here on are fates: a billion answers take decades.
constexpr std::uint32_t kFates = std::numeric_limits<std::uint32_t>::max() - static_cast<std::uint32_t>(Fate::ended);

}  // namespace

RollCall::RollCall(int rank, int size)
    : rank_(rank),
      table_(static_cast<std::size_t>(size), 0),
      heard_at_s_(static_cast<std::size_t>(size), -std::numeric_limits<double>::infinity()) {
  check(rank >= 0 && rank < size, "RollCall: 0 <= rank < size");
}

std::vector<int> RollCall::neighbours(int rank, int size) {
  std::vector<int> ranks;
  for (std::int64_t distance = 1; distance < size; distance *= 2) {
    ranks.push_back(static_cast<int>((rank + distance) % size));
    ranks.push_back(static_cast<int>((rank + size - distance) % size));
  }
  std::sort(ranks.begin(), ranks.end());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return ranks;
}

const char* to_text(Activity activity) {
  switch (activity) {
    case Activity::reads:
      return "waits for images";
    case Activity::saves:
      return "saves a file";
    default:
      return "waits for other ranks";
  }
}

void RollCall::answer(double now_s, Activity activity) {
  const auto own = static_cast<std::size_t>(rank_);
  heard_at_s_[own] = now_s;
  const std::uint32_t next = (((table_[own] >> kActivityBits) + 1) << kActivityBits) + static_cast<std::uint32_t>(activity);
  if (table_[own] < kFates && next < kFates) table_[own] = next;
}

Activity RollCall::activity(int rank) const {
  const std::uint32_t entry = table_[static_cast<std::size_t>(rank)];
  return entry < kFates ? static_cast<Activity>(entry & kActivities) : Activity::waits;
}

void RollCall::mark(int rank, Fate fate) {
  std::uint32_t& entry = table_[static_cast<std::size_t>(rank)];
  if (fate != Fate::unknown) entry = std::max(entry, kFates + static_cast<std::uint32_t>(fate));
}

bool RollCall::merge(std::span<const std::uint32_t> table, double now_s) {
  check(table.size() == table_.size(), "RollCall::merge: tables of the same ranks");
  bool is_news = false;
  for (std::size_t rank = 0; rank < table.size(); ++rank) {
    if (table[rank] <= table_[rank]) continue;
    table_[rank] = table[rank];
    heard_at_s_[rank] = now_s;
    is_news = true;
  }
  return is_news;
}

Fate RollCall::fate(int rank) const {
  const std::uint32_t entry = table_[static_cast<std::size_t>(rank)];
  return entry > kFates ? static_cast<Fate>(entry - kFates) : Fate::unknown;
}

bool RollCall::was_heard(int rank, double since_s) const {
  return rank == rank_ || heard_at_s_[static_cast<std::size_t>(rank)] >= since_s;
}

bool RollCall::was_anybody_heard(double since_s) const {
  for (int rank = 0; rank < size(); ++rank) {
    if (rank != rank_ && was_heard(rank, since_s)) return true;
  }
  return false;
}

bool RollCall::has_given_up() const {
  for (int rank = 0; rank < size(); ++rank) {
    if (rank != rank_ && fate(rank) >= Fate::silent) return true;
  }
  return false;
}

}  // namespace dtrain
