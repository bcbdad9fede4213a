// Saving and resuming; see checkpoint_keeper.hpp.
#include "trainer/checkpoint_keeper.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>

#include "dtrain/error.hpp"
#include "schedules/shards.hpp"
#include "trainer/averaged_statistics.hpp"
#include "trainer/checkpoint_room.hpp"
#include "trainer/class_matching.hpp"
#include "trainer/on_root.hpp"
#include "trainer/patience.hpp"
#include "trainer/recipe_comparison.hpp"
#include "trainer/run_directory.hpp"
#include "trainer/same_images.hpp"
#include "trainer/shared_reading.hpp"
#include "trainer/text_file.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// Recipe keys without which a saved position has no meaning in the new run.
bool changes_position(const std::string& key) {
  return key == "model" || key == "classes" || key == "samples" || key == "global_batch" || key == "seed" || key == "shuffle" ||
         key == "stages" || key == "interpolation" || key == "mean" || key == "std";
}

/// What brings the saved run's positions back.
std::string remedy_of(const std::vector<RecipeDifference>& differences) {
  std::string options, images;
  for (const auto& [key, now, saved] : differences) {
    if (key == "samples") images = "all images of the saved run and no others";
    if (key == "global_batch") options += "--global-batch " + saved + ", ";
    if (key == "seed") options += "--seed " + saved + ", ";
  }
  if (!images.empty()) return options + images;
  return options.empty() ? "the same options" : options.substr(0, options.size() - 2);
}

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

/// Names of classes, where both sides have them.
void require_same_classes(const std::vector<std::string>& saved, const std::vector<std::string>& now, const fs::path& file) {
  if (saved.empty() || now.empty() || saved == now) return;
  const auto first = std::ranges::mismatch(saved, now);
  const auto name_at = [](const std::vector<std::string>& names, auto at) {
    return at == names.end() ? "none" : "'" + *at + "'";
  };
  throw ConfigError(Fault{
      .doing = "resuming from " + file.string(),
      .expected = "the class folders of the saved run: " + class_list(saved),
      .found = class_list(now) + "; they differ first where it had " + name_at(saved, first.in1) + " and there is now " +
               name_at(now, first.in2),
      .remedy = "the folders' names as they were, or --init-from " + file.string() + " for a new run, which goes by name"});
}

/// Result: what differs though the run goes on.
std::vector<RecipeDifference> require_same_position(const TrainingPosition& position, const RunPlan& plan, const fs::path& file,
                                                    std::vector<std::string>& messages) {
  const RecipeComparison comparison = compare_recipes(plan.recipe + plan.surroundings, position.recipe);
  std::vector<RecipeDifference> fatal;
  std::ranges::copy_if(comparison.different, std::back_inserter(fatal), changes_position, &RecipeDifference::key);
  if (!fatal.empty()) {
    throw ConfigError(
        Fault{.doing = "resuming from " + file.string(),
              .expected = "the options of the saved run",
              .found = "different " + to_text(fatal),
              .remedy = remedy_of(fatal) + ", or --init-from " + file.string() + " for a new run from these weights"});
  }
  if (position.step > plan.total_steps) {
    throw ConfigError(Fault{.doing = "resuming from " + file.string(),
                            .expected = "a checkpoint before the last step, " + std::to_string(plan.total_steps),
                            .found = "one after step " + std::to_string(position.step),
                            .remedy = "more --steps or --epochs, or `dtrain eval` for these weights"});
  }
  if (!comparison.different.empty()) {
    messages.push_back("resumed with different " + to_text(comparison.different) +
                       ": the run goes on, but not as the first one would have");
  }
  if (!comparison.unknown.empty()) {
    messages.push_back("the checkpoint is of an older dtrain and does not say with which " + entry_list(comparison.unknown) +
                       " it was made: these could not be compared");
  }
  return comparison.different;
}

/// Tensors that do not fit a run of other options do so because of these: both values tell more than shapes do.
TrainingPosition restore_under(const std::vector<RecipeDifference>& different, const fs::path& path, const TensorFile& file,
                               Replica& replica, Optimizer& optimizer) {
  try {
    return restore_checkpoint(path, file, replica.parameters(), optimizer, replica.network().name);
  } catch (const DataError& error) {
    if (different.empty()) throw;
    const std::string what = error.what();
    const std::string what_is_wrong = what.substr(0, what.find("; try: "));  // its remedy would repeat the one below
    throw ConfigError(
        Fault{.doing = "resuming from " + path.string(),
              .expected = "options whose tensors it has",
              .found = "different " + to_text(different) + " (" + what_is_wrong + ")",
              .remedy = "the options of the saved run, or --init-from " + path.string() + " for a new run from these weights"});
  }
}

