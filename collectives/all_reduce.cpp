// Choice, planning and execution of the algorithms.
//
// Hierarchical, two nodes of two ranks: each rank sums a shard of its node, exchanges it with the rank of the same number (its
// lane) on the other nodes, and copies the other shards from its neighbours. The node's sums are made segment by segment, just
// before the lane needs them, while other segments travel.
//
//   node 0  rank 0  sums a ◀─ lane 0 ─▶  sums a  rank 2  node 1
//           rank 1  sums b ◀─ lane 1 ─▶  sums b  rank 3
#include "collectives/all_reduce.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>

#include "collectives/mpi_handles.hpp"
#include "dtrain/error.hpp"
#include "schedules/halving_doubling.hpp"
#include "schedules/ring.hpp"

namespace dtrain {

namespace {

constexpr std::array<AllReduceAlgorithm, 3> kSending{AllReduceAlgorithm::ring, AllReduceAlgorithm::halving_doubling,
                                                     AllReduceAlgorithm::hierarchical};

bool sends(const AlgorithmTable& table) {
  return std::any_of(kSending.begin(), kSending.end(), [&](AllReduceAlgorithm algorithm) { return table.uses(algorithm); });
}

RankGroup group_of(std::span<const int> members, int rank) {
  const auto self = std::find(members.begin(), members.end(), rank);
  return {.members = {members.begin(), members.end()}, .self = static_cast<int>(self - members.begin())};
}

void broadcast_bytes(const Communicator& communicator, std::span<std::byte> bytes, const WaitPolicy& wait) {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibcast(bytes.data(), mpi_count(std::ssize(bytes)), MPI_BYTE, 0, communicator.handles().exchange, &request),
            "MPI_Ibcast");
  wait_for_requests({&request, 1}, wait, [] { return std::string("waiting for all ranks in MPI_Ibcast"); });
}

}  // namespace

Cluster cluster_of(const Communicator& communicator) {
  return {.nodes = communicator.nodes(),
          .ranks_per_node = (communicator.size() + communicator.nodes() - 1) / communicator.nodes()};
}

