// Fusion of element-wise layers into their producers; see fusion.hpp.
#include "src/nn/fusion.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "dtrain/error.hpp"

namespace dtrain::nn {
namespace {

template <typename Layer>
bool is(const NetworkSpec& network, LayerIndex node) {
  return node >= 0 && std::holds_alternative<Layer>(network.nodes[static_cast<std::size_t>(node)].layer);
}

bool is_max_pool(const NetworkSpec& network, LayerIndex node) {
  return is<Pool>(network, node) && std::get<Pool>(network.nodes[static_cast<std::size_t>(node)].layer).kind == Pool::Kind::max;
}

float ceiling_of(const NetworkSpec& network, LayerIndex relu) {
  return std::get<Relu>(network.nodes[static_cast<std::size_t>(relu)].layer).ceiling;
}

/// Channels that fill blocks of every size.
constexpr std::int64_t kWholeBlocks = 16;

/// A Concat whose inputs a batch-norm can read as if they lay one behind the other.
bool is_readable_in_parts(const NetworkSpec& network, const std::vector<Shape>& shapes, LayerIndex node) {
  if (!is<Concat>(network, node)) return false;
  const std::vector<LayerIndex>& inputs = network.nodes[static_cast<std::size_t>(node)].inputs;
  const std::set<LayerIndex> distinct(inputs.begin(), inputs.end());
  return distinct.size() == inputs.size() && std::all_of(inputs.begin(), inputs.end(), [&](LayerIndex input) {
           return input != kNetworkInput && shapes[static_cast<std::size_t>(input)][1] % kWholeBlocks == 0;
         });
}

/// The only node that reads `node`, or -1.
LayerIndex only_reader(const std::vector<std::vector<LayerIndex>>& readers, LayerIndex node) {
  const auto& all = readers[static_cast<std::size_t>(node)];
  return all.size() == 1 ? all.front() : -1;
}

/// All nodes in training, those on which the main output depends in evaluation.
std::vector<bool> running_nodes(const NetworkSpec& network, bool training) {
  std::vector<bool> runs(network.nodes.size(), training);
  runs[static_cast<std::size_t>(network.outputs.front().node)] = true;
  for (std::size_t node = network.nodes.size(); node-- > 0;) {
    if (!runs[node]) continue;
    for (const LayerIndex input : network.nodes[node].inputs) {
      if (input != kNetworkInput) runs[static_cast<std::size_t>(input)] = true;
    }
  }
  return runs;
}

const std::map<std::string, bool Fusions::*, std::less<>>& fusions_by_name() {
  static const std::map<std::string, bool Fusions::*, std::less<>> names{
      {"norm-relu", &Fusions::norm_relu},        {"norm-add", &Fusions::norm_add},   {"norm-pool", &Fusions::norm_pool},
      {"norm-concat", &Fusions::norm_concat},    {"conv-relu", &Fusions::conv_relu}, {"relu-pool", &Fusions::relu_pool},
      {"concat-slices", &Fusions::concat_slices}};
  return names;
}

}  // namespace

std::vector<Operation> fuse(const NetworkSpec& network, const Fusions& fusions, bool training) {
  const int count = static_cast<int>(network.nodes.size());
  const std::vector<bool> runs = running_nodes(network, training);
  std::vector<std::vector<LayerIndex>> readers(network.nodes.size());
  for (LayerIndex node = 0; node < count; ++node) {
    if (!runs[static_cast<std::size_t>(node)]) continue;
    for (const LayerIndex input : network.nodes[static_cast<std::size_t>(node)].inputs) {
      if (input >= 0) readers[static_cast<std::size_t>(input)].push_back(node);
    }
  }

  // taken_by[node]: the node whose operation covers it.
  std::vector<LayerIndex> taken_by(network.nodes.size(), -1);
  std::vector<std::vector<LayerIndex>> covered(network.nodes.size());
  const auto take = [&](LayerIndex owner, LayerIndex node) {
    taken_by[static_cast<std::size_t>(node)] = owner;
    covered[static_cast<std::size_t>(owner)].push_back(node);
  };
  const std::vector<Shape> shapes = output_shapes(network, 1);
  for (LayerIndex node = 0; node < count; ++node) {
    if (taken_by[static_cast<std::size_t>(node)] >= 0 || !runs[static_cast<std::size_t>(node)]) continue;
    if (fusions.norm_concat && is_readable_in_parts(network, shapes, node) &&
        is<BatchNorm>(network, only_reader(readers, node))) {
      take(only_reader(readers, node), node);
      continue;
    }
    const bool concatenates = is<BatchNorm>(network, node) && !covered[static_cast<std::size_t>(node)].empty();
    take(node, node);
    LayerIndex last = node;
    if (fusions.norm_add && is<BatchNorm>(network, node) && !concatenates) {
      const LayerIndex add = only_reader(readers, node);
      if (add >= 0 && is<Add>(network, add) && taken_by[static_cast<std::size_t>(add)] < 0 &&
          network.nodes[static_cast<std::size_t>(add)].inputs[0] == node) {
        take(node, add);
        last = add;
      }
    }
    const LayerIndex relu = only_reader(readers, last);
    if (!is<Relu>(network, relu)) continue;
    const bool is_plain = ceiling_of(network, relu) == kNoCeiling;
    if (!is_plain && !is<BatchNorm>(network, last)) continue;
    const LayerIndex behind = only_reader(readers, relu);
    if (is<Add>(network, node) || (is<BatchNorm>(network, node) && fusions.norm_relu)) {
      take(node, relu);
      if (fusions.norm_pool && last == node && is<BatchNorm>(network, node) && !concatenates && is_plain &&
          is_max_pool(network, behind))
        take(node, behind);
    } else if (fusions.relu_pool && is<Convolution>(network, node) && is_max_pool(network, behind)) {
      take(behind, relu);
    } else if (fusions.conv_relu && is<Convolution>(network, node) && !is<Concat>(network, behind)) {
      take(node, relu);
    }
  }

  // An operation runs where its last node stands, when all inputs are there.
  std::vector<Operation> operations;
  std::map<LayerIndex, int> operation_of;  // node → operation whose result is the node's
  for (LayerIndex node = 0; node < count; ++node) {
    const LayerIndex owner = taken_by[static_cast<std::size_t>(node)];
    if (owner < 0) continue;
    const auto& nodes = covered[static_cast<std::size_t>(owner)];
    if (nodes.back() != node) continue;
    Operation operation{.node = owner, .inputs = {}, .nodes = nodes};
    for (const LayerIndex inner : nodes) {
      if (inner == owner) continue;
      if (is<Relu>(network, inner)) {
        operation.relu = true;
        operation.ceiling = ceiling_of(network, inner);
      }
      if (is<Concat>(network, inner)) operation.concatenates = true;
      if (is<Pool>(network, inner)) operation.pool = std::get<Pool>(network.nodes[static_cast<std::size_t>(inner)].layer);
    }
    const auto read = [&](LayerIndex input) { operation.inputs.push_back(input < 0 ? kNetworkInput : operation_of.at(input)); };
    const LayerIndex reading = nodes.front();  // a Concat for its batch-norm, a ReLU for the pooling behind it
    for (const LayerIndex input : network.nodes[static_cast<std::size_t>(reading)].inputs) read(input);
    for (const LayerIndex inner : nodes) {
      if (inner != owner && is<Add>(network, inner)) read(network.nodes[static_cast<std::size_t>(inner)].inputs[1]);
    }
    operation_of[node] = static_cast<int>(operations.size());
    operations.push_back(std::move(operation));
  }
  for (std::size_t k = 0; k < network.outputs.size(); ++k) {
    const LayerIndex node = network.outputs[k].node;
    if (!runs[static_cast<std::size_t>(node)]) continue;
    check(readers[static_cast<std::size_t>(node)].empty(), "no node reads the logits");
    operations[static_cast<std::size_t>(operation_of.at(node))].output = static_cast<int>(k);
  }
  return operations;
}

}  // namespace dtrain::nn

namespace dtrain {

Fusions parse_fusions(std::string_view text) {
  Fusions fusions;
  if (text == "all") return fusions;
  for (const auto& [name, member] : nn::fusions_by_name()) fusions.*member = false;
  if (text == "none") return fusions;
  std::string known = "all, none";
  for (const auto& [name, member] : nn::fusions_by_name()) known += ", " + name;
  for (std::string_view rest = text; !rest.empty() || text.empty();) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const auto found = nn::fusions_by_name().find(rest.substr(0, comma));
    if (found == nn::fusions_by_name().end()) {
      throw ConfigError(Fault{.doing = "reading --fuse",
                              .expected = "names joined by commas: " + known,
                              .found = "'" + std::string(rest.substr(0, comma)) + "'",
                              .remedy = "--fuse all"});
    }
    fusions.*found->second = true;
    if (comma == rest.size()) break;
    rest.remove_prefix(comma + 1);
    if (rest.empty()) rest = " ";  // a comma at the end names nothing
  }
  return fusions;
}

}  // namespace dtrain
