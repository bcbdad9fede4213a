// Where the runs under test keep their files, the pictures they train on, and what is read back from the files they write.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "dtrain/checkpoint.hpp"

namespace dtrain {

using Json = nlohmann::json;

/// A path that nobody has used, in a directory that is removed when the program ends.
std::filesystem::path new_path(const std::string& name);

inline constexpr std::int64_t kTrainPictures = 80;
inline constexpr std::int64_t kValPictures = 20;

/// The data set of `dtrain make-demo` with 8 training and 2 validation pictures in each of ten classes, rendered once.
const std::filesystem::path& demo_data();
/// A copy of it, to be damaged.
std::filesystem::path copy_of_demo_data();
/// Path of picture k of a class, counted in the order of names: "train", 0, 3 is train/<first class>/0003.jpg.
std::filesystem::path demo_picture(const std::filesystem::path& data, const std::string& split, std::int64_t class_index,
                                   std::int64_t k);

/// Arguments of a small run on these pictures: resnet20, one thread, and `more`. Batches of 16 make epochs of five steps.
std::vector<std::string> training_on(const std::filesystem::path& data, const std::vector<std::string>& more);
/// The same on demo_data().
std::vector<std::string> training(const std::vector<std::string>& more);
/// The same with --out.
std::vector<std::string> training_into(const std::filesystem::path& out, const std::vector<std::string>& more);

/// False for bf16 on a CPU without instructions for it; fp32 has every CPU.
bool computes_natively(const std::string& precision);

/// Path of the checkpoint after a step of the run in `out`.
std::filesystem::path checkpoint(const std::filesystem::path& out, std::int64_t step);

/// Everything in a file; empty when there is none.
std::string read_text(const std::filesystem::path& path);
void write_text(const std::filesystem::path& path, const std::string& text);
void truncate_file(const std::filesystem::path& path, double share);
/// Turns one bit in the middle of a file around.
void flip_bit(const std::filesystem::path& path);

/// Relative path and bytes of every file below a directory.
std::map<std::string, std::string> contents(const std::filesystem::path& directory);
/// Names of the files in a directory, sorted.
std::vector<std::string> file_names(const std::filesystem::path& directory);

/// Errors: nlohmann's, or std::runtime_error when there is no such file.
Json read_json(const std::filesystem::path& path);
/// Whole lines of steps ("loss") or of evaluations ("val_loss") of a metrics file, which may still be written.
std::vector<Json> metrics_lines(const std::filesystem::path& path, const std::string& having);
std::vector<std::int64_t> whole_numbers(const std::vector<Json>& lines, const std::string& key);
std::string fingerprint(const std::filesystem::path& report);

/// ‖a − b‖ / ‖a − start‖ over the trained tensors of `start` taken as one vector: 1 is as far apart as training has gone.
double distance_per_way(const TensorFile& a, const TensorFile& b, const TensorFile& start);
/// Largest |a − b| / max(|a|, 1) over the running statistics.
double statistics_difference(const TensorFile& a, const TensorFile& b);

}  // namespace dtrain
