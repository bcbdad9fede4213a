// Hashes of slots, compared; see replica_agreement.hpp.
#include "trainer/replica_agreement.hpp"

#include <algorithm>
#include <span>

#include "collectives/agreement.hpp"
#include "dtrain/error.hpp"

namespace dtrain {

void require_equal_replicas(const ParameterStore& parameters, const Communicator& communicator, std::int64_t step) {
  if (communicator.size() == 1) return;
  std::vector<std::uint64_t> hashes;
  for (const Slot& slot : parameters.trained_slots()) {
    hashes.push_back(hash_bytes(std::as_bytes(parameters.values(slot))));
  }
  const std::uint64_t own = hash_bytes(std::as_bytes(std::span(hashes)));
  const std::vector<std::string> all = communicator.gather_texts(std::to_string(own));
  if (std::ranges::all_of(all, [&](const std::string& other) { return other == all.front(); })) return;

  // The first slot in which any rank differs from rank 0. Hashes travel as bytes, eight for each slot.
  const auto bytes_of = [](const std::vector<std::uint64_t>& words) {
    return std::string(reinterpret_cast<const char*>(words.data()), words.size() * sizeof(std::uint64_t));
  };
  const std::vector<std::string> by_rank = communicator.gather_texts(bytes_of(hashes));
  const std::vector<std::string> hosts = communicator.gather_texts(host_name());
  for (std::size_t i = 0; i < hashes.size(); ++i) {
    const auto hash_on = [&](std::size_t rank) {
      return by_rank[rank].substr(i * sizeof(std::uint64_t), sizeof(std::uint64_t));
    };
    std::vector<int> differing;
    for (std::size_t rank = 1; rank < by_rank.size(); ++rank) {
      if (hash_on(rank) != hash_on(0)) differing.push_back(static_cast<int>(rank));
    }
    if (differing.empty()) continue;
    const std::string first_host = hosts[static_cast<std::size_t>(differing.front())];
    for (int& rank : differing) rank = communicator.job_rank(rank);
    throw CommError(Fault{.doing = "comparing the weights of all ranks after step " + std::to_string(step),
                          .expected = "the same bits everywhere",
                          .found = parameters.trained_slots()[i].spec.name + " on ranks " + to_rank_list(differing) +
                                   " (first on host " + first_host + ") unlike on rank 0 (host " + hosts.front() + ")",
                          .remedy = "resume from a checkpoint before this step; look for bad memory on the hosts named"});
  }
  check(false, "require_equal_replicas: equal slots have equal hashes");
}

}  // namespace dtrain
