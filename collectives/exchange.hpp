// Carries out the plans of schedules/exchange over MPI: segments in flight, added as they arrive.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "collectives/communicator.hpp"
#include "collectives/waiting.hpp"
#include "schedules/exchange.hpp"

namespace dtrain {

/// Type in which values travel between ranks. Sums are made in f32 always; bf16 rounds to nearest even what is sent.
enum class WireType { fp32, bf16 };
/// "fp32" or "bf16". Errors: ConfigError.
WireType parse_wire_type(std::string_view text);
const char* to_text(WireType wire);
inline int wire_bytes(WireType wire) { return wire == WireType::bf16 ? 2 : 4; }

/// Ranks that exchange with each other, in the order of a plan's ranks.
struct RankGroup {
  std::vector<int> members;  ///< their ranks in the communicator
  int self = 0;              ///< which of them this is
};

class Exchange {
 public:
  /// Transfers of at most this many elements.
  static std::int64_t segment_elements();

  /// communicator: outlives this. Allocates the scratch of the segments in flight, 2 MB.
  Exchange(const Communicator& communicator, WaitPolicy wait);

  struct Sum {
    const ExchangePlan& plan;
    const RankGroup& group;
    std::span<float> data;  ///< the plan's ranges are of it
    const char* name = "";  ///< for messages
    WireType wire = WireType::fp32;
    /// Where given, is called for each range just before its first use, and makes what this rank adds to the sum.
    const std::function<void(const Range&)>* make = nullptr;
  };
  /// Carries out a plan, in place. The peers carry out theirs.
  /// Result: the sums, bitwise equal on all ranks of the group. With a bf16 wire each of h additions and the last sum round
  /// what they take: |error| ≤ ((1+2⁻⁸)^(h+1) − 1) · Σ|addends|. Cost: that of the plan (cost_of), wire_bytes an element.
  /// Errors: CommError: MPI failed, or a peer stopped answering (names it and the transfer). `data` and this must then live
  /// until the job has ended.
  void run(const Sum& sum);

 private:
  class Run;
  static constexpr int kSends = 4;
  static constexpr int kReceives = 2;

  const Communicator& communicator_;
  WaitPolicy wait_;
  PollPace pace_;
  std::unique_ptr<std::byte[]> landings_;  ///< what arrives to be added or expanded, one for each receive in flight
  std::unique_ptr<std::byte[]> rounded_;   ///< bf16: what leaves, one for each send in flight
};

}  // namespace dtrain