AlgorithmTable choose_algorithms(const AlgorithmTable& asked, const Communicator& communicator, const NodeWindow& window,
                                 WireType wire) {
  const bool all_share = communicator.all(window.is_shared());
  const AlgorithmTable table = asked.is_automatic() ? plan_algorithm_table(cluster_of(communicator), all_share) : asked;
  if (table.uses(AllReduceAlgorithm::shm) && communicator.nodes() > 1) {
    throw ConfigError(Fault{.doing = "choosing --allreduce shm",
                            .expected = "all ranks on one node",
                            .found = std::to_string(communicator.nodes()) + " nodes",
                            .remedy = "--allreduce auto or hierarchical"});
  }
  if ((table.uses(AllReduceAlgorithm::shm) || table.uses(AllReduceAlgorithm::hierarchical)) && !all_share) {
    throw ConfigError(Fault{.doing = "choosing --allreduce " + to_text(table),
                            .expected = "memory that the ranks of a node share",
                            .found = "private memory" + (window.reason().empty() ? "" : ": " + window.reason()),
                            .remedy = "a larger /dev/shm (containers: --shm-size or --ipc=host), or --allreduce ring"});
  }
  if (wire == WireType::bf16 && !sends(table)) {
    throw ConfigError(Fault{.doing = "choosing --wire-dtype bf16",
                            .expected = "an exchange that sends gradients: ring, halving-doubling or hierarchical",
                            .found = "--allreduce " + to_text(table) + " on " + counted(communicator.size(), "rank") + " of " +
                                     counted(communicator.nodes(), "node"),
                            .remedy = "--wire-dtype fp32"});
  }
  return table;
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

void sum_at_root(const Communicator& communicator, std::span<double> values, const WaitPolicy& wait) {
  if (communicator.size() == 1) return;
  const void* const from = communicator.is_root() ? MPI_IN_PLACE : values.data();
  void* const to = communicator.is_root() ? values.data() : nullptr;
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(
      MPI_Ireduce(from, to, mpi_count(std::ssize(values)), MPI_DOUBLE, MPI_SUM, 0, communicator.handles().exchange, &request),
      "MPI_Ireduce");
  wait_for_requests({&request, 1}, wait, [] { return std::string("waiting for all ranks in MPI_Ireduce"); });
  broadcast_bytes(communicator, std::as_writable_bytes(values), wait);
}

void broadcast_from_root(const Communicator& communicator, std::span<float> values, const WaitPolicy& wait) {
  if (communicator.size() > 1) broadcast_bytes(communicator, std::as_writable_bytes(values), wait);
}

AllReduce::AllReduce(const Communicator& communicator, NodeWindow& window, const AlgorithmTable& algorithms, WireType wire,
                     WaitPolicy wait)
    : communicator_(communicator),
      window_(window),
      algorithms_(algorithms),
      wire_(wire),
      wait_(wait),
      everyone_(group_of(communicator.ranks_by_node(), communicator.rank())),
      lane_(group_of(communicator.lane_ranks(), communicator.rank())),
      sum_on_own_node_([&window](const Range& range) { sum_range_on_node(window, range); }) {
  check(!algorithms.is_automatic(), "AllReduce: the algorithms have been chosen");
  if (communicator.size() > 1 && sends(algorithms)) exchange_.emplace(communicator, wait);
}

int AllReduce::prepare(Range slice, SliceTraits traits) {
  Prepared prepared{.slice = slice,
                    .where = traits.where,
                    .wire = traits.is_exact ? WireType::fp32 : wire_,
                    .algorithm = algorithms_.choose(slice.size() * static_cast<std::int64_t>(sizeof(float))),
                    .shard_alignment = traits.shard_alignment};
  const auto plan = [&](const std::vector<ExchangeStep>& steps) {
    return cut_into_segments(steps, Exchange::segment_elements());
  };
  const auto ranks = static_cast<int>(everyone_.members.size());
  if (prepared.algorithm == AllReduceAlgorithm::ring) prepared.plan = plan(ring_steps(ranks, everyone_.self, slice));
  if (prepared.algorithm == AllReduceAlgorithm::halving_doubling) {
    prepared.plan = plan(halving_doubling_steps(ranks, everyone_.self, slice));
  }
  // A hierarchy has a shard for each lane, so that nodes' shards correspond; elsewhere every rank has one.
  const bool is_hierarchical = prepared.algorithm == AllReduceAlgorithm::hierarchical;
  const int shards = is_hierarchical ? communicator_.lanes() : communicator_.node_size();
  prepared.shard = communicator_.node_rank() < shards
                       ? node_shard(slice, shards, communicator_.node_rank(), traits.shard_alignment)
                       : Range{slice.end, slice.end};
  if (is_hierarchical && !lane_.members.empty()) {
    prepared.plan = plan(ring_steps(static_cast<int>(lane_.members.size()), lane_.self, prepared.shard));
  }
  prepared_.push_back(std::move(prepared));
  return static_cast<int>(std::ssize(prepared_)) - 1;
}

std::int64_t AllReduce::bytes_to_other_nodes(int number) const {
  const Prepared& prepared = prepared_[static_cast<std::size_t>(number)];
  const RankGroup& group = prepared.algorithm == AllReduceAlgorithm::hierarchical ? lane_ : everyone_;
  std::int64_t elements = 0;
  for (const Transfer& send : prepared.plan.sends) {
    const int peer = group.members[static_cast<std::size_t>(send.peer)];
    if (communicator_.node_of(peer) != communicator_.node_index()) elements += send.range.size();
  }
  return elements * wire_bytes(prepared.wire);
}

void AllReduce::run(int number) {
  const Prepared& prepared = prepared_[static_cast<std::size_t>(number)];
  const Range& slice = prepared.slice;
  const std::span<float> own = window_.own();
  switch (prepared.algorithm) {
    case AllReduceAlgorithm::shm:
      if (prepared.where == SumsAt::every_rank) return sum_on_node(window_, slice, wait_);
      window_.barrier(wait_, "summing shards in the node's shared memory");
      return sum_range_on_node(window_, prepared.shard);
    case AllReduceAlgorithm::ring:
      if (exchange_)
        exchange_->run({.plan = prepared.plan, .group = everyone_, .data = own, .name = "ring", .wire = prepared.wire});
      return;
    case AllReduceAlgorithm::halving_doubling:
      if (exchange_)
        exchange_->run(
            {.plan = prepared.plan, .group = everyone_, .data = own, .name = "halving-doubling", .wire = prepared.wire});
      return;
    case AllReduceAlgorithm::hierarchical:
      window_.barrier(wait_, "summing shards in the node's shared memory");
      if (lane_.members.size() > 1) {
        exchange_->run({.plan = prepared.plan,
                        .group = lane_,
                        .data = own,
                        .name = "hierarchical",
                        .wire = prepared.wire,
                        .make = &sum_on_own_node_});
      } else {
        sum_range_on_node(window_, prepared.shard);
      }
      if (prepared.where == SumsAt::every_rank) {
        gather_shards_on_node(window_, slice, communicator_.lanes(), wait_, prepared.shard_alignment);
      }
      return;
    case AllReduceAlgorithm::mpi:
      return mpi_all_reduce(communicator_,
                            own.subspan(static_cast<std::size_t>(slice.begin), static_cast<std::size_t>(slice.size())));
    case AllReduceAlgorithm::automatic:
    case AllReduceAlgorithm::none:
      return;
  }
}

}  // namespace dtrain
