// Waiting for files; see patience.hpp.
#include "trainer/patience.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>

#include "collectives/comm_thread.hpp"
#include "collectives/roll_call.hpp"
#include "collectives/stall_watch.hpp"
#include "dtrain/error.hpp"
#include "trainer/clock.hpp"

namespace dtrain {
namespace {

std::string whole_seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f s", seconds);
  return text;
}

/// Tells people of a long wait: after a third of the time-out, and whenever it has lasted twice as long.
class Telling {
 public:
  Telling(const Patience& patience, const Communicator& communicator)
      : next_s_(std::min(patience.stall_timeout_s, patience.data_timeout_s) / 3), rank_(communicator.job_rank(communicator.rank())) {}

  /// "rank 1 waits for images, 74 s, FILE".
  void tell(const std::string& what, double waited_s, const std::string& file) {
    if (waited_s < next_s_) return;
    next_s_ = 2 * waited_s;
    has_told_ = true;
    spdlog::warn("rank {} {}, {}, {}", rank_, what, whole_seconds(waited_s), file);
  }
  void end(const std::string& what, double waited_s) const {
    if (has_told_) spdlog::warn("rank {} {} no longer, after {}", rank_, what, whole_seconds(waited_s));
  }

 private:
  double next_s_;
  int rank_;
  bool has_told_ = false;
};

WaitPolicy policy_of(Activity activity, const Patience& patience, const Communicator& communicator, const CommThread* beside) {
  return {.timeout_s = patience.stall_timeout_s, .watch = &communicator.watch(), .beside = beside, .activity = activity};
}

Fault timeout_fault(const std::string& doing, const Patience& patience, double waited_s) {
  return {.doing = doing,
          .expected = "the file system to answer within " + seconds_text(patience.data_timeout_s) + " (--data-timeout)",
          .found = "no answer after " + whole_seconds(waited_s),
          .remedy = "look at the disk or file server that holds the file; a longer --data-timeout where it is only slow; "
                    "--resume auto goes on from the last checkpoint"};
}

/// Ends the job from here: unwinding would take away from the thread that hangs in the file system what it goes on with, should
/// it come back.
[[noreturn]] void give_up(const Communicator& communicator, const WayToMpi& way, const std::string& text) {
  spdlog::error("[rank {} on {}] {}", communicator.job_rank(communicator.rank()), host_name(), text);
  const std::function<void()> leave = [&] { communicator.watch().leave(); };
  if (way.comm_thread == nullptr || way.comm_thread->is_idle()) way.run ? way.run(leave) : leave();
  MpiSession::abort(static_cast<int>(ExitCode::data));
}

constexpr const char* kReads = "waits for images";
constexpr const char* kSaves = "saves";

}  // namespace

void await_batch(DataLoader& loader, const Patience& patience, const Communicator& communicator, const WayToMpi& way) {
  if (loader.is_ready(LongWait::kLongestSleep_s)) return;

  const double begin_s = seconds() - LongWait::kLongestSleep_s;
  const WaitPolicy policy = policy_of(Activity::reads, patience, communicator, way.comm_thread);
  Telling telling(patience, communicator);
  LongWait wait(policy);
  LateSample late;
  const std::function<std::string()> describe = [&] { return "waiting for the image " + late.name; };
  const std::function<void()> look = [&] { wait.lasts(describe); };
  do {
    late = loader.late_sample();
    if (late.sample >= 0) {
      telling.tell(kReads, late.in_work_s, late.name);
      if (late.in_work_s > patience.data_timeout_s) {
        give_up(communicator, way, to_text(timeout_fault("reading the image " + late.name, patience, late.in_work_s)));
      }
    }
    way.run ? way.run(look) : look();
  } while (!loader.is_ready(LongWait::kLongestSleep_s));
  telling.end(kReads, seconds() - begin_s);
}

SavingWatch::SavingWatch(std::string file, const Patience& patience, const Communicator& communicator)
    : file_(std::move(file)), patience_(patience), communicator_(communicator), thread_([this] { watch(); }) {}

SavingWatch::~SavingWatch() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  over_.notify_one();
  thread_.join();
}

bool SavingWatch::is_over_within(double seconds) {
  std::unique_lock lock(mutex_);
  return over_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return is_over_; });
}

void SavingWatch::watch() {
  const double begin_s = seconds();
  if (is_over_within(LongWait::kLongestSleep_s)) return;
  Telling telling(patience_, communicator_);
  int exit_code = 0;
  try {
    const WaitPolicy policy = policy_of(Activity::saves, patience_, communicator_, nullptr);
    LongWait wait(policy);
    const std::function<std::string()> describe = [this] { return "saving " + file_; };
    do {
      const double waited_s = seconds() - begin_s;
      telling.tell(kSaves, waited_s, file_);
      if (waited_s > patience_.data_timeout_s) throw DataError(timeout_fault("saving " + file_, patience_, waited_s));
      wait.lasts(describe);
    } while (!is_over_within(LongWait::kLongestSleep_s));
    telling.end(kSaves, seconds() - begin_s);
  } catch (const Error& error) {
    spdlog::error("[rank {} on {}] {}", communicator_.job_rank(communicator_.rank()), host_name(), error.what());
    exit_code = static_cast<int>(error.exit_code());
  }
  if (exit_code != 0) MpiSession::abort(exit_code);
}

}  // namespace dtrain
