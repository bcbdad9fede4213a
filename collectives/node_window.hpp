// Memory that the ranks of a node share: each rank owns one segment and sees all of them (MPI_Win_allocate_shared), plus the
// flags of a barrier that sleeps in the kernel instead of burning a core.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "collectives/waiting.hpp"

namespace dtrain {

class NodeWindow {
 public:
  /// own_segments: every rank has a segment. one_segment: all ranks of the node have the same one.
  enum class Extent { own_segments, one_segment };

  /// Allocates `elements` floats for each rank of the node, or for all of them together (equal on all). Collective over the
  /// node. Each rank first-touches its own segment, or its part of the one (zeros). Where shared memory cannot be had (a 64 MB
  /// /dev/shm, say) all ranks of the node get private memory instead, is_shared() is false and reason() says why; the caller
  /// must log it. A node of one rank always shares. communicator: outlives the window. Errors: CommError: no memory at all.
  NodeWindow(const Communicator& communicator, std::int64_t elements, Extent extent = Extent::own_segments);
  ~NodeWindow();
  NodeWindow(const NodeWindow&) = delete;
  NodeWindow& operator=(const NodeWindow&) = delete;

  bool is_shared() const;
  const std::string& reason() const;
  /// This rank's segment, or the one.
  std::span<float> own() const;
  /// Segment of a rank of this node; is_shared() only (or the own rank). Begins at a page.
  std::span<float> segment(int node_rank) const;
  int node_size() const;
  int node_rank() const;
  /// All ranks of the node have entered; memory written before is visible after. Errors: CommError after the time-out, names
  /// the node ranks not heard from and `what`; the window must not be used after that. Where the window is not shared the
  /// barrier is MPI's, and the names are missing. Threads: one at a time.
  void barrier(const WaitPolicy& wait, const char* what);

  /// Address of element `offset` in each rank's segment, in node rank order; is_shared() only. Valid until the next call.
  std::span<float* const> rows(std::int64_t offset);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dtrain
