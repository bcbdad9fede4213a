// See serving_rank.hpp.
#include "trainer/serving_rank.hpp"

#include "dtrain/error.hpp"
#include "trainer/parameter_serving.hpp"
#include "trainer/start.hpp"

namespace dtrain {

void agree_with_servers(const RunFacts& facts, const RunPlan& plan, const Communicator& all) {
  all.broadcast_value(facts);
  all.require_equal({{"configuration", plan.recipe}});
}

int run_serving_rank(const TrainConfig& config, const TrainingRanks& ranks, const RunEnvironment& environment) {
  require_valid(validate(config, ranks.all().size()));
  const RunFacts facts = ranks.all().broadcast_value(RunFacts{});
  TrainConfig same = config;
  same.local_batch = facts.local_batch;
  const RunPlan plan =
      plan_run(same, {.samples = facts.samples, .classes = facts.classes}, training_ranks(config, ranks.all().size()));
  ranks.all().require_equal({{"configuration", plan.recipe}});
  serve_training(plan, config, ranks, environment.memory_share_bytes);
  return static_cast<int>(ExitCode::done);
}

}  // namespace dtrain
