// How long a rank waits for its own files, and what the others hear meanwhile: images that are late, and files that are long
// in being saved. Slow is not lost: such a rank answers the roll call, is named, and ends the wait itself.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "collectives/communicator.hpp"
#include "collectives/waiting.hpp"
#include "dtrain/data.hpp"

namespace dtrain {

struct Patience {
  double stall_timeout_s = 60.0;  ///< from a third of it on, the wait is told of
  double data_timeout_s = 600.0;  ///< a file that takes longer ends the job
};

/// How the thread that waits can reach MPI.
struct WayToMpi {
  /// Where this one has jobs, only the processes of this machine are looked at.
  const CommThread* comm_thread = nullptr;
  /// Runs a call where MPI may be called; empty: here.
  std::function<void(const std::function<void()>& call)> run{};
};

/// Waits until the loader has its next batch, or what it fails with. While that is late, the other ranks hear so, and people
/// read which file it waits for.
/// Ends the job, with ExitCode::data and the file's name, where one image has been in work for longer than data_timeout_s.
/// Errors: LostRanksError.
void await_batch(DataLoader& loader, const Patience& patience, const Communicator& communicator, const WayToMpi& way);

/// While it lives, this thread saves a file and nobody else of the process calls MPI: should that take long, a thread of its
/// own answers the other ranks and tells people, and ends the job when data_timeout_s are over, since nothing ends a call that
/// hangs in the file system.
class SavingWatch {
 public:
  SavingWatch(std::string file, const Patience& patience, const Communicator& communicator);
  ~SavingWatch();
  SavingWatch(const SavingWatch&) = delete;
  SavingWatch& operator=(const SavingWatch&) = delete;

 private:
  void watch();
  bool is_over_within(double seconds);

  std::string file_;
  Patience patience_;
  const Communicator& communicator_;
  std::mutex mutex_;
  std::condition_variable over_;
  bool is_over_ = false;
  std::thread thread_;
};

}  // namespace dtrain
