// Compares what the ranks were given with what rank 0 was given.
#include "collectives/agreement.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <iterator>
#include <optional>

#include "dtrain/error.hpp"

namespace dtrain {

namespace {

/// "5:hello": texts with their length, so that any bytes may occur in them.
void append_text(std::string& all, const std::string& text) { all += std::to_string(text.size()) + ":" + text; }

/// None: append_text did not write this.
std::optional<std::string> take_text(const std::string& all, std::size_t& position) {
  std::size_t length = 0;
  const char* const end = all.data() + all.size();
  const auto [colon, fault] = std::from_chars(all.data() + std::min(position, all.size()), end, length);
  if (fault != std::errc{} || colon == end || *colon != ':' || length >= static_cast<std::size_t>(end - colon))
    return std::nullopt;
  position = static_cast<std::size_t>(colon + 1 - all.data()) + length;
  return std::string(colon + 1, length);
}

/// About 60 characters around position `at`, quoted.
std::string excerpt(const std::string& text, std::size_t at) {
  constexpr std::size_t kBefore = 24;
  constexpr std::size_t kLength = 64;
  const std::size_t begin = at > kBefore ? at - kBefore : 0;
  std::string quoted = begin > 0 ? "\"…" : "\"";
  quoted += text.substr(std::min(begin, text.size()), kLength);
  return quoted + (text.size() > begin + kLength ? "…\"" : "\"");
}

/// Distinct hosts in order of appearance; the first eight by name.
std::string host_list(const std::vector<RankValues>& ranks) {
  std::vector<std::string> hosts;
  for (const RankValues& rank : ranks) {
    if (std::find(hosts.begin(), hosts.end(), rank.host) == hosts.end()) hosts.push_back(rank.host);
  }
  std::string text = hosts.size() == 1 ? "host " : "hosts ";
  for (std::size_t i = 0; i < hosts.size() && i < 8; ++i) text += (i > 0 ? ", " : "") + hosts[i];
  if (hosts.size() > 8) text += " and " + std::to_string(hosts.size() - 8) + " more";
  return text;
}

/// Sentence about one value; `of(rank)` is that rank's text. Empty when all are equal.
template <typename TextOf>
std::string describe_one(const std::vector<RankValues>& ranks, const std::string& name, const TextOf& of) {
  const std::string expected = of(ranks.front());
  std::vector<RankValues> differing;
  std::ranges::copy_if(ranks, std::back_inserter(differing), [&](const RankValues& rank) { return of(rank) != expected; });
  if (differing.empty()) return {};
  const RankValues& first = differing.front();
  const std::string found = of(first);
  std::vector<int> numbers;
  std::ranges::transform(differing, std::back_inserter(numbers), &RankValues::rank);
  const std::size_t at = static_cast<std::size_t>(
      std::mismatch(expected.begin(), expected.end(), found.begin(), found.end()).first - expected.begin());
  return name + ": " + excerpt(expected, at) + " on rank " + std::to_string(ranks.front().rank) + " (host " +
         ranks.front().host + ") but " + excerpt(found, at) + " on rank " + std::to_string(first.rank) + " (host " +
         first.host + "); ranks that differ: " + to_rank_list(numbers) + " (" + host_list(differing) + ")";
}

std::string names_of(const RankValues& rank) {
  if (rank.values.empty()) return "words of another version";
  std::string names;
  for (const Communicator::NamedValue& value : rank.values) names += value.name + " ";
  return names;
}

}  // namespace

std::string to_text(const RankValues& rank_values) {
  std::string text;
  append_text(text, rank_values.host);
  for (const Communicator::NamedValue& value : rank_values.values) {
    append_text(text, value.name);
    append_text(text, value.value);
  }
  return text;
}

RankValues read_rank_values(const std::string& text, int rank) {
  const RankValues foreign{.rank = rank, .host = "unknown", .values = {}};
  std::size_t position = 0;
  const auto host = take_text(text, position);
  if (!host) return foreign;
  RankValues rank_values{.rank = rank, .host = *host, .values = {}};
  while (position < text.size()) {
    const auto name = take_text(text, position);
    const auto value = take_text(text, position);
    if (!name || !value) return foreign;
    rank_values.values.push_back({.name = *name, .value = *value});
  }
  return rank_values;
}

std::string to_rank_list(const std::vector<int>& ranks) {
  std::string text;
  for (std::size_t i = 0; i < ranks.size();) {
    std::size_t last = i;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    text += (i > 0 ? ", " : "") + std::to_string(ranks[i]);
    if (last > i) text += (last == i + 1 ? ", " : "–") + std::to_string(ranks[last]);
    i = last + 1;
  }
  return text;
}

std::string describe_differences(const std::vector<RankValues>& ranks) {
  check(!ranks.empty(), "describe_differences: at least one rank");
  // Ranks of different versions, or with different commands, compare different things; then their values do not correspond,
  // but for the first, where all have it: it may say why.
  std::string names = describe_one(ranks, "what is compared", names_of);
  if (!names.empty()) {
    const auto name_of = [](const RankValues& rank) { return rank.values.empty() ? "" : rank.values.front().name; };
    const std::string name = name_of(ranks.front());
    if (!std::ranges::all_of(ranks, [&](const RankValues& rank) { return name_of(rank) == name; }) || name.empty())
      return names;
    const std::string why = describe_one(ranks, name, [](const RankValues& rank) { return rank.values.front().value; });
    return why.empty() ? names : why;
  }

  std::string text;
  for (std::size_t i = 0; i < ranks.front().values.size(); ++i) {
    const std::string one =
        describe_one(ranks, ranks.front().values[i].name, [i](const RankValues& rank) { return rank.values[i].value; });
    if (!one.empty()) text += (text.empty() ? "" : "; ") + one;
  }
  return text;
}

}  // namespace dtrain