/// The branch that is under way after `step`, neither just begun nor done; nullptr: none.
const PlannedStage* open_branch(const RunPlan& plan, std::int64_t step) {
  if (step >= plan.total_steps) return nullptr;
  const PlannedStage& stage = plan.stages[stage_at(plan.stages, step)];
  return stage.stage.is_branch && step > stage.begin ? &stage : nullptr;
}

void require_members_directory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (!error && fs::is_directory(directory)) return;
  throw DataError(Fault{.doing = "creating " + directory.string() + " for the weights of branches",
                        .expected = "a directory",
                        .found = error ? error.message() : "a file of that name",
                        .remedy = "another --out, or remove what is there"});
}

void require_no_branch(const RunPlan& plan) {
  for (const PlannedStage& stage : plan.stages) {
    if (!stage.stage.is_branch) continue;
    throw ConfigError(Fault{.doing = "planning the branch " + stage.stage.name,
                            .expected = "--out DIR, where its weights and the trunk, to which the run returns, are kept",
                            .found = "no --out",
                            .remedy = "--out DIR, or branch=off"});
  }
}

/// Where in the data a run goes on after `step`.
StepPosition next_position(const RunPlan& plan, std::int64_t step) {
  const PlannedStage& stage = step < plan.total_steps ? plan.stages[stage_at(plan.stages, step)] : plan.stages.back();
  return step_position(stage.position(step), plan.samples, plan.global_batch);
}

}  // namespace

double epochs_done(const RunPlan& plan, std::int64_t step) {
  if (step == 0) return 0.0;
  const PlannedStage& stage = plan.stages[stage_at(plan.stages, step - 1)];
  const StepPosition done = step_position(stage.position(step - 1), plan.samples, plan.global_batch);
  return static_cast<double>(done.epoch) + static_cast<double>(done.positions.end) / static_cast<double>(plan.samples);
}

CheckpointKeeper::CheckpointKeeper(const TrainConfig& config, const RunPlan& plan, const Communicator& communicator)
    : resume_(config.resume),
      paths_{.out = config.out},
      plan_(plan),
      communicator_(communicator),
      keep_last_(config.keep_checkpoints) {}

WeightsCard CheckpointKeeper::card_at(std::int64_t step) const {
  WeightsCard card = plan_.card;
  if (step > 0) card.learning_rate = rates_of_step(plan_, step - 1).learning_rate;
  return card;
}

bool CheckpointKeeper::holds_another_run() const {
  if (resume_ == "auto" || !holds_weights(paths_)) return false;
  if (resume_ == "off") return true;
  std::vector<std::string> skipped;
  const fs::path newest = find_newest_checkpoint(paths_, skipped);
  return newest.empty() || !fs::exists(resume_) || !fs::equivalent(newest, resume_);
}

void CheckpointKeeper::prepare(std::int64_t parameters, std::int64_t statistics) const {
  if (!is_enabled()) return require_no_branch(plan_);
  on_root(communicator_, [&] {
    warn_once(require_writable(paths_));
    const std::int64_t branches = std::ranges::count_if(plan_.stages, [](const auto& s) { return s.stage.is_branch; });
    if (branches > 0) require_members_directory(paths_.members());
    if (holds_another_run()) {
      throw ConfigError(Fault{.doing = "starting a run in " + paths_.out.string(),
                              .expected = "a directory without an earlier run",
                              .found = "weights or checkpoints of one",
                              .remedy = "--resume auto to continue it, or another --out"});
    }
    require_room(parameters, statistics);
  });
}

bool CheckpointKeeper::begins_over_best() const {
  const bool is_alone = fs::exists(paths_.best()) && !fs::exists(paths_.last());  // which is written after every checkpoint
  return is_alone && has_never_saved(paths_.out);
}

void CheckpointKeeper::require_room(std::int64_t parameters, std::int64_t statistics) const {
  const std::int64_t weights = parameters + statistics;
  const std::int64_t ranks = plan_.syncs_norms ? 1 : communicator_.size();
  const std::int64_t own = Optimizer::state_elements(plan_.optimizer, parameters) + (ranks > 1 ? ranks * statistics : 0);
  const std::int64_t needed = room_bytes(plan_, {.weights = weights, .checkpoint = weights + own}, keep_last_,
                                         !plan_.validation.empty() && !plan_.eval_every.is_off());
  const std::int64_t present = bytes_there(paths_);
  const std::int64_t missing = needed - present;
  const auto available = static_cast<std::int64_t>(std::min<std::uintmax_t>(fs::space(paths_.out).available, INT64_MAX));
  if (available >= missing) return;
  throw DataError(Fault{
      .doing = "checking the room for checkpoints in " + paths_.out.string(),
      .expected = std::to_string(missing / 1000000 + 1) + " MB free" +
                  (present > 0 ? " besides the " + std::to_string(present / 1000000) + " MB of files that are there" : ""),
      .found = std::to_string(available / 1000000) + " MB",
      .remedy = std::string("another --out, ") + (keep_last_ > 1 ? "fewer --keep-checkpoints, " : "") + "or free some space"});
}

