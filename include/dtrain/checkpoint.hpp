// Weights and training state on disk. Weights: safetensors with torchvision's names, row-major, readable by PyTorch.
// Every file is written beside its destination, fsync'd and renamed: a reader finds the old file or the new one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dtrain/optimizer.hpp"
#include "dtrain/parameters.hpp"
#include "dtrain/weights_card.hpp"

namespace dtrain {

enum class ElementType {
  f32,
  i64,
  other,  ///< of no use to a network here: only its name, shape and stored type are known
};

/// A tensor in a file, row-major.
struct FileTensor {
  std::string name;
  Shape shape;
  ElementType type = ElementType::f32;
  std::vector<float> f32{};         ///< type f32
  std::vector<std::int64_t> i64{};  ///< type i64
  std::string stored_type{};        ///< as the file names it: "BF16"; empty where it was read from none
};

/// Contents of a safetensors file.
struct TensorFile {
  std::vector<FileTensor> tensors;              ///< in the order of the file's header
  std::map<std::string, std::string> metadata;  ///< "__metadata__"; the checksum entry is handled by read and write

  const FileTensor* find(std::string_view name) const;
};

/// Reads a safetensors file (F32, I64; F16 and BF16 are widened to f32, F64 narrowed; smaller integers and BOOL widened to i64;
/// of all other types the data are left out). Verifies structure, and the checksum where dtrain wrote the file (metadata
/// "dtrain.checksum" over header and data).
/// Errors: DataError: missing, of another kind (which is named), truncated, overlapping or uncovered ranges, checksum differs.
TensorFile read_tensor_file(const std::filesystem::path& path);

/// Metadata, names, shapes and types alone, for who wants to look before reading all: tensors have no elements, and the
/// checksum is not verified. Cost: the header. Errors: as above.
TensorFile read_tensor_header(const std::filesystem::path& path);

/// Writes atomically: temporary file in the same directory, fsync, rename, fsync of the directory. On any error (disk
/// full, read-only) the temporary file is removed, the destination is as before. Adds metadata: "format" (pt, unless given),
/// "dtrain.version" and the checksum. Errors: DataError.
void write_tensor_file(const std::filesystem::path& path, const TensorFile& file);

/// Weights, statistics and num_batches_tracked of a store under torchvision's names and in torchvision's order (execution
/// order: the order of `names`, usually from parameters_by_node); metadata says num_classes and the card.
TensorFile export_weights(const ParameterStore& parameters, const std::vector<std::string>& names, const WeightsCard& card);

/// Batch-norm's running statistics as each of several ranks has them. A network is evaluated with their average; a run goes on
/// with the ranks' own, so that its bits do not depend on when an average was taken.
struct RankStatistics {
  std::vector<std::int64_t> images;  ///< of each rank, by which averages weigh; empty: there is one set of statistics
  std::vector<float> values;         ///< (ranks, statistics arena) row-major
};

/// Position of a run, enough to continue bit-exactly together with weights, statistics and the optimizer's state: all
/// random choices are functions of (seed, epoch, sample, step).
struct TrainingPosition {
  std::int64_t step = 0;              ///< steps done
  std::int64_t samples_in_epoch = 0;  ///< samples of the current epoch already used
  std::int64_t epoch = 0;             ///< epochs completed
  std::uint64_t seed = 0;
  double best_top1 = -1.0;   ///< best validation top-1 so far, −1: none
  std::string validation{};  ///< digest of the images that best_top1 is of; empty: unknown
  WeightsCard card;
  std::vector<std::int64_t> damaged{};  ///< damaged training images met so far, by their numbers in the data set
  std::string recipe;  ///< canonical text of everything that shapes the trajectory (batch, schedule, data size, …)
  RankStatistics rank_statistics{};  ///< empty: those beside the weights are every rank's
};

/// Where a run keeps its files.
struct CheckpointPaths {
  std::filesystem::path out;  ///< --out
  std::filesystem::path last() const { return out / "last.safetensors"; }
  std::filesystem::path average() const { return out / "average.safetensors"; }
  std::filesystem::path best() const { return out / "best.safetensors"; }
  std::filesystem::path checkpoints() const { return out / "checkpoints"; }
  std::filesystem::path checkpoint(std::int64_t step) const;  ///< out/checkpoints/step-000000123.safetensors
  std::filesystem::path members() const { return out / "members"; }
  std::filesystem::path member(const std::string& name) const { return members() / (name + ".safetensors"); }
};

/// Finds out at start whether a run can save: creates the directories, removes what a killed run left half-written (not what a
/// living process writes), writes a small file into each and removes it.
/// Result: complaints about leftovers that cannot be removed. Errors: DataError: not a directory, read-only, full, not
/// permitted.
std::vector<std::string> require_writable(const CheckpointPaths& paths);

/// Whether a run that began anew would replace weights of an earlier one: those of a checkpoint, the last, best or average
/// ones, or a branch's. Half-written files are none. Errors: DataError: a directory cannot be read.
bool holds_weights(const CheckpointPaths& paths);

/// Which checkpoints are left after saving one.
struct CheckpointsToKeep {
  int newest = 1;                 ///< of those up to the one just saved
  std::int64_t pinned_step = -1;  ///< and this one, however old
};

/// Whether a tensor of a checkpoint is neither weight nor statistic of the network: the optimizer's, or a rank's own.
bool is_training_state(std::string_view tensor_name);

/// Saves a resumable checkpoint (weights, averaged statistics, the optimizer's states as "optimizer.<state>.<name>", the ranks'
/// own statistics as "rank_statistics.<name>" of shape (ranks, channels), position)
/// at checkpoints/step-…, then removes the checkpoints up to this step that are not to be kept, then writes last.safetensors
/// (weights only) and, where weights are averaged, average.safetensors (the averages in their place). Checkpoints of later
/// steps belong to another run and are left alone. Result: complaints about checkpoints that cannot be removed. Errors:
/// DataError; then this checkpoint or every earlier one is there.
std::vector<std::string> save_checkpoint(const CheckpointPaths& paths, const ParameterStore& parameters,
                                         const std::vector<std::string>& names, const Optimizer& optimizer,
                                         const TrainingPosition& position, const CheckpointsToKeep& keep);

/// Whether the checkpoint of this step is there, and the weights (and, if they are averaged, the averages) beside it are of it.
/// A run that was killed between two of these files leaves older ones.
bool is_saved_whole(const CheckpointPaths& paths, std::int64_t step, bool has_average);

/// Checkpoint of the highest step below paths.checkpoints() that verifies (it is read in full); damaged ones are skipped and
/// listed in `skipped`, with the reason. Empty path: none.
std::filesystem::path find_newest_checkpoint(const CheckpointPaths& paths, std::vector<std::string>& skipped);

/// With what the names of tensors begin that hold every rank's own statistics: for the root, which hands them out.
inline constexpr std::string_view kRankStatisticsPrefix = "rank_statistics.";

/// Where a run stood, without what its tensors hold; path: where `file` was read, for messages. Errors: DataError: damaged, or
/// of another model.
TrainingPosition position_of(const std::filesystem::path& path, const TensorFile& file, const std::string& model);

/// Restores what save_checkpoint saved, in whatever layout the store has; path: where `file` was read, for messages. Errors:
/// DataError: damaged, of another model, an optimizer's state missing; then store and optimizer are as before.
TrainingPosition restore_checkpoint(const std::filesystem::path& path, const TensorFile& file, ParameterStore& parameters,
                                    Optimizer& optimizer, const std::string& model);
TrainingPosition restore_checkpoint(const std::filesystem::path& path, ParameterStore& parameters, Optimizer& optimizer,
                                    const std::string& model);

}  // namespace dtrain
