// Nonblocking sends and receives of tables; see notice_mail.hpp.
#include "collectives/notice_mail.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstddef>

#include "collectives/mpi_handles.hpp"

namespace dtrain {

namespace {

constexpr int kNoticeTag = 1;

bool is_done(MPI_Request& request) {
  int done = 0;
  check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
  return done != 0;
}

// Note [Open MPI explains at length, and waits meanwhile]
// When a rank that Open MPI 4 is connected to has ended, or cannot be connected to, it explains so by way of mpirun, and the
// call, MPI_Test even, does not come back before mpirun has taken the text. But mpirun sleeps while it ends a job, for a second
// between its signals, in which the ranks have to say who is missing. So its explanations are switched off once ranks have
// exchanged something, and while the roll is called. The switch is the parameter orte_execute_quiet, which can be set from
// outside only, for the whole of a run; hence its variable. Other libraries have none of this name.
bool* quietness_of_open_mpi() { return static_cast<bool*>(dlsym(RTLD_DEFAULT, "orte_execute_quiet")); }

}  // namespace

void NoticeMail::hush(bool is_hushed) {
  if (bool* quietness = quietness_of_open_mpi()) *quietness = is_hushed;
}

NoticeMail::NoticeMail(MPI_Comm comm, int size)
    : comm_(comm), size_(size), arriving_table_(std::make_unique<std::uint32_t[]>(static_cast<std::size_t>(size))) {}

NoticeMail::~NoticeMail() {
  int is_finalized = 0;
  MPI_Finalized(&is_finalized);
  int has_arrived = 0;
  MPI_Status status;
  while (is_finalized == 0 && arriving_ == MPI_REQUEST_NULL &&
         MPI_Iprobe(MPI_ANY_SOURCE, kNoticeTag, comm_, &has_arrived, &status) == MPI_SUCCESS && has_arrived != 0) {
    if (MPI_Irecv(arriving_table_.get(), size_, MPI_UINT32_T, status.MPI_SOURCE, kNoticeTag, comm_, &arriving_) != MPI_SUCCESS)
      break;
    MPI_Test(&arriving_, &has_arrived, MPI_STATUS_IGNORE);
  }
  if (arriving_ != MPI_REQUEST_NULL) static_cast<void>(arriving_table_.release());
  for (Letter& letter : letters_) {
    if (letter.request != MPI_REQUEST_NULL) static_cast<void>(letter.table.release());
  }
}

NoticeMail::Letter& NoticeMail::letter_to(int rank) {
  const auto found = std::ranges::find_if(letters_, [rank](const Letter& letter) { return letter.rank == rank; });
  if (found != letters_.end()) return *found;
  letters_.push_back({.rank = rank, .table = std::make_unique<std::uint32_t[]>(static_cast<std::size_t>(size_))});
  return letters_.back();
}

bool NoticeMail::send(int rank, std::span<const std::uint32_t> table) {
  Letter& letter = letter_to(rank);
  if (letter.request != MPI_REQUEST_NULL && !is_done(letter.request)) return false;
  std::ranges::copy(table, letter.table.get());
  check_mpi(MPI_Isend(letter.table.get(), size_, MPI_UINT32_T, rank, kNoticeTag, comm_, &letter.request), "MPI_Isend");
  is_done(letter.request);
  return true;
}

bool NoticeMail::receive(std::span<std::uint32_t> table) {
  if (arriving_ == MPI_REQUEST_NULL) {
    int has_arrived = 0;
    MPI_Status status;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, kNoticeTag, comm_, &has_arrived, &status), "MPI_Iprobe");
    if (has_arrived == 0) return false;
    check_mpi(MPI_Irecv(arriving_table_.get(), size_, MPI_UINT32_T, status.MPI_SOURCE, kNoticeTag, comm_, &arriving_),
              "MPI_Irecv");
  }
  if (!is_done(arriving_)) return false;
  std::copy_n(arriving_table_.get(), table.size(), table.begin());
  return true;
}

}  // namespace dtrain
