// The command `train`: prepare, agree, compile, then step until done.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <sstream>

#include "dtrain/error.hpp"
#include "trainer/averaged_statistics.hpp"
#include "trainer/averaged_weights.hpp"
#include "trainer/checkpoint_keeper.hpp"
#include "trainer/clock.hpp"
#include "trainer/datasets.hpp"
#include "trainer/divergence.hpp"
#include "trainer/ensemble_report.hpp"
#include "trainer/epoch_rows.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/initial_weights.hpp"
#include "trainer/launcher_stream.hpp"
#include "trainer/learning_watch.hpp"
#include "trainer/load_weights.hpp"
#include "trainer/local_batch.hpp"
#include "trainer/metrics.hpp"
#include "trainer/parameter_serving.hpp"
#include "trainer/plan_doubts.hpp"
#include "trainer/profile.hpp"
#include "trainer/progress.hpp"
#include "trainer/replica_agreement.hpp"
#include "trainer/report.hpp"
#include "trainer/run.hpp"
#include "trainer/run_directory.hpp"
#include "trainer/run_ending.hpp"
#include "trainer/run_outputs.hpp"
#include "trainer/same_images.hpp"
#include "trainer/schedule_table.hpp"
#include "trainer/serving_rank.hpp"
#include "trainer/shared_reading.hpp"
#include "trainer/stage_change.hpp"
#include "trainer/start.hpp"
#include "trainer/surroundings.hpp"
#include "trainer/training.hpp"
#include "trainer/weights_defaults.hpp"

namespace dtrain {
namespace {

/// What stays the same over a run, built in the order in which the members stand.
class TrainingRun {
 public:
  TrainingRun(const TrainConfig& config, const TrainingRanks& ranks, const RunEnvironment& environment)
      : begin_s_(seconds()),
        config_(config),
        ranks_(ranks),
        communicator_(ranks.workers()),
        environment_(environment),
        data_(open_training_data(config, ranks.all().size())),
        resident_bytes_(resident_bytes()),
        plan_(agreed_plan()),
        keeper_(config, plan_, communicator_),
        learning_(plan_.network.num_classes, plan_.steps_per_epoch),
        training_(plan_, config, ranks, environment.placement),
        replica_(training_.replica()) {}

  int run() {
    if (communicator_.is_root()) {
      log_data(data_.summary, preparation_lines(plan_.train_transform, plan_.eval_transform),
               data_.is_synthetic ? nullptr : data_.train.get());
    }
    keeper_.prepare(replica_.parameters().parameter_count(), std::ssize(replica_.parameters().statistics()));
    if (communicator_.is_root()) require_sound_outputs(training_outputs(config_), training_inputs(config_));
    compile();
    const std::int64_t first_step = load_weights();
    if (environment_.directory != nullptr) {
      environment_.directory->begin(first_step, epochs_done(plan_, first_step), plan_.total_steps);
    }
    log_start();
    training_.start(*data_.train, first_step, environment_.stop_requested);
    report_.allreduce = training_.exchange_text();
    training_.damage().restore(damaged_before_);
    if (first_step < plan_.total_steps && first_step == training_.stage().begin) enter_stage();
    if (first_step == plan_.total_steps) return end_again(first_step);

    MetricsFile metrics(communicator_.is_root() ? metrics_path(config_) : "", first_step, &report_.epochs);
    begin_epochs(first_step);
    Progress progress(plan_.total_steps, first_step, config_.log_every,
                      static_cast<double>(data_steps(plan_.stages)) / static_cast<double>(plan_.steps_per_epoch));
    progress.name_stage(stage_name());

    report_.startup_s = seconds() - begin_s_;
    const std::int64_t profile_from = first_step + warmup_steps_of(plan_.total_steps - first_step);
    bool has_profile_begun = false;
    ExitCode exit_code = ExitCode::done;
    while (training_.steps_done() < plan_.total_steps) {
      if (profiles() && !has_profile_begun && training_.steps_done() >= profile_from) {  // may have passed over that very step
        replica_.largest_training_graph().start_profile();
        has_profile_begun = true;
      }
      StepReport step = training_.step();
      const Pause pause = pause_after(step);
      report_.steps.add(step);
      if (has_profile_begun) profile_.steps.add(step);
      if (communicator_.is_root()) {
        metrics.write(step, stage_name());
        report_.epochs.add(line_of(step, stage_name()));
        if (progress.is_log_step(step)) metrics.flush();
        warn(learning_.after_step(step.loss), progress);
        progress.show(step);
      }
      if (pause.shares_damage) training_.share_damage();
      if (pause.ends_epoch || pause.evaluates) training_.damage().sum_up(!pause.evaluates);
      if (pause.compares) require_equal_replicas(replica_.parameters(), communicator_, step.step);
      const bool reads_state = (pause.saves && keeper_.is_enabled()) || (pause.evaluates && averages());
      if (reads_state) training_.gather_optimizer_state();
      const bool ends_row = pause.ends_stage || is_whole_epoch(step.epoch);
      if (pause.evaluates) run_evaluation(step, ends_row, metrics, progress);
      if (ends_row && communicator_.is_root()) end_row(progress);
      if (pause.ends_stage) end_stage(training_.stage(), replica_, training_.optimizer(), keeper_, communicator_);
      if (pause.saves && communicator_.is_root()) metrics.flush_to_disk();
      if (pause.saves) keeper_.save(replica_, training_.optimizer(), step.step, training_.damage().images().samples);
      if (pause.saves && environment_.directory != nullptr) environment_.directory->saved(step.step, step.epoch);
      if (pause.stops) {
        if (communicator_.is_root()) progress.finish_line();
        log_root(communicator_, keeper_.is_enabled() ? "stopped on request; saved after step " + std::to_string(step.step) +
                                                           "; the same command with --resume auto goes on"
                                                     : "stopped on request; nothing saved, for --out is not given");
        exit_code = ExitCode::stopped_on_request;
        break;
      }
      if (pause.ends_stage && step.step < plan_.total_steps) {
        training_.next_stage();
        enter_stage();
        progress.name_stage(stage_name());
      }
    }
    training_.finish();
    if (communicator_.is_root()) progress.finish_line();
    training_.damage().sum_up(false);
    finish_profile();
    finish();
    return static_cast<int>(exit_code);
  }

