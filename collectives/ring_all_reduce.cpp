// Carries out the ring plan of schedules/ring over MPI. Each block is cut into segments; transfers are numbered t = step ·
// segments + segment and run as a pipeline: two receives are always posted, and a segment travels on as soon as it has been
// added, while its neighbours still arrive.
//
//   receive   t+1 ──────────────▶      (into the other half of scratch; in place when gathering)
//   add           t ──▶
//   send              t + segments ──▶ (what was just added: the same segment, one step later)
//
// Note [No receive overwrites a segment that is still being sent]
// A gathering step receives in place, into a block that this rank sent size−1 steps before; that send is waited for first.
// All waits are for transfers with smaller numbers, on any rank, so they cannot form a circle.
#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <string>

#include "collectives/all_reduce.hpp"
#include "collectives/mpi_handles.hpp"
#include "collectives/sum_kernels.hpp"
#include "schedules/ring.hpp"
#include "schedules/shards.hpp"

namespace dtrain {

namespace {

/// 512 KiB. Two ranks on a shared 2-core Sapphire Rapids machine, bench_allreduce, 102 MB: 256 KiB to 2 MiB are alike, 64 KiB
/// takes three to four times as long; shorter segments start the pipeline of short buckets earlier.
constexpr std::int64_t kSegmentElements = 1 << 17;
constexpr int kTag = 1;

class RingExchange {
 public:
  RingExchange(const Communicator& communicator, std::span<float> data, std::span<float> scratch, const WaitPolicy& wait)
      : comm_(communicator.handles().exchange),
        size_(communicator.size()),
        rank_(communicator.rank()),
        data_(data),
        scratch_(scratch),
        wait_(wait) {
    const std::int64_t largest_block = split_range(whole(), size_, 0).size();
    segments_ = std::max<std::int64_t>(1, (largest_block + kSegmentElements - 1) / kSegmentElements);
    transfers_ = std::int64_t{2} * (size_ - 1) * segments_;
    sends_.fill(MPI_REQUEST_NULL);
    receives_.fill(MPI_REQUEST_NULL);
  }

  void run() {
    post_receive(0);
    for (std::int64_t t = 0; t < transfers_; ++t) {
      // A send needs what receive (its number − segments) brought: those before t are here.
      const std::int64_t sendable = std::min(transfers_, t + std::min<std::int64_t>(segments_, kSends));
      while (posted_sends_ < sendable) post_send(posted_sends_++);
      if (t + 1 < transfers_) post_receive(t + 1);
      wait_for(receives_[slot(t, kReceives)], t, Direction::receive);
      const Transfer done = transfer(t, Direction::receive);
      if (done.reduces) {
        sum_kernels().add_into(data_.data() + done.range.begin, landing(t), done.range.size());
      }
    }
    for (std::int64_t t = std::max<std::int64_t>(0, transfers_ - kSends); t < transfers_; ++t) {
      wait_for(sends_[slot(t, kSends)], t, Direction::send);
    }
  }

 private:
  static constexpr int kSends = 4;
  static constexpr int kReceives = 2;
  enum class Direction { send, receive };
  struct Transfer {
    int step = 0;
    int block = 0;
    bool reduces = false;
    Range range;
  };

  static std::size_t slot(std::int64_t t, int slots) { return static_cast<std::size_t>(t % slots); }
  Range whole() const { return {0, static_cast<std::int64_t>(data_.size())}; }
  int peer(Direction direction) const { return (rank_ + (direction == Direction::send ? 1 : size_ - 1)) % size_; }
  /// Where a receive of a reducing step puts its segment.
  float* landing(std::int64_t t) const { return scratch_.data() + t % kReceives * kSegmentElements; }

  Transfer transfer(std::int64_t t, Direction direction) const {
    const int number = static_cast<int>(t / segments_);
    const RingStep step = ring_step(size_, rank_, number);
    const int block = direction == Direction::send ? step.send_block : step.receive_block;
    const Range range = split_range(split_range(whole(), size_, block), segments_, t % segments_);
    return {.step = number, .block = block, .reduces = step.reduces, .range = range};
  }

  void post_send(std::int64_t t) {
    MPI_Request& request = sends_[slot(t, kSends)];
    if (t >= kSends) wait_for(request, t - kSends, Direction::send);
    const Transfer sent = transfer(t, Direction::send);
    if (sent.range.size() == 0) return;
    check_mpi(MPI_Isend(data_.data() + sent.range.begin, mpi_count(sent.range.size()), MPI_FLOAT, peer(Direction::send), kTag,
                        comm_, &request),
              "MPI_Isend");
  }

  void post_receive(std::int64_t t) {
    const Transfer received = transfer(t, Direction::receive);
    if (received.range.size() == 0) return;
    float* dst = landing(t);
    if (!received.reduces) {
      // Note [No receive overwrites a segment that is still being sent]
      const std::int64_t earlier = t - (size_ - 1) * segments_;
      assert(earlier < posted_sends_);
      if (earlier >= posted_sends_ - kSends) wait_for(sends_[slot(earlier, kSends)], earlier, Direction::send);
      dst = data_.data() + received.range.begin;
    }
    check_mpi(MPI_Irecv(dst, mpi_count(received.range.size()), MPI_FLOAT, peer(Direction::receive), kTag, comm_,
                        &receives_[slot(t, kReceives)]),
              "MPI_Irecv");
  }

  void wait_for(MPI_Request& request, std::int64_t t, Direction direction) {
    if (request == MPI_REQUEST_NULL) return;
    // Held by pointer, so that std::function does not allocate.
    struct Awaited {
      const RingExchange* ring;
      std::int64_t t;
      Direction direction;
    };
    const Awaited awaited{this, t, direction};
    wait_for_requests({&request, 1}, wait_, [&awaited] { return awaited.ring->describe(awaited.t, awaited.direction); });
  }

  std::string describe(std::int64_t t, Direction direction) const {
    const Transfer waiting = transfer(t, direction);
    return "ring all-reduce on rank " + std::to_string(rank_) + ", step " + std::to_string(waiting.step) + " of " +
           std::to_string(2 * (size_ - 1)) + ": " + (direction == Direction::send ? "sending" : "receiving") + " block " +
           std::to_string(waiting.block) + (direction == Direction::send ? " to rank " : " from rank ") +
           std::to_string(peer(direction));
  }

  MPI_Comm comm_;
  int size_;
  int rank_;
  std::span<float> data_;
  std::span<float> scratch_;
  const WaitPolicy& wait_;
  std::int64_t segments_ = 1;
  std::int64_t transfers_ = 0;
  std::int64_t posted_sends_ = 0;
  std::array<MPI_Request, kSends> sends_{};
  std::array<MPI_Request, kReceives> receives_{};
};

}  // namespace

std::int64_t ring_scratch_elements() { return 2 * kSegmentElements; }

void ring_all_reduce(const Communicator& communicator, std::span<float> data, std::span<float> scratch,
                     const WaitPolicy& wait) {
  assert(static_cast<std::int64_t>(scratch.size()) >= ring_scratch_elements());
  if (communicator.size() == 1 || data.empty()) return;
  RingExchange(communicator, data, scratch, wait).run();
}

}  // namespace dtrain