void CheckpointKeeper::warn_once(const std::vector<std::string>& complaints) const {
  for (const std::string& complaint : complaints) {
    if (complained_.insert(complaint).second) spdlog::warn("{}", complaint);
  }
}

void CheckpointKeeper::require_nothing_finished() const {
  std::vector<fs::path> all{paths_.last(), paths_.average()};
  if (!begins_over_best()) all.push_back(paths_.best());
  for (const PlannedStage& stage : plan_.stages) {
    if (stage.stage.is_branch) all.push_back(paths_.member(stage.stage.name));
  }
  for (const fs::path& weights : all) {
    if (!fs::exists(weights)) continue;
    throw ConfigError(Fault{.doing = "resuming in " + paths_.out.string(),
                            .expected = "a checkpoint, or a directory without an earlier run's weights",
                            .found = "no checkpoint in " + paths_.checkpoints().string() + ", and " + weights.string() +
                                     ", which a run from the beginning would replace",
                            .remedy = "another --out with --init-from " + weights.string() + ", or move that away"});
  }
}

void CheckpointKeeper::set_average_aside() const {
  if (!fs::exists(paths_.average())) return;
  fs::path aside = paths_.out / "average-earlier.safetensors";
  for (int k = 2; fs::exists(aside); ++k) aside = paths_.out / ("average-earlier-" + std::to_string(k) + ".safetensors");
  std::error_code error;
  fs::rename(paths_.average(), aside, error);
  if (error) {
    throw DataError(Fault{.doing = "renaming " + paths_.average().string() + ", which does not belong to the new last weights",
                          .expected = "a directory that can be written",
                          .found = error.message(),
                          .remedy = "another --out, or move that file away"});
  }
  spdlog::warn("{} is of the run before it went on without --ema: renamed {}", paths_.average().string(), aside.string());
}

TrainingPosition CheckpointKeeper::resume(Replica& replica, Optimizer& optimizer, std::vector<std::string>& messages) const {
  if (resume_ == "off") return {};
  on_root(communicator_, [&] {
    if (resume_ == "auto" || !fs::is_directory(resume_)) return;
    throw ConfigError(Fault{.doing = "--resume " + resume_,
                            .expected = "auto, or a checkpoint's file",
                            .found = "a directory",
                            .remedy = "--out " + resume_ + " --resume auto, or a file below its checkpoints/"});
  });
  std::string file = resume_;
  if (resume_ == "auto") {
    std::string newest;
    std::vector<std::string> skipped;
    on_root(communicator_, [&] {
      newest = find_newest_checkpoint(paths_, skipped).string();
      if (newest.empty() && !skipped.empty()) {
        throw DataError(Fault{.doing = "resuming from " + paths_.checkpoints().string(),
                              .expected = "an undamaged checkpoint",
                              .found = std::to_string(skipped.size()) + " damaged: " + join(skipped),
                              .remedy = "another --out with --init-from " + paths_.last().string() + ", which may be whole"});
      }
    });
    for (const std::string& text : skipped) messages.push_back("skipped a damaged checkpoint: " + text);
    file = communicator_.broadcast_text(newest);
    if (file.empty()) {
      bool replaces_best = false;
      on_root(communicator_, [&] {
        require_nothing_finished();
        replaces_best = begins_over_best();
      });
      messages.push_back("nothing to resume in " + paths_.checkpoints().string() + ": starting from the beginning");
      if (replaces_best) {  // the root's messages are shown
        messages.push_back(paths_.best().string() +
                           " is of a run that ended before its first checkpoint, and will be replaced");
      }
      return {};
    }
  }
  const TensorFile saved = read_on_root(file, communicator_);
  require_same_classes(card_of(saved).class_names, plan_.card.class_names, file);
  const std::vector<RecipeDifference> different =
      require_same_position(position_of(file, saved, plan_.network.name), plan_, file, messages);
  TrainingPosition position = restore_under(different, file, saved, replica, optimizer);
  if (is_enabled()) require_branch_files(position.step, file);
  const std::int64_t sets = go_on_with(position.rank_statistics, replica);
  if (sets > 0 && sets != communicator_.size()) {
    messages.push_back("the checkpoint has batch-norm's running statistics of " + counted(sets, "rank") +
                       ": each rank goes on from their average");
  }
  const bool is_compared = is_digest_text(position.validation);
  if (!is_compared && position.best_top1 >= 0.0 && !plan_.validation.empty()) {
    messages.push_back(
        "the checkpoint is of an older dtrain and does not say which images validation was on: the best stays the best");
  }
  if (is_compared && position.validation != plan_.validation && position.best_top1 >= 0.0 && !plan_.validation.empty()) {
    position.best_top1 = -1.0;
    messages.push_back(
        "validation is on other images than before: the best is sought anew, and best.safetensors will be replaced");
  }
  messages.push_back("resumed from " + file + " after step " + std::to_string(position.step));
  return position;
}