 private:
  /// What is done between a step and the next.
  struct Pause {
    bool evaluates = false, stops = false, saves = false, compares = false, ends_stage = false, ends_epoch = false;
    bool shares_damage = false;
  };

  /// The weights are up to date after this where anything is done. Waits for ranks that were behind count with the step.
  Pause pause_after(StepReport& step) {
    const std::int64_t in_stage = step.step - training_.stage().begin;  // so that branches move nothing in the trunk
    const auto ends = [&](const Interval& interval) { return is_due(interval, in_stage, plan_.steps_per_epoch); };
    const bool is_last = step.step == plan_.total_steps;
    const bool ends_stage = step.step == training_.stage().end;  // as the last step does
    const double begin_s = seconds();
    Pause pause{.evaluates = data_.validation && !plan_.eval_every.is_off() && (ends_stage || ends(plan_.eval_every)),
                .stops = !is_last && stop_requested(step),
                .ends_stage = ends_stage,
                .ends_epoch = ends({.epochs = 1.0})};
    pause.saves = ends_stage || pause.stops || ends(plan_.checkpoint_every);
    // What is saved has been compared, unless nothing is.
    pause.compares = !ranks_train_apart() && (ends(plan_.check_replicas) || (pause.saves && !plan_.check_replicas.is_off()));
    // Ranks that run ahead of each other do not meet at the end of short epochs for it.
    const bool meets = is_question_step(step) || (pause.ends_epoch && plan_.steps_per_epoch >= kStepsBetweenQuestions) ||
                       (pause.ends_epoch && ranks_train_apart());
    pause.shares_damage = !training_.sums_all_ranks() && (meets || pause.evaluates || pause.saves);
    if (pause.evaluates || pause.saves || pause.compares || pause.shares_damage) training_.settle();
    if (training_.waits_between_steps()) step.add_wait(seconds() - begin_s);
    return pause;
  }

  /// All steps are done, by a run that ended, or that was killed after its last checkpoint: then some files are still missing.
  int end_again(std::int64_t step) {
    const bool is_saved = !keeper_.is_enabled() || keeper_.is_saved_whole(step, averages());
    if (!is_saved) {
      training_.gather_optimizer_state();
      keeper_.save(replica_, training_.optimizer(), step, training_.damage().images().samples);
    }
    if (environment_.directory != nullptr) environment_.directory->saved(step, epochs_done(plan_, step));
    training_.finish();
    const std::filesystem::path report = report_path(config_);
    const bool is_reported =
        communicator_.broadcast_value(report.empty() || !communicator_.is_root() ||
                                      is_report_of(report, step, replica_.parameters().fingerprint(), evaluates_members()));
    const std::string steps = counted(step, "step") + (step == 1 ? " is done" : " are done");
    log_root(communicator_, is_saved && is_reported ? "nothing left to do: all of its " + steps
                                                    : "all of its " + steps + "; it ended before its last files, which follow");
    if (is_reported) return static_cast<int>(ExitCode::done);

    MetricsFile(communicator_.is_root() ? metrics_path(config_) : "", step, &report_.epochs);
    begin_epochs(step);
    (void)report_.epochs.end_row();
    finish();
    return static_cast<int>(ExitCode::done);
  }

