// The MPI library that this process is linked with, and the mpirun that belongs to it. Asks files and names alone: MPI need not
// run.
#pragma once

#include <string>
#include <vector>

namespace dtrain {

struct MpiLibrary {
  std::string version;   ///< "Open MPI v4.1.4"
  std::string file;      ///< the shared library; empty: it is part of the program
  std::string launcher;  ///< its mpirun; empty: not where one would look for it
};
MpiLibrary linked_mpi_library();

/// Paths at which the mpirun of a library may be, likeliest first: Debian's /usr/bin/mpirun.openmpi for what lies below /usr,
/// PREFIX/bin/mpirun for PREFIX/lib/libmpi.so.40.
std::vector<std::string> launcher_candidates(const MpiLibrary& library);

/// Whether Open MPI's components, as far as they lie beside the library, speak PMIx alone: then `srun --mpi=pmi2`, and plain
/// srun, cannot join ranks, and MPI_Init ends the process.
bool speaks_pmix_alone(const MpiLibrary& library);

}  // namespace dtrain
