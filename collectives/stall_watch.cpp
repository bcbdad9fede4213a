// When to call the roll, when to warn, when to give up, and what to say; see stall_watch.hpp.
//
//   0           S/4            S/3              S                      S: the wait's time-out (--stall-timeout)
//   ├────────────┼──────────────┼───────────────┤
//    processes    roll call      warning         who did not answer is given up: an error on every rank
//
// A process that has ended ends the wait at once, on every rank that word of it reaches.
#include "collectives/stall_watch.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <thread>

#include "collectives/agreement.hpp"

// Note [Time is not up while a rank is busy]
// A rank that waits for images, or for a file that it saves, answers the roll call itself, with what it is about; how long that
// may last is for it to say. While its answers come, the clocks of those who wait for it stand still: they count from the last
// of these answers on, since it has all the rest of its step still to do then. Other ranks get no more time by that.
namespace dtrain {

namespace {

/// While an error is made known: tables travel one hop in this time, and the error must not come much later.
constexpr std::chrono::milliseconds kPause{5};
constexpr int kPauses = 20;

/// The longest pause between two answers, whose rank may be asked by others with a shorter time-out.
constexpr double kLongestPeriod_s = 1.0;

/// Launchers ask to end a second after they lost a rank, and kill a second later.
constexpr double kLongWaitBeforeStop_s = 0.9;
constexpr double kStopRollCall_s = 0.35;

/// Who meets an error of its own ends the job within seconds.
constexpr double kPatienceWithLeaving_s = 10.0;

/// Of long lists.
constexpr std::size_t kNamedGroups = 12;

std::string tenths(double seconds) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f s", seconds);
  return text.data();
}

const char* remedy_for(Fate worst) {
  switch (worst) {
    case Fate::ended:
      return "look for what ended it (out of memory: the kernel's log); --resume auto goes on from the last checkpoint";
    case Fate::stopped:
      return "look for what stopped it (a debugger, a suspended job); --resume auto goes on from the last checkpoint";
    default:
      return "look for a rank that hangs, a host that is down and a broken link; a longer --stall-timeout where a rank is only "
             "slow; --resume auto goes on from the last checkpoint";
  }
}

std::vector<RankProcesses::Entry> entries_of(int own_rank, const std::vector<StallWatch::WatchedRank>& ranks) {
  std::vector<RankProcesses::Entry> entries;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    if (static_cast<int>(rank) == own_rank || !ranks[rank].process) continue;
    entries.push_back({.rank = static_cast<int>(rank), .process = *ranks[rank].process});
  }
  return entries;
}

}  // namespace

StallWatch::StallWatch(int rank, std::vector<WatchedRank> ranks, Links links)
    : rank_(rank),
      ranks_(std::move(ranks)),
      links_(std::move(links)),
      processes_(entries_of(rank, ranks_)),
      roll_(rank, static_cast<int>(ranks_.size())),
      neighbours_(RollCall::neighbours(rank, roll_.size())),
      is_behind_(neighbours_.size(), false),
      arrived_(ranks_.size()),
      busy_at_s_(ranks_.size(), kLongAgo_s),
      processes_beside_mpi_(processes_) {}

StallWatch::~StallWatch() { hush(false); }

void StallWatch::begin_wait(double now_s) {
  was_hushed_ = is_hushed_;
  begin_s_ = answered_s_ = now_s;
  processes_.forget_stops();
  stop_seen_s_.reset();
  left_seen_s_.reset();
  has_named_missing_ = has_warned_ = has_looked_for_stall_ = false;
}

void StallWatch::end_wait(double waited_s) {
  if (has_given_up_) return;
  hush(was_hushed_);
  if (has_warned_ && warn_) warn_("the wait is over after " + tenths(waited_s));
}

