// From steps to a pipeline of segments.
#include "schedules/exchange.hpp"

#include <algorithm>

#include "dtrain/error.hpp"

namespace dtrain {

namespace {

bool overlap(const Range& a, const Range& b) { return a.begin < b.end && b.begin < a.end; }

/// Number of the last transfer from `first` on that touches `range`, plus one; `first` when none does.
std::int64_t end_of_overlap(const std::vector<Transfer>& transfers, std::int64_t first, const Range& range) {
  for (auto number = std::ssize(transfers); number > first; --number) {
    if (overlap(transfers[static_cast<std::size_t>(number - 1)].range, range)) return number;
  }
  return first;
}

std::int64_t segments_of(const Range& range, std::int64_t segment_elements) {
  return std::max<std::int64_t>(1, (range.size() + segment_elements - 1) / segment_elements);
}

}  // namespace

// Note [Transfers wait for the step before alone]
// Receives are taken in one after the other. A send of step s therefore needs all receives of the steps before s−1, and of
// those of step s−1 the ones up to the last that touches its range. Both parties of a transfer wait only for transfers of
// earlier steps, so waiting cannot form a circle.
ExchangePlan cut_into_segments(const std::vector<ExchangeStep>& steps, std::int64_t segment_elements) {
  check(segment_elements > 0, "cut_into_segments: segment_elements > 0");
  ExchangePlan plan;
  std::vector<Range> used;              // of the steps before
  std::int64_t last_step_receives = 0;  // where the receives of the step before begin
  const auto is_unused = [&](const Range& range) {
    return std::none_of(used.begin(), used.end(), [&](const Range& earlier) { return overlap(earlier, range); });
  };
  for (const ExchangeStep& step : steps) {
    const std::int64_t step_receives = std::ssize(plan.receives);
    const std::int64_t step_sends = std::ssize(plan.sends);
    const bool send_is_first_use = is_unused(step.send);
    const bool receive_is_first_use = is_unused(step.receive);
    if (step.send_peer != kNobody) {
      const std::int64_t segments = segments_of(step.send, segment_elements);
      for (std::int64_t i = 0; i < segments; ++i) {
        const Range range = split_range(step.send, segments, i);
        plan.sends.push_back({.peer = step.send_peer,
                              .range = range,
                              .reduces = step.reduces,
                              .is_first_use = send_is_first_use,
                              .after = end_of_overlap(plan.receives, last_step_receives, range)});
      }
    }
    if (step.receive_peer != kNobody) {
      const std::int64_t segments = segments_of(step.receive, segment_elements);
      for (std::int64_t i = 0; i < segments; ++i) {
        const Range range = split_range(step.receive, segments, i);
        // What the same step sends is another range, or was here before: only earlier sends can be overwritten.
        std::int64_t after = 0;
        if (!step.reduces) {
          after = step_sends;
          while (after > 0 && !overlap(plan.sends[static_cast<std::size_t>(after - 1)].range, range)) --after;
        }
        plan.receives.push_back({.peer = step.receive_peer,
                                 .range = range,
                                 .reduces = step.reduces,
                                 .is_first_use = receive_is_first_use,
                                 .after = after});
      }
    }
    if (step.send_peer != kNobody) used.push_back(step.send);
    if (step.receive_peer != kNobody) used.push_back(step.receive);
    last_step_receives = step_receives;
  }
  return plan;
}

ExchangeCost cost_of(const std::vector<ExchangeStep>& steps) {
  ExchangeCost cost{.steps = std::ssize(steps)};
  for (const ExchangeStep& step : steps) {
    if (step.send_peer != kNobody && step.send.size() > 0) {
      ++cost.messages;
      cost.elements_sent += step.send.size();
    }
    if (step.receive_peer != kNobody && step.reduces) cost.elements_reduced += step.receive.size();
  }
  return cost;
}

}  // namespace dtrain
