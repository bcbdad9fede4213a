// Weights and their average change places; see averaged_weights.hpp.
#include "trainer/averaged_weights.hpp"

namespace dtrain {

void with_averaged_weights(Replica& replica, const Optimizer& optimizer, const std::function<void()>& action) {
  const std::span<float> average = optimizer.weight_average();
  if (average.empty()) return action();
  replica.swap_weights(average);
  action();
  replica.swap_weights(average);
}

}  // namespace dtrain
