// The one text of it.
#include "trainer/divergence.hpp"

#include <cmath>
#include <string>

namespace dtrain {

DivergedError diverged_at(std::int64_t step, double learning_rate, double loss, bool weights_are_finite) {
  const bool loss_is_finite = std::isfinite(loss);
  return DivergedError(Fault{
      .doing = "training step " + std::to_string(step),
      .expected = "a finite loss and finite weights",
      .found = (loss_is_finite ? "" : "loss " + std::to_string(loss)) +
               std::string(loss_is_finite || weights_are_finite ? "" : " and ") +
               (weights_are_finite ? "" : "weights that are not finite") + " at learning rate " + std::to_string(learning_rate),
      .remedy = "a smaller --lr or --base-lr, or a longer --warmup-epochs; saved checkpoints are intact"});
}

}  // namespace dtrain
