// How much memory a rank may take: what this machine and the control groups leave, divided among the ranks.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace dtrain {

/// MemAvailable out of /proc/meminfo: what can be had without swapping.
std::optional<std::size_t> parse_available_memory(std::string_view meminfo);

/// What a control group leaves: its limit without what it uses; page cache that nobody has read lately counts as free.
/// limit: memory.max ("max": none) or memory.limit_in_bytes; usage: memory.current or memory.usage_in_bytes; stat: memory.stat.
std::optional<std::size_t> parse_cgroup_room(std::string_view limit, std::string_view usage, std::string_view stat);

/// The smallest of what this machine and the control groups above this process leave, in bytes; 0: not known.
std::size_t available_memory_bytes();

/// Share of one of `ranks` ranks that have yet to allocate: equal parts, less a 32nd for what no plan foresees.
std::size_t memory_share(std::size_t available_bytes, std::size_t ranks);

}  // namespace dtrain