// Note [Ended processes are looked for before notices are read]
// A rank that leaves by an error of its own has sent word before its process ends. Whoever finds the process gone therefore
// finds that word, too, when it reads its notices afterwards, and does not report a rank as killed that has spoken for itself.
void StallWatch::look(const WaitPolicy& wait, double waited_s, double now_s, const std::function<std::string()>& describe) {
  const std::optional<int> ended = processes_.find_ended();
  read_notices(now_s);
  if (ended && roll_.fate(*ended) != Fate::leaving) roll_.mark(*ended, Fate::ended);
  if (wait.timeout_s > patience_with_stopped_s_) {
    const std::optional<int> stopped = processes_.find_stopped(now_s, patience_with_stopped_s_);
    if (stopped) roll_.mark(*stopped, Fate::stopped);
  }
  if (roll_.has_given_up() || roll_.fate(rank_) >= Fate::silent) give_up(describe, wait, waited_s);
  require_nobody_left(describe, now_s);
  if (left_seen_s_) return;

  see_stop_request(describe, waited_s, now_s);
  answer_roll_call(wait, waited_s, now_s);
  if (wait.activity != Activity::waits) return;
  const double recently_s = now_s - memory_s(wait.timeout_s);
  if (waited_s >= wait.timeout_s / 3 && !has_looked_for_stall_) {
    has_looked_for_stall_ = true;
    if (speaks_for_all(recently_s)) warn_of_stall(describe, waited_s, recently_s);
  }
  if (stop_seen_s_ && !has_named_missing_ && now_s - *stop_seen_s_ >= kStopRollCall_s) {
    has_named_missing_ = true;
    const std::vector<int> missing = unheard(*stop_seen_s_ - LongWait::kLongestSleep_s);
    if (!missing.empty() && warn_)
      warn_("waiting for " + tenths(waited_s) + " now, without an answer from " + text_of(missing, processes_, &roll_));
  }
  for (const int rank : busy(recently_s)) {
    busy_at_s_[static_cast<std::size_t>(rank)] = now_s;
    excused_s_.store(now_s, std::memory_order_relaxed);
  }
  if (waited_s < wait.timeout_s) return;
  // Where all answer, the last to come has perhaps only just come; it gets as much time again as the roll call.
  std::vector<int> silent = unheard(recently_s);
  std::erase_if(silent, [&](int rank) { return now_s - busy_at_s_[static_cast<std::size_t>(rank)] < wait.timeout_s; });
  const double counted_s = std::min(waited_s, now_s - excused_s_.load(std::memory_order_relaxed));
  if (silent.empty() && counted_s < wait.timeout_s * 4 / 3) return;
  mark_silent(silent);
  give_up(describe, wait, waited_s);
}

void StallWatch::look_beside_mpi(const BesideMpi& wait, const std::function<std::string()>& describe) {
  if (wait.waited_s < waited_beside_mpi_s_) has_warned_beside_mpi_ = has_told_of_stop_beside_mpi_ = false;  // another wait
  waited_beside_mpi_s_ = wait.waited_s;
  RankProcesses& processes = processes_beside_mpi_;
  const bool has_ended = processes.find_ended().has_value();
  if (processes.has_own_error() && wait.waited_s < wait.timeout_s + kPatienceWithLeaving_s) return;  // it speaks for itself

  const bool tells_of_stop = !has_told_of_stop_beside_mpi_ && wait.waited_s >= kLongWaitBeforeStop_s &&
                             stop_requested_ != nullptr && stop_requested_->load(std::memory_order_relaxed);
  const bool warns = !has_warned_beside_mpi_ && wait.waited_s >= wait.timeout_s / 3 && rank_ == 0;
  const double counted_s = std::min(wait.waited_s, monotonic_s() - excused_s_.load(std::memory_order_relaxed));
  const bool gives_up = has_ended || counted_s >= wait.timeout_s;
  if (!tells_of_stop && !warns && !gives_up) return;
  std::vector<int> lost;
  for (int rank = 0; rank < roll_.size(); ++rank) {
    const auto state = processes.state(rank);
    if (state == ProcessState::ended || state == ProcessState::stopped) lost.push_back(rank);
  }
  const std::string missing = lost.empty() ? "ranks that cannot be told from here" : text_of(lost, processes, nullptr);
  const std::string waiting = ": waiting for " + tenths(wait.waited_s) + " now, without an answer from " + missing;
  if (gives_up) {
    show_leaving(Leaving::others_lost);
    has_given_up_ = wait.is_stuck;
    has_given_up_beside_mpi_ = true;
    lost_beside_mpi_ = lost;
    throw LostRanksError(
        Fault{.doing = doing_beside_mpi(describe),
              .expected = "all " + std::to_string(roll_.size()) + " ranks within " + seconds_text(wait.timeout_s),
              .found = "after " + tenths(wait.waited_s) + " no answer from " + missing,
              .remedy = remedy_for(has_ended      ? Fate::ended
                                   : lost.empty() ? Fate::silent
                                                  : Fate::stopped)});
  }
  has_told_of_stop_beside_mpi_ = has_told_of_stop_beside_mpi_ || tells_of_stop;
  has_warned_beside_mpi_ = true;
  if (warn_) warn_((tells_of_stop ? "asked to stop while " : "") + doing_beside_mpi(describe) + waiting);
}