void CheckpointKeeper::save_on_root(const fs::path& file, const std::function<void()>& save) const {
  on_root(communicator_, [&] {
    const SavingWatch watch(file.string(), plan_.patience, communicator_);
    save();
  });
}

void CheckpointKeeper::save(Replica& replica, const Optimizer& optimizer, std::int64_t step,
                            const std::vector<std::int64_t>& damaged) {
  if (!is_enabled()) return;
  const AveragedStatistics average(replica, communicator_);
  RankStatistics own = average.gather();
  save_on_root(paths_.checkpoint(step), [&] {
    const StepPosition next = next_position(plan_, step);
    const PlannedStage* const branch = open_branch(plan_, step);
    if (optimizer.weight_average().empty()) set_average_aside();
    warn_once(save_checkpoint(paths_, replica.parameters(), replica.tensor_names(), optimizer,
                              TrainingPosition{.step = step,
                                               .samples_in_epoch = next.positions.begin,
                                               .epoch = next.epoch,
                                               .seed = plan_.seed,
                                               .best_top1 = best_top1_,
                                               .validation = plan_.validation,
                                               .card = card_at(step),
                                               .damaged = damaged,
                                               .recipe = plan_.recipe + plan_.surroundings,
                                               .rank_statistics = std::move(own)},
                              {.newest = keep_last_, .pinned_step = branch != nullptr ? branch->begin : -1}));
  });
}

bool CheckpointKeeper::is_saved_whole(std::int64_t step, bool has_average) const {
  bool is_whole = false;
  on_root(communicator_, [&] { is_whole = dtrain::is_saved_whole(paths_, step, has_average); });
  return communicator_.broadcast_value(is_whole);
}

void CheckpointKeeper::keep_member(Replica& replica, const PlannedStage& branch) const {
  save_on_root(paths_.member(branch.stage.name), [&] {
    write_tensor_file(paths_.member(branch.stage.name),
                      export_weights(replica.parameters(), replica.tensor_names(), card_at(branch.end)));
  });
}

std::int64_t CheckpointKeeper::go_on_with(const RankStatistics& statistics, Replica& replica) const {
  replica.mark_statistics_alike();
  return plan_.syncs_norms ? 0 : hand_out(statistics, replica, communicator_);
}

void CheckpointKeeper::restore_trunk(Replica& replica, Optimizer& optimizer, std::int64_t step) const {
  const fs::path path = paths_.checkpoint(step);
  const TensorFile file = read_on_root(path, communicator_);
  communicator_.barrier();  // ranks of a node write what all of them read
  const TrainingPosition position = restore_checkpoint(path, file, replica.parameters(), optimizer, plan_.network.name);
  communicator_.barrier();
  go_on_with(position.rank_statistics, replica);
}

void CheckpointKeeper::require_branch_files(std::int64_t step, const std::string& file) const {
  on_root(communicator_, [&] {
    const fs::path source = fs::path(file).parent_path().parent_path();  // the --out of the run that is resumed
    for (const PlannedStage& stage : plan_.stages) {
      if (!stage.stage.is_branch || stage.begin > step) continue;
      const bool is_done = stage.end <= step;
      const fs::path here = is_done ? paths_.member(stage.stage.name) : paths_.checkpoint(stage.begin);
      const fs::path there = is_done ? CheckpointPaths{.out = source}.member(stage.stage.name)
                                     : CheckpointPaths{.out = source}.checkpoint(stage.begin);
      try {
        // Whole or not at all: half a copy would be taken for the file of the next attempt.
        std::string found;
        const std::optional<std::string> other = fs::exists(here) ? std::nullopt : read_text_file(there, found);
        if (other) replace_text_file(here, *other);
        (void)read_tensor_file(here);
      } catch (const DataError& fault) {
        throw DataError(
            Fault{.doing = "resuming from " + file + (is_done ? ", behind" : ", in") + " the branch " + stage.stage.name,
                  .expected = (is_done ? "its weights in " : "the trunk, to which the run returns, in ") + here.string(),
                  .found = fault.what(),
                  .remedy = "an undamaged copy of that file there and --resume auto, or an earlier checkpoint"});
      }
    }
  });
}

bool CheckpointKeeper::keep_best(Replica& replica, double top1, std::int64_t step) {
  if (top1 <= best_top1_) return false;
  best_top1_ = top1;
  if (!is_enabled()) return true;
  save_on_root(paths_.best(), [&] {
    write_tensor_file(paths_.best(), export_weights(replica.parameters(), replica.tensor_names(), card_at(step)));
  });
  return true;
}

}  // namespace dtrain
