// The pipeline: a few receives are always posted, and a segment travels on as soon as it has been added, while its neighbours
// still arrive.
//
//   receive   t+1 ──────────────▶      (into a landing place; in place when it replaces, in f32)
//   take in       t ──▶
//   send              what receive t made sendable ──▶
//
// The plan says when a send may leave and when a receive may overwrite (Transfer::after). Whatever can be done is done, so
// waiting cannot form a circle: see Note [Transfers wait for the step before alone]. All ranks post sends and receives to one
// peer in the same order, so MPI's order of messages matches them.
#include "collectives/exchange.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <string>

#include "collectives/mpi_handles.hpp"
#include "collectives/stall_watch.hpp"
#include "collectives/sum_kernels.hpp"
#include "dtrain/error.hpp"

namespace dtrain {

namespace {

/// 512 KiB. Two ranks on a shared 2-core Sapphire Rapids machine, bench_allreduce, 102 MB: 256 KiB to 2 MiB are alike, 64 KiB
/// takes three to four times as long; shorter segments start the pipeline of short buckets earlier.
constexpr std::int64_t kSegmentElements = 1 << 17;
constexpr std::size_t kSegmentBytes = kSegmentElements * sizeof(float);
constexpr int kTag = 1;

std::size_t slot(std::int64_t t, int slots) { return static_cast<std::size_t>(t % slots); }

}  // namespace

WireType parse_wire_type(std::string_view text) {
  if (text == "fp32") return WireType::fp32;
  if (text == "bf16") return WireType::bf16;
  throw ConfigError(Fault{.doing = "--wire-dtype",
                          .expected = "fp32 or bf16",
                          .found = "'" + std::string(text) + "'",
                          .remedy = "--wire-dtype fp32"});
}

const char* to_text(WireType wire) { return wire == WireType::bf16 ? "bf16" : "fp32"; }

std::int64_t Exchange::segment_elements() { return kSegmentElements; }

Exchange::Exchange(const Communicator& communicator, WaitPolicy wait)
    : communicator_(communicator),
      wait_(wait),
      landings_(std::make_unique<std::byte[]>(kReceives * kSegmentBytes)),
      rounded_(std::make_unique<std::byte[]>(kSends * kSegmentBytes / 2)) {}

/// One plan under way.
class Exchange::Run {
 public:
  Run(Exchange& exchange, const Sum& sum)
      : exchange_(exchange),
        comm_(exchange.communicator_.handles().exchange),
        plan_(sum.plan),
        group_(sum.group),
        data_(sum.data),
        name_(sum.name),
        make_(sum.make),
        is_bf16_(sum.wire == WireType::bf16) {
    sends_.fill(MPI_REQUEST_NULL);
    receives_.fill(MPI_REQUEST_NULL);
  }

  void run() {
    const std::function<std::vector<int>()> recipients = [this] { return recipients_of_sends(); };
    const StallWatch::Recipients broken(exchange_.wait_.watch, recipients);
    while (done_sends_ < std::ssize(plan_.sends) || taken_in_ < std::ssize(plan_.receives)) {
      // Held by pointer, so that std::function does not allocate.
      wait_until([this] { return advance(); }, exchange_.wait_, [this] { return describe(); }, exchange_.pace_);
    }
  }

 private:
  const Transfer& send(std::int64_t t) const { return plan_.sends[static_cast<std::size_t>(t)]; }
  const Transfer& receive(std::int64_t t) const { return plan_.receives[static_cast<std::size_t>(t)]; }
  std::byte* landing(std::int64_t t) const { return exchange_.landings_.get() + slot(t, kReceives) * kSegmentBytes; }
  std::byte* rounded(std::int64_t t) const { return exchange_.rounded_.get() + slot(t, kSends) * kSegmentBytes / 2; }
  int member(int peer) const { return group_.members[static_cast<std::size_t>(peer)]; }

  /// Does what can be done now. Result: whether that was anything.
  bool advance() {
    const std::int64_t before = done_sends_ + posted_sends_ + posted_receives_ + taken_in_;
    while (done_sends_ < posted_sends_ && is_done(sends_[slot(done_sends_, kSends)])) ++done_sends_;
    while (posted_sends_ < std::ssize(plan_.sends) && posted_sends_ - done_sends_ < kSends &&
           send(posted_sends_).after <= taken_in_) {
      post_send(posted_sends_++);
    }
    while (posted_receives_ < std::ssize(plan_.receives) && posted_receives_ - taken_in_ < kReceives &&
           receive(posted_receives_).after <= done_sends_) {
      post_receive(posted_receives_++);
    }
    if (taken_in_ < posted_receives_ && is_done(receives_[slot(taken_in_, kReceives)])) take_in(taken_in_++);
    return done_sends_ + posted_sends_ + posted_receives_ + taken_in_ > before;
  }

