// Allocation of the window: shared where possible, else private memory, decided by all ranks of the node together.
#include "collectives/node_window.hpp"

#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <optional>

#include "collectives/mpi_handles.hpp"
#include "collectives/node_barrier.hpp"
#include "dtrain/error.hpp"

namespace dtrain {

namespace {

std::size_t page_bytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
std::size_t whole_pages(std::size_t bytes) { return (bytes + page_bytes() - 1) / page_bytes() * page_bytes(); }

std::string megabytes(std::size_t bytes) { return std::to_string((bytes + 999999) / 1000000) + " MB"; }

/// Where Open MPI puts the files behind shared windows.
std::string backing_directory() {
  const char* asked = std::getenv("OMPI_MCA_osc_sm_backing_directory");
  return asked != nullptr && *asked != '\0' ? asked : "/dev/shm";
}

/// Why `bytes` of shared memory cannot be had here; empty when they can. Asked before MPI allocates, because Open MPI 4.1
/// leaves all ranks but the first waiting for ever when it finds no directory, or less than 5 % to spare in it. We ask for 10.
std::string lack_of_room(std::size_t bytes) {
  const std::string directory = backing_directory();
  if (access(directory.c_str(), W_OK | X_OK) != 0) return directory + " on " + host_name() + ": " + std::strerror(errno);
  struct statvfs status {};
  if (statvfs(directory.c_str(), &status) != 0) return directory + " on " + host_name() + ": " + std::strerror(errno);
  const std::size_t free_bytes = static_cast<std::size_t>(status.f_bavail) * static_cast<std::size_t>(status.f_frsize);
  if (free_bytes >= bytes + bytes / 10) return {};
  return directory + " on " + host_name() + " has " + megabytes(free_bytes) + " free, the window needs " + megabytes(bytes) +
         " (a container gets more with --shm-size or --ipc=host)";
}

/// Gives fresh pages to this core's memory domain, filled with zeros. Where the kernel can say so (5.14 on), running out of
/// room is an answer instead of a SIGBUS. Returns the reason of a failure, or an empty text.
std::string touch_first(std::byte* memory, std::size_t bytes) {
  const std::size_t into_page = reinterpret_cast<std::uintptr_t>(memory) % page_bytes();
  std::byte* pages = memory - into_page;
  const std::size_t page_count_bytes = whole_pages(into_page + bytes);
  madvise(pages, page_count_bytes, MADV_HUGEPAGE);  // advice only: not every kernel has huge pages here
#ifdef MADV_POPULATE_WRITE
  if (madvise(pages, page_count_bytes, MADV_POPULATE_WRITE) == 0) return {};
  if (errno != EINVAL) return "touching " + megabytes(bytes) + " on " + host_name() + ": " + std::strerror(errno);
#endif
  std::memset(memory, 0, bytes);
  return {};
}

/// A shared window and where its segments lie.
struct SharedMemory {
  MPI_Win window = MPI_WIN_NULL;
  std::vector<std::byte*> segments;
};

/// Segments of at least `bytes`, each at a page. Collective over `node`. Empty where MPI refuses.
std::optional<SharedMemory> allocate_shared(MPI_Comm node, int node_size, std::size_t bytes, CallWatch* calls) {
  MPI_Info info = MPI_INFO_NULL;
  check_mpi(MPI_Info_create(&info), "MPI_Info_create");
  check_mpi(MPI_Info_set(info, "alloc_shared_noncontig", "true"), "MPI_Info_set");  // segments on pages of their own
  SharedMemory memory;
  void* own = nullptr;
  const std::size_t with_alignment = bytes > 0 ? bytes + page_bytes() : 0;
  int status = MPI_SUCCESS;
  {
    const CallWatch::Scope scope(calls, "calling MPI_Win_allocate_shared");  // all of the node agreed on it just now
    status = MPI_Win_allocate_shared(static_cast<MPI_Aint>(with_alignment), 1, info, node, &own, &memory.window);
  }
  MPI_Info_free(&info);
  if (status != MPI_SUCCESS) return std::nullopt;
  for (int rank = 0; rank < node_size; ++rank) {
    MPI_Aint size = 0;
    int unit = 0;
    void* segment = nullptr;
    check_mpi(MPI_Win_shared_query(memory.window, rank, &size, &unit, &segment), "MPI_Win_shared_query");
    // Open MPI puts its own words first. All ranks map whole pages, so they all find the same next page.
    const std::size_t into_page = reinterpret_cast<std::uintptr_t>(segment) % page_bytes();
    memory.segments.push_back(static_cast<std::byte*>(segment) + (into_page > 0 ? page_bytes() - into_page : 0));
  }
  return memory;
}

/// Note [Ranks meet before they wait inside MPI]: in a destructor, which cannot throw.
void meet_before_freeing(const Communicator& communicator) {
  if (communicator.calls() == nullptr) return;
  try {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ibarrier(communicator.handles().node, &request), "MPI_Ibarrier");
    wait_for_collective(request, "MPI_Ibarrier", &communicator.watch());
  } catch (const Error& error) {
    communicator.calls()->give_up(error.what());
  }
}

std::string first_reason(const std::vector<std::string>& reasons) {
  for (const std::string& reason : reasons) {
    if (!reason.empty()) return reason;
  }
  return {};
}

}  // namespace