void StallWatch::tell_of_broken_connection() {
  if (!warn_) return;
  std::vector<int> suspects = given_up();
  if (suspects.empty() && recipients_ != nullptr) suspects = (*recipients_)();
  if (suspects.empty() && answered_s_ > begin_s_) {  // then the tables go to neighbours
    std::ranges::copy_if(neighbours_, std::back_inserter(suspects), [&](int rank) { return !roll_.was_heard(rank, begin_s_); });
  }
  std::erase_if(suspects, [&](int rank) { return processes_.state(rank) == ProcessState::running; });
  const std::string text = suspects.empty() ? "a rank that cannot be told from here" : text_of(suspects, processes_, &roll_);
  warn_((subject_ != nullptr ? "exchanging " + *subject_ : "exchanging with other ranks") +
        ": a connection has broken, and the MPI library ends this rank: no answer from " + text +
        (suspects.size() > 1 ? ", or from one of these" : ""));
}

void StallWatch::leave() {
  if (has_given_up_) return;
  hush(true);
  if (!has_given_up_beside_mpi_) {
    show_leaving(Leaving::by_own_error);
    roll_.mark(rank_, Fate::leaving);
  }
  for (const int rank : lost_beside_mpi_) {
    roll_.mark(rank, processes_.state(rank) == ProcessState::stopped ? Fate::stopped : Fate::ended);
  }
  // Ranks of this machine would see the process end before word had gone round: they get it first-hand.
  for (int rank = 0; rank < roll_.size(); ++rank) {
    const bool is_neighbour = std::ranges::binary_search(neighbours_, rank);
    if (processes_.pid(rank) != 0 && !is_neighbour && roll_.fate(rank) != Fate::ended) links_.send(rank, roll_.table());
  }
  is_behind_.assign(is_behind_.size(), true);
  for (int pause = 0; pause < 2 * kPauses; ++pause) {  // all who wait have looked since
    hand_on();
    std::this_thread::sleep_for(kPause);
  }
}

void StallWatch::hush(bool is_hushed) {
  if (links_.hush && is_hushed != is_hushed_) links_.hush(is_hushed);
  is_hushed_ = is_hushed;
}

void StallWatch::read_notices(double now_s) {
  // As many as can have come since the last look, and no end where they come faster than they are read.
  for (std::size_t read = 0; read < 4 * neighbours_.size() && links_.receive(arrived_); ++read) {
    if (roll_.merge(arrived_, now_s)) is_behind_.assign(is_behind_.size(), true);
  }
}

/// Not to ranks whose process has ended: Open MPI would try to connect to them, and may wait for the launcher before it fails.
void StallWatch::hand_on() {
  for (std::size_t i = 0; i < neighbours_.size(); ++i) {
    if (roll_.fate(neighbours_[i]) == Fate::ended) is_behind_[i] = false;
    if (is_behind_[i]) is_behind_[i] = !links_.send(neighbours_[i], roll_.table());
  }
}

/// For so long an answer counts: while its rank could have answered twice more, and word of it come round. What is left of an
/// earlier stall is older when a time-out is over.
double StallWatch::memory_s(double timeout_s) const {
  const double hops = std::log2(static_cast<double>(roll_.size()) + 1.0) + 1.0;
  return std::min(2.5 * period_s(timeout_s) + hops * LongWait::kLongestSleep_s, timeout_s / 2);
}

double StallWatch::period_s(double timeout_s) const {
  return stop_seen_s_ ? LongWait::kLongestSleep_s : std::min(timeout_s / 6, kLongestPeriod_s);
}

