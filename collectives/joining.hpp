// Refuses processes that a launcher started together and MPI does not join: each would train the same network for itself.
#pragma once

#include <optional>
#include <string>

#include "collectives/launcher.hpp"
#include "collectives/mpi_library.hpp"
#include "dtrain/error.hpp"

namespace dtrain {

/// Each of the processes meets this error and can end itself alone. speaks: the one that is to say so for all.
class NotJoinedError : public CommError {
 public:
  NotJoinedError(const Fault& fault, bool speaks) : CommError(fault), speaks_(speaks) {}
  bool speaks() const { return speaks_; }

 private:
  bool speaks_;
};

/// The fault when MPI_Init would end these processes, or leave each alone, whatever they do.
std::optional<Fault> find_unjoinable(const Environment& environment, const MpiLibrary& library);
/// The fault of a process that is alone (MPI counts one rank) although a launcher started several.
std::optional<Fault> find_alone(const Environment& environment, const MpiLibrary& library);

/// Both for this process. Errors: NotJoinedError. The first belongs before MPI_Init, the other behind it; size: ranks that MPI
/// counts.
void refuse_unjoinable();
void refuse_alone(int size);

}  // namespace dtrain
