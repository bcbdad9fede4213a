// Carries out exchange plans on sets of ranks instead of numbers.
#pragma once

#include <gtest/gtest.h>

#include <bitset>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "schedules/exchange.hpp"

namespace dtrain {

/// The ranks whose contribution an element holds.
using Contributors = std::bitset<512>;
using StepsOf = std::function<std::vector<ExchangeStep>(int size, int rank, Range whole)>;

/// All ranks carry out their steps in lockstep on `elements` elements. Result: holdings[rank][element]. Reports a contribution
/// that would be added twice, and transfers whose two sides disagree.
inline std::vector<std::vector<Contributors>> simulate(const StepsOf& steps_of, int size, std::int64_t elements) {
  const auto ranks = static_cast<std::size_t>(size);
  std::vector<std::vector<ExchangeStep>> plans;
  std::vector<std::vector<Contributors>> holdings(ranks, std::vector<Contributors>(static_cast<std::size_t>(elements)));
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    plans.push_back(steps_of(size, static_cast<int>(rank), {0, elements}));
    for (Contributors& element : holdings[rank]) element.set(rank);
    EXPECT_EQ(plans[rank].size(), plans[0].size()) << "ranks in lockstep";
  }
  for (std::size_t step = 0; step < plans[0].size(); ++step) {
    // What leaves in this step is what was there before it.
    std::vector<std::vector<Contributors>> sent(ranks);
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      const Range& range = plans[rank][step].send;
      if (plans[rank][step].send_peer == kNobody) continue;
      sent[rank].assign(holdings[rank].begin() + range.begin, holdings[rank].begin() + range.end);
    }
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      const ExchangeStep& mine = plans[rank][step];
      if (mine.receive_peer == kNobody) continue;
      const auto sender = static_cast<std::size_t>(mine.receive_peer);
      EXPECT_EQ(plans[sender][step].send_peer, static_cast<int>(rank)) << "step " << step;
      EXPECT_EQ(plans[sender][step].send, mine.receive) << "step " << step << ", rank " << rank;
      EXPECT_EQ(plans[sender][step].reduces, mine.reduces) << "step " << step << ", rank " << rank;
      for (std::int64_t i = 0; i < mine.receive.size(); ++i) {
        Contributors& element = holdings[rank][static_cast<std::size_t>(mine.receive.begin + i)];
        const Contributors& arrived = sent[sender][static_cast<std::size_t>(i)];
        if (mine.reduces) {
          EXPECT_TRUE((element & arrived).none()) << "a rank counted twice in step " << step << " on rank " << rank;
          element |= arrived;
        } else {
          element = arrived;
        }
      }
    }
  }
  return holdings;
}

inline void expect_every_element_holds_every_rank_once(const StepsOf& steps_of, int size, std::int64_t elements) {
  Contributors everybody;
  for (int rank = 0; rank < size; ++rank) everybody.set(static_cast<std::size_t>(rank));

  const std::vector<std::vector<Contributors>> holdings = simulate(steps_of, size, elements);

  for (std::size_t rank = 0; rank < holdings.size(); ++rank) {
    for (std::size_t i = 0; i < holdings[rank].size(); ++i) {
      ASSERT_EQ(holdings[rank][i], everybody) << "element " << i << " on rank " << rank << " of " << size;
    }
  }
}

}  // namespace dtrain