/// A launcher that lost a rank kills the others soon, and may keep MPI waiting meanwhile: what is known is said first.
void StallWatch::see_stop_request(const std::function<std::string()>& describe, double waited_s, double now_s) {
  if (stop_seen_s_ || stop_requested_ == nullptr || waited_s < kLongWaitBeforeStop_s) return;
  if (!stop_requested_->load(std::memory_order_relaxed)) return;
  stop_seen_s_ = now_s;
  if (warn_) warn_("asked to stop while " + doing(describe) + ": waiting for " + tenths(waited_s) + " now");
}

/// Answers when it is time to, or when somebody else calls.
void StallWatch::answer_roll_call(const WaitPolicy& wait, double waited_s, double now_s) {
  const double timeout_s = wait.timeout_s;
  const bool is_called = waited_s >= timeout_s / 4 || stop_seen_s_ || roll_.was_anybody_heard(begin_s_);
  const bool is_first = answered_s_ == begin_s_;
  if (is_called && (is_first || now_s - answered_s_ >= period_s(timeout_s))) {
    hush(true);
    roll_.answer(now_s, wait.activity);
    answered_s_ = now_s;
    is_behind_.assign(is_behind_.size(), true);
  }
  hand_on();
}

void StallWatch::warn_of_stall(const std::function<std::string()>& describe, double waited_s, double since_s) {
  has_warned_ = true;
  if (!warn_) return;
  const std::vector<int> missing = unheard(since_s);
  const std::vector<int> others = busy(since_s);
  std::string why = missing.empty() ? "" : "without an answer from " + text_of(missing, processes_, &roll_);
  if (!others.empty()) why += (why.empty() ? "" : ", ") + std::string("while ") + text_of_busy(others);
  warn_(doing(describe) + ": waiting for " + tenths(waited_s) + " now, " + (why.empty() ? "while every rank answers" : why));
}

void StallWatch::mark_silent(const std::vector<int>& ranks) {
  for (const int rank : ranks) {
    const auto state = processes_.state(rank);
    roll_.mark(rank, state == ProcessState::ended     ? Fate::ended
                     : state == ProcessState::stopped ? Fate::stopped
                                                      : Fate::silent);
  }
}

void StallWatch::give_up(const std::function<std::string()>& describe, const WaitPolicy& wait, double waited_s) {
  has_given_up_ = true;
  hush(true);
  show_leaving(Leaving::others_lost);
  is_behind_.assign(is_behind_.size(), true);
  for (int pause = 0; pause < kPauses; ++pause) {
    hand_on();
    std::this_thread::sleep_for(kPause);
    read_notices(monotonic_s());
  }
  const std::vector<int> lost = given_up();
  Fate worst = Fate::unknown;
  for (const int rank : lost) worst = std::max(worst, roll_.fate(rank));
  std::string found = "after " + tenths(waited_s) + " ";
  if (!lost.empty()) {
    found += "no answer from " + text_of(lost, processes_, &roll_);
  } else if (roll_.fate(rank_) >= Fate::silent) {
    found += "word that the other ranks have given this one up, which had not answered";
  } else {
    found += "answers from every rank, but not what was waited for";
  }
  const double limit_s = worst == Fate::stopped ? std::min(wait.timeout_s, patience_with_stopped_s_) : wait.timeout_s;
  throw LostRanksError(Fault{.doing = doing(describe),
                             .expected = "all " + std::to_string(roll_.size()) + " ranks within " + seconds_text(limit_s),
                             .found = found,
                             .remedy = remedy_for(worst)});
}

/// A rank that leaves ends the job. Should that not come to pass, this rank ends its wait.
void StallWatch::require_nobody_left(const std::function<std::string()>& describe, double now_s) {
  std::vector<int> leaving;
  for (int rank = 0; rank < roll_.size(); ++rank) {
    if (rank != rank_ && roll_.fate(rank) == Fate::leaving) leaving.push_back(rank);
  }
  if (leaving.empty()) return;
  if (!left_seen_s_) {
    left_seen_s_ = now_s;
    is_behind_.assign(is_behind_.size(), true);
  }
  hand_on();
  if (now_s - *left_seen_s_ < kPatienceWithLeaving_s) return;
  throw LostRanksError(Fault{.doing = doing(describe),
                             .expected = "the end of the job, after an error on " + text_of(leaving, processes_, &roll_),
                             .found = "none within " + seconds_text(kPatienceWithLeaving_s),
                             .remedy = "read what that rank said; the launcher may have lost its host"});
}

