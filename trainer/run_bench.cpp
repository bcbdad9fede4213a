// The command `bench`: trains every combination for a few steps, one after the other, and says how fast.
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "dtrain/error.hpp"
#include "trainer/bench_plan.hpp"
#include "trainer/bench_report.hpp"
#include "trainer/clock.hpp"
#include "trainer/output_files.hpp"
#include "trainer/parameter_serving.hpp"
#include "trainer/report.hpp"
#include "trainer/run.hpp"
#include "trainer/start.hpp"
#include "trainer/step_statistics.hpp"
#include "trainer/text_file.hpp"
#include "trainer/training.hpp"

namespace dtrain {
namespace {

/// As the kernel calls it; empty where it does not.
std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return {};
}

class Bench {
 public:
  Bench(const BenchConfig& config, const Communicator& all, const RunEnvironment& environment)
      : config_(config),
        ranks_(config.training, all),
        communicator_(ranks_.workers()),
        environment_(environment),
        memory_bytes_(environment.memory_share_bytes > 0 ? environment.memory_share_bytes + resident_bytes() : 0),
        setting_{.ranks = all.size(),
                 .nodes = all.nodes(),
                 .threads_per_rank = environment.placement.threads,
                 .cpu = cpu_name(),
                 .host = host_name(),
                 .placement = environment.placement.summary,
                 .command = environment.command} {}

  int run() {
    require_writable_files();
    print(environment_.placement.summary + "\n");
    for (const Combination& combination : combinations_of(config_)) {
      print(heading_text(combination, workers()));
      results_.push_back(measure(combination));
      malloc_trim(0);  // what it gave back, the process gives back too, so that the next one has all of it
      write_files();
    }
    print("\n" + results_table(results_));
    // On a rank that serves alone too, for it has the same results but for their figures.
    const bool has_measured = std::ranges::any_of(results_, [](const BenchResult& result) { return !result.excess; });
    return static_cast<int>(has_measured ? ExitCode::done : ExitCode::usage);
  }

 private:
  /// Plans, trains, and releases everything again. Collective.
  BenchResult measure(const Combination& combination) {
    const TrainConfig run = run_of(config_, combination, ranks_.all().size());
    const RunData data = open_training_data(run, ranks_.all().size());
    resident_bytes_ = resident_bytes();
    const auto excess = excess_of(combination, data);
    if (excess) {
      print(skipped_line(*excess));
      return {.combination = combination, .excess = excess};
    }
    const RunPlan plan = plan_of(run, data);
    if (!ranks_.trains()) {
      serve_training(plan, run, ranks_, environment_.memory_share_bytes);
      return {.combination = combination, .excess = std::nullopt};
    }
    Training training(plan, run, ranks_, environment_.placement);
    const RankMemory memory = training.replica().compile(work_of(plan));
    initialize(plan.network, plan.seed, training.replica().parameters());
    training.warn_of_slow_exchange();
    training.start(*data.train, 0, nullptr);
    setting_.allreduce = training.exchange_text();

    const auto [throughput, loss] = measured_steps(training);
    training.finish();
    print(total_line(throughput));
    return {.combination = combination,
            .excess = std::nullopt,
            .global_batch = plan.global_batch,
            .throughput = throughput,
            .gflops = static_cast<double>(training_flops(plan.network)) * throughput.mean / 1e9,
            .loss = loss,
            .planned_bytes = static_cast<std::size_t>(communicator_.max(static_cast<double>(memory.total_bytes())))};
  }

  struct Measured {
    Throughput throughput;
    double loss = 0.0;  ///< of the last step
  };

  Measured measured_steps(Training& training) {
    print(kStepColumns);
    StepStatistics steps(0);  // without more warm-up
    double loss = 0.0;
    // Counted as the run counts them: a rank for which others did not wait makes fewer itself, but always the last one.
    while (training.steps_done() < config_.warmup + config_.steps) {
      StepReport report = training.step();
      const std::int64_t step = report.step - config_.warmup;
      if (step < 1) continue;
      if (step == config_.steps && training.waits_between_steps()) {
        const double begin_s = seconds();
        training.settle();
        report.add_wait(seconds() - begin_s);
      }
      steps.add(report);
      loss = report.loss;
      if (has_line(step, config_.steps)) print(step_line(step, steps.throughput(), loss));
    }
    return {.throughput = steps.throughput(), .loss = loss};
  }

  int workers() const { return training_ranks(config_.training, ranks_.all().size()); }

  /// data: of any batch; synthetic pictures are as many as a run asks for.
  RunPlan plan_of(const TrainConfig& run, const RunData& data) const {
    DataFacts facts = facts_of(data);
    facts.samples = run.synthetic_size;
    return plan_run(run, facts, workers());
  }

  RankWork work_of(const RunPlan& plan) const {
    RankWork work = training_work(plan, workers(), ranks_.trains() ? communicator_.rank() : 0, false);
    work.resident_bytes = resident_bytes_;
    work.serving_bytes = serving_bytes(config_.training, ranks_);
    return work;
  }

  std::optional<BatchExcess> excess_of(const Combination& combination, const RunData& data) const {
    const auto memory = [&](std::int64_t batch) {
      const Combination other{combination.model, combination.precision, batch};
      const RunPlan plan = plan_of(run_of(config_, other, ranks_.all().size()), data);
      return plan_memory(plan.network, plan.compile, work_of(plan));
    };
    // A rank that serves alone answers as if it trained; what it takes itself, it checks before it serves.
    return find_excess({.asked = combination.batch, .available_bytes = memory_bytes_, .memory = memory}, ranks_.all());
  }

  void require_writable_files() const {
    if (!ranks_.all().is_root()) return;
    require_sound_outputs({{.option = "--json", .path = config_.json, .mark = output_mark::bench_json},
                           {.option = "--csv", .path = config_.csv, .mark = output_mark::bench_csv}},
                          {});
  }

  /// After every combination: a measurement that is cut short leaves what it has.
  void write_files() const {
    if (!ranks_.all().is_root()) return;
    write_text_file(config_.json, "--json", results_as_json(config_, setting_, results_));
    write_text_file(config_.csv, "--csv", results_as_csv(setting_, results_));
  }

  void print(const std::string& text) const {
    if (!ranks_.all().is_root()) return;
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }

  const BenchConfig& config_;
  TrainingRanks ranks_;
  const Communicator& communicator_;  ///< of those that train; of those that serve on a rank that does not
  const RunEnvironment& environment_;
  std::size_t memory_bytes_;        ///< that this rank may have, what it held at the start included; 0: not known
  std::size_t resident_bytes_ = 0;  ///< of the process before the present combination is compiled
  BenchSetting setting_;
  std::vector<BenchResult> results_;
};

}  // namespace

int run_bench(const BenchConfig& config, Communicator& communicator, const RunEnvironment& environment) {
  require_valid(validate(config, communicator.size()));
  return Bench(config, communicator, environment).run();
}

}  // namespace dtrain
