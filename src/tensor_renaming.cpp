// Pure functions of names; see tensor_renaming.hpp.
#include "src/tensor_renaming.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"

namespace dtrain {
namespace {

constexpr std::string_view kDenseLayer = "denselayer";
constexpr std::array<std::string_view, 2> kWrappers{"module.", "_orig_mod."};

/// Takes a wrapper's part out of a name, at its beginning and behind each dot: "features.module.0.weight" (DataParallel around
/// the features alone) becomes "features.0.weight".
std::string without(std::string_view wrapper, const std::string& name) {
  std::string shorter;
  for (std::size_t at = 0; at < name.size();) {
    const bool begins_a_part = at == 0 || name[at - 1] == '.';
    if (begins_a_part && std::string_view(name).substr(at).starts_with(wrapper)) {
      at += wrapper.size();
    } else {
      shorter += name[at++];
    }
  }
  return shorter;
}

/// "….denselayer3.norm.1.weight" → "….denselayer3.norm1.weight". Parts of names had dots until torchvision 0.3; its published
/// files still have them. Source: torchvision.models.densenet._load_state_dict.
std::string with_joined_parts(const std::string& name) {
  const std::size_t layer = name.find(kDenseLayer);
  if (layer == std::string::npos) return name;
  std::size_t at = layer + kDenseLayer.size();
  while (at < name.size() && std::isdigit(static_cast<unsigned char>(name[at])) != 0) ++at;
  for (const std::string_view part : {".norm.", ".relu.", ".conv."}) {
    const std::size_t number = at + part.size();
    if (!std::string_view(name).substr(at).starts_with(part) || number + 1 >= name.size()) continue;
    if ((name[number] == '1' || name[number] == '2') && name[number + 1] == '.') {
      return name.substr(0, number - 1) + name.substr(number);
    }
  }
  return name;
}

/// How many of the network's names a file has behind each prefix; "" is always there.
std::map<std::string, std::size_t> count_by_prefix(const std::vector<std::string>& names, const NameSet& network_names) {
  std::map<std::string, NameSet> found{{"", {}}};
  for (const std::string& name : names) {
    if (is_training_state(name)) continue;
    for (std::size_t at = 0; at != std::string::npos && at < name.size();) {
      const auto known = network_names.find(std::string_view(name).substr(at));
      if (known != network_names.end()) found[name.substr(0, at)].insert(*known);
      const std::size_t dot = name.find('.', at);
      at = dot == std::string::npos ? dot : dot + 1;
    }
  }
  std::map<std::string, std::size_t> counts;
  for (const auto& [prefix, known] : found) counts[prefix] = known.size();
  return counts;
}

/// Whether all names of the file but an optimizer's and those that tools leave there begin with the prefix.
bool is_shared(const std::vector<std::string>& names, const std::string& prefix) {
  return std::all_of(names.begin(), names.end(),
                     [&](const std::string& name) { return name.starts_with(prefix) || is_bookkeeping(name); });
}

/// A way of reading the file's names.
struct Reading {
  std::vector<std::string> names;
  std::string prefix{};     ///< to be taken off
  std::size_t matches = 0;  ///< names of the network that this gives
};

/// Errors: DataError: two prefixes lead to most of the network.
Reading best_prefix(std::vector<std::string> names, const NameSet& network_names) {
  const auto counts = count_by_prefix(names, network_names);
  Reading reading{.names = std::move(names), .matches = counts.at("")};
  std::vector<std::string> leading;  // to most of the network
  for (const auto& [prefix, count] : counts) {
    const bool leads = 2 * count > network_names.size();
    if (leads) leading.push_back(prefix);
    if (count > reading.matches && (leads || is_shared(reading.names, prefix)))
      reading.prefix = prefix, reading.matches = count;
  }
  if (leading.size() > 1) {
    throw DataError(Fault{.doing = "matching the names of tensors",
                          .expected = "one set of weights",
                          .found = "two: \"" + leading[0] + "*\" and \"" + leading[1] + "*\"",
                          .remedy = "a file with the one that you mean"});
  }
  return reading;
}

void require_apart(const std::vector<std::string>& file_names, const std::vector<std::string>& names,
                   const NameSet& network_names) {
  std::map<std::string_view, std::size_t> first;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!network_names.contains(names[i])) continue;
    const auto [other, is_new] = first.try_emplace(names[i], i);
    if (is_new) continue;
    throw DataError(Fault{.doing = "matching the names of tensors",
                          .expected = "one tensor for " + names[i],
                          .found = file_names[other->second] + " and " + file_names[i],
                          .remedy = "a file with the one that you mean"});
  }
}

}  // namespace

