// Names and choice of the algorithms, and the one that runs for each bucket.
#include "collectives/all_reduce.hpp"

#include <algorithm>
#include <array>

#include "collectives/mpi_handles.hpp"
#include "dtrain/error.hpp"

namespace dtrain {

namespace {

struct AlgorithmName {
  AllReduceAlgorithm algorithm;
  const char* name;
};
constexpr std::array<AlgorithmName, 5> kNames{{{AllReduceAlgorithm::automatic, "auto"},
                                               {AllReduceAlgorithm::shm, "shm"},
                                               {AllReduceAlgorithm::ring, "ring"},
                                               {AllReduceAlgorithm::mpi, "mpi"},
                                               {AllReduceAlgorithm::none, "none"}}};

/// Names that the command line promises and this version does not have, with what comes closest.
struct PlannedName {
  const char* name;
  const char* instead;
};
constexpr std::array<PlannedName, 3> kPlanned{{{"halving-doubling", "mpi, which picks such an algorithm by itself, or ring"},
                                               {"hierarchical", "ring, or shm on a single node"},
                                               {"ps", "ring"}}};

}  // namespace

AllReduceAlgorithm parse_all_reduce(std::string_view name) {
  std::string known;
  for (const AlgorithmName& entry : kNames) {
    if (name == entry.name) return entry.algorithm;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  for (const PlannedName& planned : kPlanned) {
    if (name != planned.name) continue;
    throw ConfigError(Fault{.doing = "choosing --allreduce",
                            .expected = "one of " + known,
                            .found = std::string(name) + ", which is not built yet",
                            .remedy = planned.instead});
  }
  throw ConfigError(Fault{.doing = "choosing --allreduce",
                          .expected = "one of " + known,
                          .found = "\"" + std::string(name) + "\"",
                          .remedy = "auto"});
}

std::string to_text(AllReduceAlgorithm algorithm) {
  const auto entry = std::find_if(kNames.begin(), kNames.end(),
                                  [&](const AlgorithmName& candidate) { return candidate.algorithm == algorithm; });
  check(entry != kNames.end(), "to_text: an all-reduce algorithm with a name");
  return entry->name;
}

AllReduceAlgorithm choose_all_reduce(AllReduceAlgorithm asked, const Communicator& communicator, bool window_is_shared) {
  if (asked == AllReduceAlgorithm::automatic) {
    if (communicator.size() == 1) return AllReduceAlgorithm::none;
    // All ranks choose alike: with one node all of them have the same window.
    return communicator.nodes() == 1 && window_is_shared ? AllReduceAlgorithm::shm : AllReduceAlgorithm::ring;
  }
  if (asked == AllReduceAlgorithm::shm && communicator.nodes() > 1) {
    throw ConfigError(Fault{.doing = "choosing --allreduce shm",
                            .expected = "all ranks on one node",
                            .found = std::to_string(communicator.nodes()) + " nodes",
                            .remedy = "--allreduce auto or ring"});
  }
  if (asked == AllReduceAlgorithm::shm && !window_is_shared) {
    throw ConfigError(Fault{.doing = "choosing --allreduce shm",
                            .expected = "memory that the ranks of the node share",
                            .found = "private memory",
                            .remedy = "a larger /dev/shm (containers: --shm-size or --ipc=host), or --allreduce auto"});
  }
  return asked;
}

void mpi_all_reduce(const Communicator& communicator, std::span<float> data) {
  constexpr std::size_t kPiece = 1 << 28;  // MPI counts are ints
  if (communicator.size() == 1) return;
  for (std::size_t begin = 0; begin < data.size(); begin += kPiece) {
    const std::span<float> piece = data.subspan(begin, std::min(kPiece, data.size() - begin));
    check_mpi(MPI_Allreduce(MPI_IN_PLACE, piece.data(), mpi_count(static_cast<std::int64_t>(piece.size())), MPI_FLOAT, MPI_SUM,
                            communicator.handles().exchange),
              "MPI_Allreduce");
  }
}

AllReduce::AllReduce(const Communicator& communicator, NodeWindow& window, AllReduceAlgorithm algorithm, WaitPolicy wait)
    : communicator_(communicator), window_(window), algorithm_(algorithm), wait_(wait) {
  check(algorithm != AllReduceAlgorithm::automatic, "AllReduce: the algorithm has been chosen");
  if (algorithm == AllReduceAlgorithm::ring && communicator.size() > 1) {
    scratch_ = std::make_unique<float[]>(static_cast<std::size_t>(ring_scratch_elements()));
  }
}

void AllReduce::run(std::int64_t offset, std::int64_t count) {
  const std::span<float> slice = window_.own().subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(count));
  switch (algorithm_) {
    case AllReduceAlgorithm::shm:
      return shm_all_reduce(window_, offset, count, wait_);
    case AllReduceAlgorithm::ring:
      return ring_all_reduce(communicator_, slice, {scratch_.get(), static_cast<std::size_t>(ring_scratch_elements())}, wait_);
    case AllReduceAlgorithm::mpi:
      return mpi_all_reduce(communicator_, slice);
    case AllReduceAlgorithm::automatic:
    case AllReduceAlgorithm::none:
      return;
  }
}

}  // namespace dtrain
