// Preloaded into the ranks: one of them stops itself (SIGSTOP) as it is about to call a function of MPI. STOP_IN: the function;
// STOP_AT: the how many-th call of it, from 1; STOP_RANK: the rank (of Open MPI); STOP_MARK: a file into which it writes the
// number of its process before. COUNT_CALLS: a file into which that rank writes how often it has called each function, as it
// comes to MPI_Finalize: to choose STOP_AT by.
#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <string>

namespace {

int number_of(const char* name, int otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::atoi(text) : otherwise;
}

bool is_the_rank() { return number_of("OMPI_COMM_WORLD_RANK", 0) == number_of("STOP_RANK", 0); }

/// Calls of each function so far. Never destroyed: MPI is called until the process ends.
std::map<std::string, int>& counts() {
  static auto* const all = new std::map<std::string, int>;
  return *all;
}

void come_to(const char* function) {
  static std::mutex mutex;
  if (!is_the_rank()) return;
  const std::lock_guard lock(mutex);
  const int count = ++counts()[function];
  const char* const stops_in = std::getenv("STOP_IN");
  if (stops_in != nullptr && std::strcmp(stops_in, function) == 0 && count == number_of("STOP_AT", 1)) {
    if (const char* const mark = std::getenv("STOP_MARK")) std::ofstream(mark) << getpid();
    kill(getpid(), SIGSTOP);
  }
  const char* const file = std::getenv("COUNT_CALLS");
  if (file == nullptr || std::strcmp(function, "MPI_Finalize") != 0) return;
  std::ofstream lines(file);
  for (const auto& [name, calls] : counts()) lines << name << " " << calls << "\n";
}

}  // namespace

// NAME(TYPES…) passes its arguments on to PMPI's function of this name.
#define STOPS_IN(name, parameters, arguments) \
  extern "C" int MPI_##name parameters {      \
    come_to("MPI_" #name);                    \
    return PMPI_##name arguments;             \
  }

STOPS_IN(Init_thread, (int* argc, char*** argv, int asked, int* given), (argc, argv, asked, given))
STOPS_IN(Finalize, (), ())
STOPS_IN(Comm_dup, (MPI_Comm comm, MPI_Comm* made), (comm, made))
STOPS_IN(Comm_split, (MPI_Comm comm, int color, int key, MPI_Comm* made), (comm, color, key, made))
STOPS_IN(Comm_split_type, (MPI_Comm comm, int type, int key, MPI_Info info, MPI_Comm* made), (comm, type, key, info, made))
STOPS_IN(Comm_free, (MPI_Comm * comm), (comm))
STOPS_IN(Win_allocate_shared, (MPI_Aint bytes, int unit, MPI_Info info, MPI_Comm comm, void* base, MPI_Win* window),
         (bytes, unit, info, comm, base, window))
STOPS_IN(Win_free, (MPI_Win * window), (window))
STOPS_IN(Bcast, (void* data, int count, MPI_Datatype type, int root, MPI_Comm comm), (data, count, type, root, comm))
STOPS_IN(Allreduce, (const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm),
         (in, out, count, type, op, comm))
STOPS_IN(Ibarrier, (MPI_Comm comm, MPI_Request* request), (comm, request))
STOPS_IN(Ibcast, (void* data, int count, MPI_Datatype type, int root, MPI_Comm comm, MPI_Request* request),
         (data, count, type, root, comm, request))
STOPS_IN(Iallreduce, (const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm, MPI_Request* request),
         (in, out, count, type, op, comm, request))
STOPS_IN(Ireduce,
         (const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, int root, MPI_Comm comm, MPI_Request* request),
         (in, out, count, type, op, root, comm, request))
STOPS_IN(Iallgather,
         (const void* in, int sent, MPI_Datatype from, void* out, int received, MPI_Datatype to, MPI_Comm comm,
          MPI_Request* request),
         (in, sent, from, out, received, to, comm, request))
STOPS_IN(Iallgatherv,
         (const void* in, int sent, MPI_Datatype from, void* out, const int* received, const int* offsets, MPI_Datatype to,
          MPI_Comm comm, MPI_Request* request),
         (in, sent, from, out, received, offsets, to, comm, request))
STOPS_IN(Ialltoallv,
         (const void* in, const int* sent, const int* from_offsets, MPI_Datatype from, void* out, const int* received,
          const int* to_offsets, MPI_Datatype to, MPI_Comm comm, MPI_Request* request),
         (in, sent, from_offsets, from, out, received, to_offsets, to, comm, request))
STOPS_IN(Isend, (const void* data, int count, MPI_Datatype type, int rank, int tag, MPI_Comm comm, MPI_Request* request),
         (data, count, type, rank, tag, comm, request))
STOPS_IN(Irecv, (void* data, int count, MPI_Datatype type, int rank, int tag, MPI_Comm comm, MPI_Request* request),
         (data, count, type, rank, tag, comm, request))
STOPS_IN(Test, (MPI_Request * request, int* done, MPI_Status* status), (request, done, status))
STOPS_IN(Testall, (int count, MPI_Request* requests, int* done, MPI_Status* statuses), (count, requests, done, statuses))
STOPS_IN(Testsome, (int count, MPI_Request* requests, int* done, int* which, MPI_Status* statuses),
         (count, requests, done, which, statuses))
STOPS_IN(Waitall, (int count, MPI_Request* requests, MPI_Status* statuses), (count, requests, statuses))