Renaming match_names(const std::vector<std::string>& file_names, const NameSet& network_names) {
  Renaming renaming{.names = file_names, .said = {}};
  std::size_t joined = 0;
  const bool is_densenet = std::any_of(network_names.begin(), network_names.end(),
                                       [](const std::string& name) { return name.find(kDenseLayer) != std::string::npos; });
  for (std::string& name : renaming.names) {
    if (!is_densenet) break;
    std::string whole = with_joined_parts(name);
    joined += whole != name;
    name = std::move(whole);
  }
  if (joined > 0) renaming.said.push_back(std::to_string(joined) + " old names of DenseNet (\"norm.1\") understood");

  Reading best = best_prefix(renaming.names, network_names);
  std::string taken_off;
  for (const auto& wrappers : {std::vector{kWrappers[0]}, {kWrappers[1]}, {kWrappers[0], kWrappers[1]}}) {
    std::vector<std::string> shorter = renaming.names;
    std::string text;
    for (const std::string_view wrapper : wrappers) {
      for (std::string& name : shorter) name = without(wrapper, name);
      text += (text.empty() ? "\"" : " and \"") + std::string(wrapper) + "\"";
    }
    Reading reading = best_prefix(std::move(shorter), network_names);
    if (reading.matches <= best.matches) continue;
    best = std::move(reading);
    taken_off = text;
  }
  if (!best.prefix.empty()) taken_off += (taken_off.empty() ? "\"" : " and \"") + best.prefix + "\"";
  std::size_t changed = 0;
  for (std::size_t i = 0; i < best.names.size(); ++i) {
    std::string& name = best.names[i];
    if (name.starts_with(best.prefix)) name.erase(0, best.prefix.size());
    changed += name != renaming.names[i];
  }
  renaming.names = std::move(best.names);
  if (changed > 0) renaming.said.push_back(taken_off + " taken off " + std::to_string(changed) + " names");
  require_apart(file_names, renaming.names, network_names);
  return renaming;
}

bool is_bookkeeping(std::string_view name) {
  const std::string_view last = name.substr(name.rfind('.') == std::string_view::npos ? 0 : name.rfind('.') + 1);
  // AveragedModel counts in n_averaged; the profiler thop leaves its counts in every layer.
  for (const std::string_view known : {"n_averaged", "total_ops", "total_params", "num_batches_tracked"}) {
    if (last == known) return true;
  }
  return is_training_state(name);
}

std::vector<std::string> group_names(const std::vector<std::string>& names, const std::vector<std::string>& others) {
  NameSet groups_of_others;
  for (const std::string& other : others) {
    for (std::size_t dot = other.find('.'); dot != std::string::npos; dot = other.find('.', dot + 1)) {
      groups_of_others.insert(other.substr(0, dot + 1));
    }
  }
  std::vector<std::string> groups;
  std::map<std::string, std::string> only_name;  // of a group, while it has one
  for (const std::string& name : names) {
    std::optional<std::string> group;
    for (std::size_t dot = name.find('.'); dot != std::string::npos && !group; dot = name.find('.', dot + 1)) {
      if (!groups_of_others.contains(name.substr(0, dot + 1))) group = name.substr(0, dot + 1) + "*";
    }
    if (!group) {
      groups.push_back(name);
    } else if (const auto [place, is_new] = only_name.try_emplace(*group, name); is_new) {
      groups.push_back(*group);
    } else {
      place->second.clear();
    }
  }
  for (std::string& group : groups) {
    const auto place = only_name.find(group);
    if (place != only_name.end() && !place->second.empty()) group = place->second;
  }
  return groups;
}

}  // namespace dtrain