/// Ranks other than this one.
std::vector<int> StallWatch::given_up() const {
  std::vector<int> ranks;
  for (int rank = 0; rank < roll_.size(); ++rank) {
    if (rank != rank_ && roll_.fate(rank) >= Fate::silent) ranks.push_back(rank);
  }
  return ranks;
}

std::vector<int> StallWatch::unheard(double since_s) const {
  std::vector<int> ranks;
  for (int rank = 0; rank < roll_.size(); ++rank) {
    if (!roll_.was_heard(rank, since_s)) ranks.push_back(rank);
  }
  return ranks;
}

std::vector<int> StallWatch::busy(double since_s) const {
  std::vector<int> ranks;
  for (int rank = 0; rank < roll_.size(); ++rank) {
    const bool is_known = rank != rank_ && roll_.was_heard(rank, since_s);
    if (is_known && roll_.activity(rank) != Activity::waits) ranks.push_back(rank);
  }
  return ranks;
}

/// "rank 1 on n2 waits for images". Many of them: the first, and how many more.
std::string StallWatch::text_of_busy(const std::vector<int>& ranks) const {
  const std::string others = ranks.size() == 1 ? "" : " (and " + std::to_string(ranks.size() - 1) + " more)";
  return text_of({ranks.front()}, processes_, &roll_) + " " + to_text(roll_.activity(ranks.front())) + others;
}

/// "rank 3 on n2 (process 1234 has ended), ranks 4–7 on n3". Neighbours of one host and one fate are put together.
std::string StallWatch::text_of(const std::vector<int>& ranks, const RankProcesses& processes, const RollCall* roll) const {
  const auto remark = [&](int rank) -> std::string {
    const std::int64_t pid = processes.pid(rank);
    const std::string process = pid > 0 ? "process " + std::to_string(pid) : "its process";
    const auto state = processes.state(rank);
    const Fate fate = roll != nullptr ? roll->fate(rank) : Fate::unknown;
    if (fate == Fate::ended || state == ProcessState::ended) return " (" + process + " has ended)";
    if (fate == Fate::stopped || state == ProcessState::stopped) return " (" + process + " is stopped)";
    return "";
  };
  const auto host = [&](int rank) -> const std::string& { return ranks_[static_cast<std::size_t>(rank)].host; };
  std::string text;
  std::size_t groups = 0;
  for (std::size_t i = 0; i < ranks.size(); ++groups) {
    const std::string first_remark = remark(ranks[i]);
    std::vector<int> together{ranks[i]};
    for (++i; i < ranks.size() && host(ranks[i]) == host(together.front()) && remark(ranks[i]) == first_remark; ++i) {
      together.push_back(ranks[i]);
    }
    if (groups == kNamedGroups) return text + " and others";
    text += (text.empty() ? "" : ", ") + std::string(together.size() == 1 ? "rank " : "ranks ") + to_rank_list(together) +
            " on " + host(together.front()) + first_remark;
  }
  return text;
}

std::string StallWatch::doing(const std::function<std::string()>& describe) const {
  if (subject_ != nullptr) return "exchanging " + *subject_ + ", " + describe();
  return doing_beside_mpi(describe);
}

std::string StallWatch::doing_beside_mpi(const std::function<std::string()>& describe) const {
  return subject_beside_mpi_ != nullptr ? "updating weights with " + *subject_beside_mpi_ + ", " + describe() : describe();
}

/// One rank warns, not 512: the first that answers on the host of rank 0, which is also where the log is. (What a host says
/// that is cut off waits in its launcher, and would keep that from noticing.)
bool StallWatch::speaks_for_all(double since_s) const {
  for (int rank = 0; rank < roll_.size(); ++rank) {
    if (ranks_[static_cast<std::size_t>(rank)].host != ranks_.front().host) continue;
    if (rank == rank_) return true;
    if (roll_.was_heard(rank, since_s)) return false;
  }
  return false;
}

}  // namespace dtrain
