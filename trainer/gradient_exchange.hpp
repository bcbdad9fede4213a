// What a training step asks of the exchange, whichever way gradients become updated weights: by all-reduce (GradientReducer) or
// by parameter servers (ServedExchange).
#pragma once

#include <cstdint>
#include <span>

#include "collectives/parameter_server.hpp"
#include "dtrain/layers.hpp"
#include "trainer/patience.hpp"

namespace dtrain {

/// How a step ended.
struct StepOutcome {
  std::int64_t next_step = 0;  ///< to go on with, from 0; beyond the next one where the other ranks did not wait
  bool is_partial = false;     ///< gradients of some ranks may have been left out; the step's sums are of the others
};

class GradientExchange {
 public:
  virtual ~GradientExchange() = default;

  // A step, in this order. Threads: the owner's alone. Errors of all that wait: what the exchange threw.

  /// Before the step's first layer runs forward.
  virtual void begin_forward() = 0;
  /// Before a layer runs forward: its weights have been updated after this.
  virtual void before_forward(LayerIndex layer) = 0;
  /// Gradients will be final from now on. All weights have been updated after this.
  virtual void begin_backward(const StepGradients& step) = 0;
  /// A layer's gradients are final: what is complete now travels, while the caller goes on.
  virtual void layer_done(LayerIndex layer) = 0;
  /// All gradients are final: the rest travels. The step's sums are there after this; so are the updated weights, unless they
  /// are left to the next forward.
  virtual StepOutcome end_backward() = 0;

  /// Sums values over all ranks, or gives them those of rank 0, in place, anywhere in a step; the same bits for all. Waits for
  /// it, and so for all that travels already. Collective: at the same place among the calls of before_forward and layer_done on
  /// all ranks. Not with parameter servers, whose workers do not keep step.
  virtual void sum_now(std::span<double> values) = 0;
  virtual void broadcast_now(std::span<float> values) = 0;

  /// Brings the weights up to date, wherever the step stands. Collective: other threads may use MPI after this, until the next
  /// step.
  virtual void settle() = 0;

  /// How the owner's thread reaches MPI while it waits for something of its own, in the middle of a step.
  virtual WayToMpi way_to_mpi() = 0;

  /// Whether a step gives all ranks the same sums, so that what these lead to happens on all of them.
  virtual bool ends_alike() const = 0;

  /// What the owner's thread spent, since the exchange was made.
  struct Clock {
    double waited_s = 0.0;
    double update_s = 0.0;
  };
  virtual const Clock& clock() const = 0;
  /// Seconds the exchange itself took in the last whole step, hidden or not.
  virtual double exchange_s() const = 0;
};

}  // namespace dtrain