  RankWork work(const RunPlan& plan) const {
    const bool evaluates = data_.validation && !plan.eval_every.is_off();
    RankWork work = training_work(plan, communicator_.size(), communicator_.rank(), evaluates);
    const std::int64_t branches = std::ranges::count_if(plan.stages, [](const auto& s) { return s.stage.is_branch; });
    // Where branches end, every rank reads the trunk; their members are evaluated together.
    work.saves = (communicator_.is_root() || branches > 0) && !config_.out.empty();
    if (communicator_.is_root() && communicator_.size() > 1 && !plan.syncs_norms) work.saved_statistics = communicator_.size();
    if (evaluates && branches > 1) {
      work.resident_bytes = ensemble_bytes(data_.validation->size(), plan.network.num_classes,
                                           static_cast<std::size_t>(branches), communicator_.size());
    }
    work.sharing_ranks = ranks_to_share(config_, communicator_);
    work.serving_bytes = serving_bytes(config_, ranks_);
    work.resident_bytes += resident_bytes_;
    return work;
  }

  RunPlan plan_with(std::int64_t local_batch) const {
    TrainConfig config = config_;
    config.local_batch = local_batch;
    return plan_run(config, facts_of(data_), communicator_.size());
  }

  /// The plan, after all ranks have shown that they are about to do the same; the local batch fits the memory of each.
  RunPlan agreed_plan() const {
    require_same_images("training", data_.train.get(), data_.summary.training.folder, communicator_);
    require_same_images("validation", data_.validation.get(), data_.summary.validation.folder, communicator_);
    const RunPlan usual = plan_with(config_.local_batch);
    communicator_.require_equal({{"configuration", usual.recipe}});
    const std::int64_t batch = choose_local_batch({.asked = config_.local_batch,
                                                   .usual = usual.local_batch,
                                                   .available_bytes = available_bytes(),
                                                   .memory =
                                                       [&](std::int64_t local_batch) {
                                                         const RunPlan plan = plan_with(local_batch);
                                                         return plan_memory(plan.network, plan.compile, work(plan));
                                                       }},
                                                  communicator_);
    if (batch < usual.local_batch && communicator_.is_root())
      spdlog::warn("local batch {} instead of {}, so that the memory plan fits the node", batch, usual.local_batch);
    RunPlan plan = plan_with(batch);
    plan.surroundings = surroundings();
    (void)doubts_of(plan, config_, communicator_.size());  // refuses what cannot train, before anything is made
    if (ranks_.has_dedicated_servers()) {
      const DataFacts facts = facts_of(data_);
      agree_with_servers({facts.samples, facts.classes, batch}, plan, ranks_.all());
    }
    return plan;
  }

  /// Sums of two fp32 gradients are the same in either order.
  std::string surroundings() const {
    return gather_surroundings({.threads = environment_.placement.threads,
                                .nodes_shape_bits = communicator_.size() > 2 || config_.wire_dtype != "fp32"},
                               *data_.train, communicator_);
  }

  /// The beginning of the present stage, and whoever is to know of it.
  void enter_stage() {
    begin_stage(training_.stage(), replica_, training_.optimizer(), communicator_);
    if (plan_.stages.size() > 1) log_root(communicator_, "stage " + stage_text(training_.stage()));
  }
  /// Empty in a run of one stage.
  std::string stage_name() const { return plan_.stages.size() > 1 ? training_.stage().stage.name : ""; }

  bool averages() const { return plan_.optimizer.ema > 0.0; }
  bool profiles() const { return !config_.profile.empty(); }

  void finish_profile() {
    if (!profiles() || !communicator_.is_root() || profile_.steps.steps == 0) return;
    profile_.instructions = replica_.largest_training_graph().profile();
    write_profile(config_.profile, plan_, environment_.placement.threads, profile_);
    std::istringstream lines(profile_text(profile_));
    for (std::string line; std::getline(lines, line);) spdlog::info("{}", line);
  }