struct NodeWindow::State {
  State(const Communicator& ranks, std::int64_t segment_elements, Extent of_segments)
      : communicator(ranks), elements(segment_elements), extent(of_segments) {}

  const Communicator& communicator;
  std::int64_t elements;
  Extent extent;
  bool is_shared = false;
  std::string reason;
  SharedMemory data;   ///< segments: also the private memory, of the own rank alone
  SharedMemory flags;  ///< of the barrier, all in the segment of node rank 0
  std::optional<NodeBarrier> barrier;
  std::size_t private_bytes = 0;
  std::vector<float*> rows;  ///< room for rows()
  int exceptions_at_start = std::uncaught_exceptions();

  /// At least a page, so that an empty window has an address too.
  std::size_t segment_bytes() const {
    return std::max(whole_pages(static_cast<std::size_t>(elements) * sizeof(float)), page_bytes());
  }
  std::size_t flags_bytes() const { return NodeBarrier::flag_count(communicator.node_size()) * sizeof(BarrierFlag); }

  /// What this rank touches first: its segment, or its part of the one.
  std::span<std::byte> first_touched() const {
    const std::span segment(data.segments[static_cast<std::size_t>(communicator.node_rank())], segment_bytes());
    if (extent == Extent::own_segments) return segment;
    const auto begin_of = [&](int part) {
      return segment_bytes() / page_bytes() * static_cast<std::size_t>(part) /
             static_cast<std::size_t>(communicator.node_size()) * page_bytes();
    };
    const int rank = communicator.node_rank();
    return segment.subspan(begin_of(rank), begin_of(rank + 1) - begin_of(rank));
  }

  /// Every rank of the node learns whether all could.
  bool agree(const std::string& own_reason) {
    reason = first_reason(communicator.gather_node_texts(own_reason));
    return reason.empty();
  }

  bool share();
  void stay_private();
  void free_shared(SharedMemory& memory);
};

bool NodeWindow::State::share() {
  const MPI_Comm node = communicator.handles().node;
  const int node_size = communicator.node_size();
  const int node_rank = communicator.node_rank();
  const auto ranks = static_cast<std::size_t>(node_size);
  const bool has_own = extent == Extent::own_segments || node_rank == 0;
  const std::size_t all_bytes =
      segment_bytes() * (extent == Extent::own_segments ? ranks : 1) + (flags_bytes() + 8 * page_bytes()) * ranks;
  if (!agree(lack_of_room(all_bytes))) return false;

  const auto allocate = [&](SharedMemory& memory, std::size_t bytes, const char* what) {
    std::optional<SharedMemory> allocated = allocate_shared(node, node_size, bytes, communicator.calls());
    if (!agree(allocated ? "" : std::string("MPI_Win_allocate_shared refused ") + what + " on " + host_name())) {
      return false;  // a window that not all ranks have cannot be freed
    }
    memory = *allocated;
    return true;
  };
  if (!allocate(data, has_own ? segment_bytes() : 0, "the segments")) return false;
  if (extent == Extent::one_segment) std::fill(data.segments.begin(), data.segments.end(), data.segments.front());
  if (!allocate(flags, node_rank == 0 ? flags_bytes() : 0, "the barrier's flags")) return false;

  const std::span<std::byte> touched = first_touched();
  std::string failure = touch_first(touched.data(), touched.size());
  if (failure.empty() && node_rank == 0) failure = touch_first(flags.segments[0], flags_bytes());
  if (!agree(failure)) return false;

  barrier.emplace(reinterpret_cast<BarrierFlag*>(flags.segments[0]), node_rank, node_size);
  return true;
}

