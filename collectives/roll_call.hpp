// Who has been heard from while ranks wait for each other: a table of all ranks that spreads from neighbour to neighbour. Pure
// bookkeeping: it sends nothing and reads no clock.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dtrain {

/// What became of a rank, in the order in which the later word outweighs the earlier.
enum class Fate : std::uint32_t {
  unknown,  ///< it may be computing, waiting, or be about to be given up
  leaving,  ///< it met an error of its own, says so, and ends the job
  silent,   ///< given up: it did not answer in time
  stopped,  ///< given up: its process is stopped (SIGSTOP, a debugger)
  ended,    ///< given up: its process is gone
};

/// What a rank that answers is about. Those after the first hold up the others for a good reason.
enum class Activity : std::uint32_t {
  waits,  ///< for other ranks
  reads,  ///< waits for images
  saves,  ///< waits for a file that it writes
};
/// "waits for images", "saves a file".
const char* to_text(Activity activity);

// Note [Notices travel by way of neighbours]
// A rank that has waited for long raises its own count in the table and sends the table to the ranks 1, 2, 4, … places before
// and behind it; whoever waits merges, element by element, the larger count, and hands on what was news to it. So word
// of everybody reaches everybody in log₂ p hops, of 2·log₂ p small messages a rank each, and around ranks that are silent: p −
// 1 connections of every rank (512 ranks: 261 632 of them) are not needed. Counts only grow: old tables do no harm, in any
// order. A fate is a count that no answer reaches. The two lowest bits of a count are what its rank was about then.
class RollCall {
 public:
  RollCall(int rank, int size);

  /// The ranks to exchange tables with, each once, the own rank not among them.
  static std::vector<int> neighbours(int rank, int size);

  /// This rank answers: it is alive and waits.
  void answer(double now_s, Activity activity = Activity::waits);
  /// What became of a rank; a weaker fate than the one known changes nothing.
  void mark(int rank, Fate fate);
  /// Takes over what another rank knows. Result: whether anything was news.
  bool merge(std::span<const std::uint32_t> table, double now_s);

  std::span<const std::uint32_t> table() const { return table_; }
  int size() const { return static_cast<int>(table_.size()); }
  Fate fate(int rank) const;
  /// What a rank was about when it last answered.
  Activity activity(int rank) const;
  /// Whether a rank has answered since then, by the clock of answer() and merge(). The own rank always has.
  bool was_heard(int rank, double since_s) const;
  /// Whether any other rank has.
  bool was_anybody_heard(double since_s) const;
  /// Whether a rank other than this one has been given up.
  bool has_given_up() const;

 private:
  int rank_;
  std::vector<std::uint32_t> table_;  ///< answers so far, or a fate
  std::vector<double> heard_at_s_;
};

}  // namespace dtrain
