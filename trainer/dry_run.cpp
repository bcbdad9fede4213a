// `train --dry-run`: the plan of a run, as a table and a picture, and how long it will take.
#include <cstdio>

#include "dtrain/error.hpp"
#include "trainer/metrics.hpp"
#include "trainer/output_files.hpp"
#include "trainer/plan_doubts.hpp"
#include "trainer/run.hpp"
#include "trainer/schedule_picture.hpp"
#include "trainer/schedule_table.hpp"
#include "trainer/start.hpp"
#include "trainer/text_file.hpp"
#include "trainer/training.hpp"
#include "trainer/visible_text.hpp"
#include "trainer/weights_defaults.hpp"

namespace dtrain {
namespace {

constexpr std::int64_t kTrialSteps = 5;  ///< the first two are left out: pages are touched, caches filled

/// Images per second of all ranks over a few steps of the run's pictures, each of one micro-batch a rank. Collective.
double measured_speed(const TrainConfig& config, const RunPlan& plan, const RunData& data, const TrainingRanks& ranks,
                      const RunEnvironment& environment) {
  TrainConfig trial = with_preset(config);
  trial.preset = trial.stages = "";
  trial.resume = "off";
  trial.epochs = 0.0;
  trial.steps = kTrialSteps;
  trial.warmup_epochs = 0.0;
  trial.base_lr = std::nullopt;
  trial.lr = 1e-4;  // so that it does not diverge
  trial.lr_scaling = "linear";
  trial.local_batch = plan.local_batch;
  trial.global_batch = plan.local_batch * ranks.workers().size();
  const RunPlan trial_plan = plan_run(trial, facts_of(data), ranks.workers().size());
  const RankWork work = training_work(trial_plan, ranks.workers().size(), ranks.workers().rank(), false);
  const std::size_t available = environment.memory_share_bytes;
  const bool fits = available == 0 || plan_memory(trial_plan.network, trial_plan.compile, work).total_bytes() <= available;
  if (ranks.workers().any(!fits)) {
    throw ConfigError(Fault{.doing = "measuring the speed of a run (--dry-run)",
                            .expected = "a micro-batch of " + std::to_string(plan.local_batch) + " to fit the memory",
                            .found = "a rank with " + gigabytes_text(available) + " for more than that",
                            .remedy = "a smaller --local-batch, or --images-per-s F"});
  }
  Training training(trial_plan, trial, ranks, environment.placement);
  training.replica().compile(work);
  initialize(trial_plan.network, trial_plan.seed, training.replica().parameters());
  ranks.workers().barrier();
  training.start(*data.train, 0, nullptr);
  std::vector<StepReport> steps;
  while (training.steps_done() < kTrialSteps) steps.push_back(training.step());
  training.finish();
  return throughput_of(std::span(steps).subspan(2)).median;
}

}  // namespace

int run_dry(const TrainConfig& asked, Communicator& communicator, const RunEnvironment& environment) {
  const TrainConfig config = with_initial_weights(asked, communicator);
  const TrainingRanks ranks(config, communicator);
  const RunData data = open_training_data(config, communicator.size());
  const RunPlan plan = plan_run(config, facts_of(data), training_ranks(config, communicator.size()));
  const std::vector<std::string> doubts = doubts_of(plan, config, training_ranks(config, communicator.size()));
  if (communicator.is_root()) {
    log_data(data.summary, preparation_lines(plan.train_transform, plan.eval_transform),
             data.is_synthetic ? nullptr : data.train.get());
    require_sound_outputs({{.option = "--dry-run", .path = config.dry_run, .mark = output_mark::drawing}}, {});
  }
  const double images_per_s =
      config.images_per_s ? *config.images_per_s : measured_speed(config, plan, data, ranks, environment);
  if (!communicator.is_root()) return static_cast<int>(ExitCode::done);
  write_text_file(config.dry_run, "--dry-run", schedule_picture(plan));
  std::fputs(schedule_table(plan, images_per_s).c_str(), stdout);
  for (const std::string& doubt : doubts) std::printf("warning: %s\n", visible_lines(doubt).c_str());
  std::printf("drawn in %s\n", visible_text(config.dry_run).c_str());
  std::fflush(stdout);
  return static_cast<int>(ExitCode::done);
}

}  // namespace dtrain