  std::size_t available_bytes() const {
    return environment_.memory_share_bytes > 0 ? environment_.memory_share_bytes + resident_bytes_ : 0;
  }

  /// The plan counted on weights that the ranks of a node share. Errors: ConfigError: they cannot, and there is no room.
  void require_room_if_private() const {
    const std::string& reason = replica_.update_is_private_because();
    if (reason.empty() || available_bytes() == 0 || report_.memory.total_bytes() <= available_bytes()) return;
    throw ConfigError(
        Fault{.doing = "planning the memory of a rank that has weights of its own (" + reason + ")",
              .expected = "at most " + gigabytes_text(available_bytes()) + ", the rank's share of the node's free memory",
              .found = gigabytes_text(report_.memory.total_bytes()) + " planned",
              .remedy = "a larger /dev/shm, fewer ranks on a node, or a smaller --local-batch"});
  }

  void compile() {
    // Measured before there is much else in memory, and by all ranks at once: they share the memory's bandwidth.
    if (profiles()) profile_.peaks = measure_peaks(plan_.compile.precision);
    report_.memory = replica_.compile(work(plan_));
    require_room_if_private();
  }

  /// Fresh, imported or resumed weights, equal on all ranks. Result: steps done before.
  std::int64_t load_weights() {
    initialize(plan_.network, plan_.seed, replica_.parameters());
    if (!config_.init_from.empty()) {
      TensorFile file = read_on_root(config_.init_from, communicator_);
      const std::string arranged = arrange_head(file, plan_.card.class_names, head_tensor_names(plan_.network));
      const ImportMode mode = config_.init_partial ? ImportMode::partial : ImportMode::fine_tune;
      const ImportReport imported = take_weights(file, config_.init_from, replica_, mode);
      if (!arranged.empty()) log_root(communicator_, arranged);
      log_root(communicator_, describe_import(imported, config_.init_from));
      if (communicator_.is_root()) {  // which alone has to see the file
        const std::string warning = look_at_weights(config_.init_from, config_.model).input_warning;
        if (config_.mean.empty() && !warning.empty()) spdlog::warn("{}", warning);
      }
    }
    std::vector<std::string> messages;
    const TrainingPosition position = keeper_.resume(replica_, training_.optimizer(), messages);
    for (const std::string& message : messages) log_root(communicator_, message);
    keeper_.set_best_top1(position.best_top1);
    damaged_before_ = position.damaged;
    communicator_.barrier();  // a node's ranks may all have written the same weights
    communicator_.require_equal({{"fingerprint of the weights", std::to_string(replica_.parameters().fingerprint())},
                                 {"steps done", std::to_string(position.step)}});
    return position.step;
  }

  /// Signals reach ranks at different times: the flag travels with the gradients, so that all stop after the same step. Where
  /// it does not, they ask each other now and then.
  bool stop_requested(const StepReport& step) {
    if (training_.sums_all_ranks()) return step.stop_requested;
    if (!ranks_train_apart() && !is_question_step(step)) return false;
    training_.settle();
    return communicator_.any(environment_.stop_requested != nullptr && environment_.stop_requested->load());
  }

  static bool is_question_step(const StepReport& step) { return step.step % kStepsBetweenQuestions == 0; }
  bool ranks_train_apart() const { return communicator_.size() > 1 && report_.allreduce == to_text(AllReduceAlgorithm::none); }

  /// Epochs of earlier parts of the run are known from its metrics.
  void begin_epochs(std::int64_t first_step) {
    report_.ending.was_resumed = first_step > 0;
    if (first_step > 0 && keeper_.best_top1() < 0.0) report_.epochs.forget_best();  // it was of other images
    report_.epochs.mark_earlier_best(keeper_.best_top1());
    const StepPosition position = step_position(training_.stage().position(first_step), plan_.samples, plan_.global_batch);
    if (report_.epochs.last_step() < first_step && position.positions.begin > 0) report_.epochs.mark_partial();
  }

  void end_row(Progress& progress) {
    const EpochRow* const row = report_.epochs.end_row();
    if (row == nullptr) return;
    progress.finish_line();
    spdlog::info("{}", epoch_text(*row));
  }

