// Gathering what recipes do not know; see surroundings.hpp.
#include "trainer/surroundings.hpp"

#include "dtrain/cpu.hpp"
#include "trainer/same_images.hpp"

namespace dtrain {

std::string value_of_ranks(const std::vector<std::string>& values) {
  std::string text;
  for (std::size_t begin = 0; begin < values.size();) {
    std::size_t end = begin;
    while (end < values.size() && values[end] == values[begin]) ++end;
    if (begin == 0 && end == values.size()) return values.front();
    text += (text.empty() ? "" : ", ") + values[begin] + " ×" + std::to_string(end - begin);
    begin = end;
  }
  return text;
}

std::string gather_surroundings(const OwnSurroundings& own, const Dataset& training, const Communicator& communicator) {
  std::vector<std::string> node_of_rank;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    node_of_rank.push_back("node " + std::to_string(communicator.node_of(rank)));
  }
  return "threads=" + value_of_ranks(communicator.gather_texts(std::to_string(own.threads))) +
         "\nnodes=" + (own.nodes_shape_bits ? value_of_ranks(node_of_rank) : "any") +
         "\ninstructions=" + value_of_ranks(communicator.gather_texts(instruction_set())) + "\nonednn=" + onednn_version() +
         "\ndata=" + digest_text(training) + "\n";
}

}  // namespace dtrain
