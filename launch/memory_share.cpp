// Reading /proc/meminfo and the memory files of control groups; see memory_share.hpp.
#include "launch/memory_share.hpp"

#include <algorithm>
#include <charconv>
#include <string>

#include "launch/cgroup.hpp"

namespace dtrain {
namespace {

/// The number at the beginning of a text, blanks skipped.
std::optional<std::size_t> leading_number(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  std::size_t number = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc{}) return std::nullopt;
  return number;
}

/// The number behind a key that begins a line.
std::optional<std::size_t> number_of(std::string_view text, std::string_view key) {
  for (auto at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1)) {
    if (at == 0 || text[at - 1] == '\n') return leading_number(text.substr(at + key.size()));
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::size_t> parse_available_memory(std::string_view meminfo) {
  const auto kilobytes = number_of(meminfo, "MemAvailable:");
  return kilobytes ? std::optional(*kilobytes * 1024) : std::nullopt;
}

std::optional<std::size_t> parse_cgroup_room(std::string_view limit, std::string_view usage, std::string_view stat) {
  const auto limit_bytes = leading_number(limit);
  const auto used_bytes = leading_number(usage);
  if (!limit_bytes || !used_bytes) return std::nullopt;
  // v1 counts the groups below in an entry of its own; v2 always does.
  const auto with_groups_below = number_of(stat, "total_inactive_file ");
  const std::size_t reclaimable = with_groups_below.value_or(number_of(stat, "inactive_file ").value_or(0));
  const std::size_t held = *used_bytes - std::min(reclaimable, *used_bytes);
  return *limit_bytes - std::min(held, *limit_bytes);
}

std::size_t available_memory_bytes() {
  std::optional<std::size_t> smallest = parse_available_memory(read_kernel_file("/proc/meminfo"));
  const auto take = [&](std::optional<std::size_t> room) {
    if (room && (!smallest || *room < *smallest)) smallest = room;
  };
  for (const std::string& group : own_cgroup_directories("memory")) {
    const std::string stat = read_kernel_file(group + "/memory.stat");
    take(parse_cgroup_room(read_kernel_file(group + "/memory.max"), read_kernel_file(group + "/memory.current"), stat));
    take(parse_cgroup_room(read_kernel_file(group + "/memory.limit_in_bytes"),
                           read_kernel_file(group + "/memory.usage_in_bytes"), stat));
  }
  return smallest.value_or(0);
}

std::size_t memory_share(std::size_t available_bytes, std::size_t ranks) {
  const std::size_t share = available_bytes / std::max(ranks, std::size_t{1});
  return share - share / 32;
}

}  // namespace dtrain