  void run_evaluation(const StepReport& step, bool ends_row, MetricsFile& metrics, Progress& progress) {
    const AveragedStatistics statistics(replica_, communicator_);
    bool is_best = false;
    EvaluationResult result;
    with_averaged_weights(replica_, training_.optimizer(), [&] {
      result = evaluate(replica_, *data_.validation, evaluation_options(), communicator_, environment_.placement);
      require_finite(result, "evaluating the weights after step " + std::to_string(step.step), kDivergenceRemedy);
      is_best = keeper_.keep_best(replica_, result.top1(), step.step);
    });
    if (result.left_out.samples != named_left_out_) warn_of_left_out(result.left_out, "validation", communicator_);
    named_left_out_ = result.left_out.samples;
    if (!communicator_.is_root()) return;
    progress.finish_line();
    metrics.write_evaluation(step, result, stage_name());
    const MetricsLine line = line_of(step, result, stage_name());
    report_.epochs.add(line);
    warn(learning_.after_validation({result.sums.samples, result.sums.top1, result.only_class, plan_.card.class_names}),
         progress);
    if (ends_row) return;  // the epoch's line tells of it
    spdlog::info("epoch {:.2f}: {} on {} in {:.1f} s{}", step.epoch, validation_text(line),
                 counted(result.sums.samples, "image"), result.seconds, is_best ? " (best so far)" : "");
  }

  /// Nothing where the text is empty.
  static void warn(const std::string& text, Progress& progress) {
    if (text.empty()) return;
    progress.finish_line();
    spdlog::warn("{}", text);
  }

  /// Whether branches' weights are evaluated together in the end.
  bool evaluates_members() const {
    const auto is_branch = [](const PlannedStage& stage) { return stage.stage.is_branch; };
    return std::ranges::count_if(plan_.stages, is_branch) > 1 && data_.validation && !plan_.eval_every.is_off();
  }

  /// Of the whole run, when it is done: the branches' weights together. Takes the replica's place.
  void evaluate_members() {
    for (const PlannedStage& stage : plan_.stages) {
      if (stage.stage.is_branch) report_.members.push_back(keeper_.paths().member(stage.stage.name).string());
    }
    if (!evaluates_members()) return;
    report_.ensemble = evaluate_ensemble(replica_, report_.members, *data_.validation, evaluation_options(), communicator_,
                                         environment_.placement);
    if (!communicator_.is_root()) return;
    std::istringstream lines(members_text(report_.members, *report_.ensemble) + scores_text(report_.ensemble->ensemble) +
                             "  of the ensemble of all members\n" + agreement_text(*report_.ensemble));
    for (std::string line; std::getline(lines, line);) spdlog::info("{}", line);
  }

  EvaluationOptions evaluation_options() const {
    return {.transform = plan_.eval_transform,
            .workers = loader_workers(config_.workers, environment_.placement),
            .max_damaged = config_.max_damaged,
            .patience = plan_.patience};
  }

  void log_start() const {
    if (!communicator_.is_root()) return;
    const std::int64_t ranks = communicator_.size();
    if (data_.is_synthetic)
      spdlog::warn("training on synthetic pictures (random noise): for measurement only; --data DIR names real ones");
    if (!keeper_.is_enabled()) spdlog::warn("nothing will be saved: --out DIR is not given");
    training_.warn_of_slow_exchange();
    if (config_.allreduce == "none" && ranks > 1) {
      spdlog::warn("--allreduce none: {} replicas train apart, each on its share; for measurement only", ranks);
    }
    spdlog::info("{} in {}: {} parameters, {:.2f} GFLOPs forward a picture, {}, pictures {}x{}", plan_.network.name,
                 to_text(plan_.compile.precision), replica_.parameters().parameter_count(),
                 static_cast<double>(forward_flops(plan_.network)) / 1e9,
                 counted(plan_.network.num_classes, "class", "classes"), plan_.network.height, plan_.network.width);
    if (plan_.network.outputs.size() > 1) {
      spdlog::info("{} in training; the loss shown is the main one, theirs is aux_loss in the metrics",
                   counted(std::ssize(plan_.network.outputs) - 1, "auxiliary head"));
    }
    if (ranks_.roles()) spdlog::info("exchange by {}", training_.exchange_text());
    if (config_.ps_mode == "async") spdlog::info("loss and top-1 of training are those of rank 0's pictures");
    spdlog::info("{} on {}, global batch {}, {} a rank in micro-batches of at most {}", counted(ranks, "rank"),
                 counted(communicator_.nodes(), "node"), plan_.global_batch, (plan_.global_batch + ranks - 1) / ranks,
                 plan_.local_batch);
    spdlog::info("{}, {} an epoch, {}", counted(plan_.samples, "sample"), counted(plan_.steps_per_epoch, "step"),
                 counted(plan_.total_steps, "step"));
    if (plan_.stages.size() == 1) spdlog::info("{}", stage_text(plan_.stages.front()));
    if (averages()) spdlog::info("validation and best.safetensors are of the averaged weights, --ema {}", plan_.optimizer.ema);
    if (!plan_.source.empty()) {
      spdlog::info("{}: {}{}", config_.preset, plan_.source, plan_.options.empty() ? "" : "; with " + plan_.options);
    }
    for (const std::string& remark : plan_.remarks) spdlog::info("scaled: {}", remark);
    for (const std::string& doubt : doubts_of(plan_, config_, communicator_.size())) spdlog::warn("{}", doubt);
    spdlog::info("{}", environment_.placement.summary);
    spdlog::info("{}", describe(report_.memory));
  }

