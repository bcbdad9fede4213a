// Writes the branches of inception blocks.
#include "src/models/branches.hpp"

namespace dtrain {

LayerIndex append_branch(NetworkBuilder& net, LayerIndex input, const std::string& prefix, const Branch& branch) {
  LayerIndex last = input;
  for (const BranchStep& step : branch) {
    const std::string name = prefix + step.name;
    if (!std::holds_alternative<Convolution>(step.layer)) {
      last = net.append_behind(last, name, step.layer);
      continue;
    }
    net.append_behind(last, name + ".conv", step.layer);
    net.append(name + ".bn", BatchNorm{.epsilon = 1e-3f});
    last = net.append(name + ".relu", Relu{});
  }
  return last;
}

void append_branches(NetworkBuilder& net, const std::string& block, const std::vector<Branch>& branches) {
  const LayerIndex input = net.newest();
  std::vector<LayerIndex> ends;
  for (const Branch& branch : branches) ends.push_back(append_branch(net, input, block + ".", branch));
  net.concat(block + ".concat", ends);
}

}  // namespace dtrain