  void post_send(std::int64_t t) {
    const Transfer& sent = send(t);
    if (sent.range.size() == 0) return;
    if (make_ != nullptr && sent.is_first_use) (*make_)(sent.range);
    float* const src = data_.data() + sent.range.begin;
    if (is_bf16_) {
      auto* const words = reinterpret_cast<std::uint16_t*>(rounded(t));
      sum_kernels().round_to_bf16(words, src, sent.range.size());
      // A full sum: this rank keeps the bits that it gives to the others.
      if (!sent.reduces) sum_kernels().expand_bf16(src, words, sent.range.size());
    }
    check_mpi(MPI_Isend(is_bf16_ ? static_cast<void*>(rounded(t)) : src, mpi_count(sent.range.size()), type(),
                        member(sent.peer), kTag, comm_, &sends_[slot(t, kSends)]),
              "MPI_Isend");
  }

  void post_receive(std::int64_t t) {
    const Transfer& received = receive(t);
    if (received.range.size() == 0) return;
    const bool lands = received.reduces || is_bf16_;
    void* const dst = lands ? static_cast<void*>(landing(t)) : data_.data() + received.range.begin;
    check_mpi(MPI_Irecv(dst, mpi_count(received.range.size()), type(), member(received.peer), kTag, comm_,
                        &receives_[slot(t, kReceives)]),
              "MPI_Irecv");
  }

  /// What receive t brought becomes part of the data.
  void take_in(std::int64_t t) {
    const Transfer& received = receive(t);
    if (make_ != nullptr && received.is_first_use) (*make_)(received.range);
    float* const dst = data_.data() + received.range.begin;
    if (is_bf16_) {
      const auto* const words = reinterpret_cast<const std::uint16_t*>(landing(t));
      (received.reduces ? sum_kernels().add_bf16_into : sum_kernels().expand_bf16)(dst, words, received.range.size());
    } else if (received.reduces) {
      sum_kernels().add_into(dst, reinterpret_cast<const float*>(landing(t)), received.range.size());
    }
  }

  MPI_Datatype type() const { return is_bf16_ ? MPI_UINT16_T : MPI_FLOAT; }

  static bool is_done(MPI_Request& request) {
    int done = 0;
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    return done != 0;
  }

  /// Of sends under way, each once.
  std::vector<int> recipients_of_sends() const {
    std::vector<int> ranks;
    for (std::int64_t t = done_sends_; t < posted_sends_; ++t) {
      if (send(t).range.size() > 0) ranks.push_back(member(send(t).peer));
    }
    std::ranges::sort(ranks);
    ranks.erase(std::ranges::unique(ranks).begin(), ranks.end());
    return ranks;
  }

  std::string describe() const {
    const bool receives = taken_in_ < std::ssize(plan_.receives);
    const std::int64_t t = receives ? taken_in_ : done_sends_;
    const Transfer& waiting = receives ? receive(t) : send(t);
    return std::string(name_) + " all-reduce on rank " + std::to_string(exchange_.communicator_.rank()) + ": " +
           (receives ? "receiving" : "sending") + " elements " + std::to_string(waiting.range.begin) + " to " +
           std::to_string(waiting.range.end) + (receives ? " from rank " : " to rank ") + std::to_string(member(waiting.peer)) +
           ", transfer " + std::to_string(t + 1) + " of " +
           std::to_string(receives ? plan_.receives.size() : plan_.sends.size());
  }

  Exchange& exchange_;
  MPI_Comm comm_;
  const ExchangePlan& plan_;
  const RankGroup& group_;
  std::span<float> data_;
  const char* name_;
  const std::function<void(const Range&)>* make_;
  bool is_bf16_;
  // Of each list, so many from the first on.
  std::int64_t posted_sends_ = 0;
  std::int64_t done_sends_ = 0;  ///< have left
  std::int64_t posted_receives_ = 0;
  std::int64_t taken_in_ = 0;  ///< receives whose content is part of the data
  std::array<MPI_Request, kSends> sends_{};
  std::array<MPI_Request, kReceives> receives_{};
};

void Exchange::run(const Sum& sum) { Run(*this, sum).run(); }

}  // namespace dtrain
