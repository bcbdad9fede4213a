// What the environment says about how many processes a launcher started: N processes that MPI does not join would each train
// the same network alone.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace dtrain {

/// A launcher's word on the job.
struct LaunchedRanks {
  std::string launcher;  ///< "mpirun (Open MPI)"
  std::string variable;  ///< "OMPI_COMM_WORLD_SIZE=4"
  int at_least = 1;      ///< processes started; PMIx tells only this process's number, hence a lower bound
  std::string remedy;    ///< what to try when MPI sees fewer
};

/// The launcher closest to this process, or none. environment(name): value of a variable, nullptr when unset.
std::optional<LaunchedRanks> launched_ranks(const std::function<const char*(const char* name)>& environment);

}  // namespace dtrain
