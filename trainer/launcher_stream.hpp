// Ranks print into pipes of their launcher, which passes on what it reads: whether somebody reads that is to be seen at the
// launcher's own streams alone, and only by ranks of its machine.
#pragma once

namespace dtrain {

/// stream  1: standard output, 2: standard error.
/// Result: false where the launcher would write to a pipe whose reader has gone (`mpirun … | head -1`). Open MPI's mpirun bears
/// ten such writes and then kills the job, so nothing more should be printed. True where that cannot be told.
bool launcher_stream_has_reader(int stream);

}  // namespace dtrain