void NodeWindow::State::stay_private() {
  private_bytes = whole_pages(segment_bytes());
  void* memory = mmap(nullptr, private_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::string failure;
  if (memory == MAP_FAILED) {
    private_bytes = 0;
    failure = std::strerror(errno);
  } else {
    failure = touch_first(static_cast<std::byte*>(memory), private_bytes);
  }
  if (!failure.empty()) {
    throw CommError(Fault{.doing = "allocating memory for gradients on " + host_name(),
                          .expected = megabytes(segment_bytes()),
                          .found = failure,
                          .remedy = "fewer ranks on this node, or a smaller network"});
  }
  data.segments.assign(static_cast<std::size_t>(communicator.node_size()), nullptr);
  data.segments[static_cast<std::size_t>(communicator.node_rank())] = static_cast<std::byte*>(memory);
}

void NodeWindow::State::free_shared(SharedMemory& memory) {
  const CallWatch::Scope scope(communicator.calls(), "calling MPI_Win_free");
  if (memory.window != MPI_WIN_NULL) MPI_Win_free(&memory.window);
  memory.segments.clear();
}

NodeWindow::NodeWindow(const Communicator& communicator, std::int64_t elements, Extent extent)
    : state_(std::make_unique<State>(communicator, elements, extent)) {
  check(elements >= 0, "NodeWindow: elements >= 0");
  state_->rows.resize(static_cast<std::size_t>(communicator.node_size()));
  if (communicator.node_size() > 1) state_->is_shared = state_->share();
  if (!state_->is_shared) {
    state_->free_shared(state_->flags);
    state_->free_shared(state_->data);
    state_->stay_private();
    state_->is_shared = communicator.node_size() == 1;  // nobody is left out
  }
}

NodeWindow::~NodeWindow() {
  // Freeing a window waits for all ranks; while an exception unwinds they are not here to take part, and MPI may still be
  // using the memory.
  if (std::uncaught_exceptions() > state_->exceptions_at_start) return;
  if (state_->private_bytes > 0) {
    munmap(own().data(), state_->private_bytes);
    return;
  }
  int is_finalized = 0;
  MPI_Finalized(&is_finalized);
  if (is_finalized != 0) return;
  if (state_->data.window == MPI_WIN_NULL) return;
  meet_before_freeing(state_->communicator);
  state_->free_shared(state_->flags);
  state_->free_shared(state_->data);
}

bool NodeWindow::is_shared() const { return state_->is_shared; }
const std::string& NodeWindow::reason() const { return state_->reason; }
std::span<float> NodeWindow::own() const { return segment(node_rank()); }
int NodeWindow::node_size() const { return state_->communicator.node_size(); }
int NodeWindow::node_rank() const { return state_->communicator.node_rank(); }

std::span<float> NodeWindow::segment(int node_rank) const {
  std::byte* memory = state_->data.segments[static_cast<std::size_t>(node_rank)];
  check(memory != nullptr, "NodeWindow::segment: other ranks' segments only where the window is shared");
  return {reinterpret_cast<float*>(memory), static_cast<std::size_t>(state_->elements)};
}

std::span<float* const> NodeWindow::rows(std::int64_t offset) {
  check(is_shared(), "NodeWindow::rows: a shared window");
  assert(offset >= 0 && offset <= state_->elements);
  for (int rank = 0; rank < node_size(); ++rank) {
    state_->rows[static_cast<std::size_t>(rank)] = segment(rank).data() + offset;
  }
  return state_->rows;
}

void NodeWindow::barrier(const WaitPolicy& wait, const char* what) {
  if (node_size() == 1) return;
  if (!state_->barrier) {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ibarrier(state_->communicator.handles().node, &request), "MPI_Ibarrier");
    wait_for_requests({&request, 1}, wait, [what] { return std::string(what) + ": waiting for the ranks of this node"; });
    return;
  }
  const std::vector<int> missing = state_->barrier->enter(wait);
  if (missing.empty()) return;
  std::string names;
  for (const int rank : missing) names += (names.empty() ? "" : ", ") + std::to_string(rank);
  throw CommError(Fault{.doing = std::string(what) + ": waiting for the ranks of node " + host_name(),
                        .expected = "all " + std::to_string(node_size()) + " within " + seconds_text(wait.timeout_s),
                        .found = "nothing from node rank " + names,
                        .remedy = "look for a rank that stopped or hangs on this host"});
}

}  // namespace dtrain
