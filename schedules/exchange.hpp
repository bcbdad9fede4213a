// What an all-reduce between ranks is made of: steps, in each of which a rank sends one range and receives another; how steps
// are cut into transfers that run as a pipeline; and what it all costs. Pure; carried out by collectives/exchange.
#pragma once

#include <cstdint>
#include <vector>

#include "schedules/shards.hpp"

namespace dtrain {

/// No peer: nothing is sent or received.
inline constexpr int kNobody = -1;

/// One step of one rank of a group; ranks are those of the group.
struct ExchangeStep {
  int send_peer = kNobody;
  Range send;
  int receive_peer = kNobody;
  Range receive;
  bool reduces = false;  ///< true: the receiver adds what arrives, partial sums; false: it replaces, full sums
};

/// A segment on its way, to or from `peer`.
struct Transfer {
  int peer = kNobody;
  Range range;                ///< may be empty: then nothing travels
  bool reduces = false;       ///< as the step's
  bool is_first_use = false;  ///< no earlier transfer of this rank touches the range: what it holds may be made just before
  /// Of a send: so many receives, from the first on, must have been taken in, since it carries what they brought. Of a receive
  /// that replaces: so many sends must have left, since it overwrites what they carry. Of one that reduces: 0.
  std::int64_t after = 0;
};

struct ExchangePlan {
  std::vector<Transfer> sends, receives;  ///< each list in the order in which it is posted
};

/// Cuts the steps of a rank into transfers of at most `segment_elements`. A segment travels on in the next step as soon as it
/// has been taken in, while the rest of its range still arrives. Sender and receiver cut alike, since they mean the same range.
/// Cost: the square of the number of steps, and the segments of each step times those of the step before.
ExchangePlan cut_into_segments(const std::vector<ExchangeStep>& steps, std::int64_t segment_elements);

/// What one rank does in an exchange.
struct ExchangeCost {
  std::int64_t steps = 0;
  std::int64_t messages = 0;  ///< ranges sent; empty ones are not
  std::int64_t elements_sent = 0;
  std::int64_t elements_reduced = 0;

  bool operator==(const ExchangeCost&) const = default;
};
ExchangeCost cost_of(const std::vector<ExchangeStep>& steps);

}  // namespace dtrain
