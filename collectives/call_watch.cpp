// The clock of calls inside MPI; see call_watch.hpp.
#include "collectives/call_watch.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "collectives/communicator.hpp"
#include "collectives/waiting.hpp"
#include "dtrain/error.hpp"

namespace dtrain {

namespace {

constexpr double kLook_s = 0.1;
/// Of the time between two looks: a process that was stopped itself, with its peers, has not been waiting.
constexpr double kMostOfALook_s = 0.25;
constexpr std::size_t kNamedStopped = 12;

/// "rank 1 on n2 (process 1234 is stopped), rank 3 on n2 (process 1236 is stopped)".
std::string stopped_text(const std::vector<StoppedRank>& ranks) {
  std::string text;
  for (std::size_t i = 0; i < std::min(ranks.size(), kNamedStopped); ++i) {
    text += (i == 0 ? "rank " : ", rank ") + std::to_string(ranks[i].rank) + " on " + host_name() + " (process " +
            std::to_string(ranks[i].pid) + " is stopped)";
  }
  return ranks.size() > kNamedStopped ? text + " and others" : text;
}

}  // namespace

CallWatch::CallWatch(double timeout_s, std::function<void(const std::string& text)> give_up,
                     std::function<std::vector<StoppedRank>()> find_stopped)
    : timeout_s_(timeout_s), give_up_(std::move(give_up)), find_stopped_(std::move(find_stopped)) {
  check(timeout_s_ > 0.0, "CallWatch: timeout_s > 0");
}

CallWatch::~CallWatch() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void CallWatch::begin(const char* call, double patience) {
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  const std::lock_guard lock(mutex_);
  check(call_ == nullptr, "CallWatch: one call at a time");
  call_ = call;
  patience_ = patience;
  ++calls_;
  changed_.notify_all();
}

void CallWatch::end() {
  const std::lock_guard lock(mutex_);
  call_ = nullptr;
}

std::string CallWatch::verdict(const char* call, double patience, double waited_s) const {
  if (waited_s < timeout_s_) return "";
  const std::string after = "after " + seconds_text(std::round(10.0 * waited_s) / 10.0);
  const std::vector<StoppedRank> stopped = find_stopped_();
  if (stopped.empty() && waited_s < patience * timeout_s_ + kOthersSpeak_s) return "";
  Fault fault{
      .doing = std::string(call) + " on " + host_name(),
      .expected = "all ranks within " + seconds_text(timeout_s_),
      .found = after + " no answer from " + stopped_text(stopped),
      .remedy = "look for what stopped it (a debugger, a suspended job); --resume auto goes on from the last checkpoint"};
  if (stopped.empty()) {
    fault.found = after + " not all of them, and no rank of this host that is stopped";
    fault.remedy =
        "look for a rank that hangs on another host, a host that is down and a broken link; a longer --stall-timeout where a "
        "rank is only slow";
  }
  return to_text(fault);
}

void CallWatch::run() {
  std::unique_lock lock(mutex_);
  while (!ends_) {
    if (call_ == nullptr) {
      changed_.wait(lock);
      continue;
    }
    const std::uint64_t present = calls_;
    const char* const call = call_;
    const double patience = patience_;
    double waited_s = 0.0;
    for (double last_s = monotonic_s(); !ends_ && call_ != nullptr && calls_ == present;) {
      changed_.wait_for(lock, std::chrono::duration<double>(kLook_s));
      const double now_s = monotonic_s();
      waited_s += std::min(now_s - last_s, kMostOfALook_s);
      last_s = now_s;
      lock.unlock();
      const std::string text = verdict(call, patience, waited_s);
      lock.lock();
      if (text.empty() || ends_ || call_ == nullptr || calls_ != present) continue;
      lock.unlock();
      give_up_(text);
      lock.lock();
      call_ = nullptr;
    }
  }
}

}  // namespace dtrain