  void describe_ending() {
    RunEnding& ending = report_.ending;
    ending.best = report_.epochs.best();
    if (!report_.epochs.rows().empty()) ending.last = report_.epochs.rows().back();
    std::error_code error;
    if (keeper_.is_enabled()) {
      ending.last_file = keeper_.paths().last().string();
      if (std::filesystem::exists(keeper_.paths().best(), error)) ending.best_file = keeper_.paths().best().string();
    }
    ending.steps_done = training_.steps_done();
    ending.total_s = seconds() - begin_s_;
    ending.all_parts_s = report_.epochs.seconds();
    const std::string& weights = ending.best_file.empty() ? ending.last_file : ending.best_file;
    ending.evaluation = evaluation_line(config_, environment_.command.empty() ? "dtrain" : environment_.command.front(),
                                        communicator_.size(), weights);
  }

  void finish() {
    report_.plan = &plan_;
    report_.damaged = training_.damage().images();
    report_.threads_per_rank = environment_.placement.threads;
    report_.parameters = replica_.parameters().parameter_count();
    report_.fingerprint = replica_.parameters().fingerprint();
    report_.placement = environment_.placement.summary;
    report_.command = environment_.command;
    if (training_.steps_done() == plan_.total_steps) evaluate_members();
    describe_ending();
    write_report(report_path(config_), report_, communicator_);
    if (!communicator_.is_root()) return;
    if (keeper_.is_enabled()) {
      const std::string average = averages() ? "   averaged: " + keeper_.paths().average().string() : "";
      spdlog::info("weights: {}{}   checkpoints: {}   metrics: {}", keeper_.paths().last().string(), average,
                   keeper_.paths().checkpoints().string(), metrics_path(config_).string());
    }
    for (const std::string& line : ending_lines(report_.ending)) spdlog::info("{}", line);
    if (report_.steps.totals().steps > 0 && launcher_stream_has_reader(STDOUT_FILENO))
      std::fputs(total_line(report_.steps.throughput()).c_str(), stdout);
    std::fflush(stdout);
  }

  double begin_s_;
  const TrainConfig& config_;
  const TrainingRanks& ranks_;
  const Communicator& communicator_;  ///< of those that train
  const RunEnvironment& environment_;
  RunData data_;
  std::size_t resident_bytes_;  ///< of the process before anything is compiled
  RunPlan plan_;
  CheckpointKeeper keeper_;
  std::vector<std::int64_t> damaged_before_;  ///< training images, by the run that is resumed
  std::vector<std::int64_t> named_left_out_;  ///< validation images that the last evaluation could not read
  LearningWatch learning_;
  Training training_;
  Replica& replica_;
  RunReport report_;
  StepProfile profile_;
};

}  // namespace

int run_training(const TrainConfig& asked, Communicator& communicator, const RunEnvironment& environment) {
  const TrainConfig config = with_initial_weights(asked, communicator);
  const TrainingRanks ranks(config, communicator);
  return ranks.trains() ? TrainingRun(config, ranks, environment).run() : run_serving_rank(config, ranks, environment);
}

RankMemory plan_training_memory(const TrainConfig& config) {
  const RunData data = open_training_data(config, 1);
  const std::size_t before = resident_bytes();
  const RunPlan plan = plan_run(config, facts_of(data), 1);
  RankWork work = training_work(plan, 1, 0, false);
  work.resident_bytes = before;
  return plan_memory(plan.network, plan.compile, work);
}

}  // namespace dtrain
