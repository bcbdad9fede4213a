// The halving-doubling all-reduce: partners at doubling distance exchange halves of what they still sum, then give back what
// they have summed in the opposite order.
//
//   size 4        sends   keeps             sends   keeps        then back: every rank sends what it keeps to the
//   rank 0 ↔ 1    CD      AB     0 ↔ 2      B       A            partner of the last step, both then to that of the first
//   rank 1 ↔ 0    AB      CD     1 ↔ 3      D       C
//   rank 2 ↔ 3    CD      AB     2 ↔ 0      A       B
//   rank 3 ↔ 2    AB      CD     3 ↔ 1      C       D
// The largest ranges travel between neighbouring ranks, which often share a node.
//
// Ranks beyond the largest power of two: of the first 2·extra ranks, every odd one adds its even neighbour's elements to its
// own before, stands for both, and hands the sum back after.
#include "schedules/halving_doubling.hpp"

#include <bit>

#include "dtrain/error.hpp"

namespace dtrain {

std::vector<ExchangeStep> halving_doubling_steps(int size, int rank, Range whole) {
  check(size > 0 && rank >= 0 && rank < size, "halving_doubling_steps: 0 <= rank < size");
  const int power = static_cast<int>(std::bit_floor(static_cast<unsigned>(size)));
  const int extra = size - power;
  const bool is_folded = rank < 2 * extra;  // one of a pair, of which the odd rank goes on
  const bool goes_on = !is_folded || rank % 2 == 1;
  const auto rank_of = [&](int position) { return position < extra ? 2 * position + 1 : position + extra; };
  const int position = is_folded ? rank / 2 : rank - extra;

  std::vector<ExchangeStep> steps;
  if (extra > 0) {
    ExchangeStep fold{.reduces = true};
    if (is_folded && goes_on) fold = {.receive_peer = rank - 1, .receive = whole, .reduces = true};
    if (is_folded && !goes_on) fold = {.send_peer = rank + 1, .send = whole, .reduces = true};
    steps.push_back(fold);
  }

  Range kept = whole;
  std::vector<ExchangeStep> gathering;  // last step first
  for (int distance = 1; distance < power; distance *= 2) {
    const bool keeps_lower = (position & distance) == 0;
    const Range lower = split_range(kept, 2, 0);
    const Range upper = split_range(kept, 2, 1);
    const Range sent = keeps_lower ? upper : lower;
    kept = keeps_lower ? lower : upper;
    const int peer = rank_of(position ^ distance);
    steps.push_back(goes_on
                        ? ExchangeStep{.send_peer = peer, .send = sent, .receive_peer = peer, .receive = kept, .reduces = true}
                        : ExchangeStep{.reduces = true});
    gathering.push_back(goes_on ? ExchangeStep{.send_peer = peer, .send = kept, .receive_peer = peer, .receive = sent}
                                : ExchangeStep{});
  }
  steps.insert(steps.end(), gathering.rbegin(), gathering.rend());

  if (extra > 0) {
    ExchangeStep unfold;
    if (is_folded && goes_on) unfold = {.send_peer = rank - 1, .send = whole};
    if (is_folded && !goes_on) unfold = {.receive_peer = rank + 1, .receive = whole};
    steps.push_back(unfold);
  }
  return steps;
}

}  // namespace dtrain
