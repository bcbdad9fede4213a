// Directories, pictures and results of the runs under test; see workspace.hpp.
#include "tests/end_to_end/workspace.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>

#include "dtrain/graph.hpp"
#include "tests/end_to_end/running.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (fs::temp_directory_path() / "dtrain_runs_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary directory " + name);
    path_ = name;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

bool is_statistic(const std::string& name) { return name.ends_with(".running_mean") || name.ends_with(".running_var"); }

const std::vector<float>& values(const TensorFile& file, const std::string& name) {
  const FileTensor* const tensor = file.find(name);
  if (tensor == nullptr) throw std::runtime_error("no tensor " + name);
  return tensor->f32;
}

}  // namespace

fs::path new_path(const std::string& name) {
  static const TemporaryDirectory directory;
  static std::atomic<int> count = 0;
  return directory.path() / (std::to_string(count++) + "-" + name);
}

const fs::path& demo_data() {
  static const fs::path path = [] {
    const fs::path made = new_path("demo");
    const Outcome outcome = run({.arguments = {"make-demo", made.string(), "--train-per-class", "8", "--val-per-class", "2"}});
    if (outcome.exit_code != 0) throw std::runtime_error("make-demo failed: " + outcome.errors);
    return made;
  }();
  return path;
}

fs::path copy_of_demo_data() {
  const fs::path copy = new_path("data");
  fs::copy(demo_data(), copy, fs::copy_options::recursive);
  return copy;
}

fs::path demo_picture(const fs::path& data, const std::string& split, std::int64_t class_index, std::int64_t k) {
  std::vector<fs::path> classes(fs::directory_iterator(data / split), fs::directory_iterator{});
  std::ranges::sort(classes);
  const fs::path& folder = classes.at(static_cast<std::size_t>(class_index));
  return folder / file_names(folder).at(static_cast<std::size_t>(k));
}

std::vector<std::string> training_on(const fs::path& data, const std::vector<std::string>& more) {
  std::vector<std::string> arguments{"--model", "resnet20", "--threads", "1", "--data", data.string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::vector<std::string> training(const std::vector<std::string>& more) { return training_on(demo_data(), more); }

std::vector<std::string> training_into(const fs::path& out, const std::vector<std::string>& more) {
  std::vector<std::string> arguments = training(more);
  arguments.insert(arguments.end(), {"--out", out.string()});
  return arguments;
}

bool computes_natively(const std::string& precision) { return precision != "bf16" || bf16_support() == Bf16Support::native; }

fs::path checkpoint(const fs::path& out, std::int64_t step) { return CheckpointPaths{.out = out}.checkpoint(step); }

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) throw std::runtime_error("writing " + path.string());
}

void truncate_file(const fs::path& path, double share) {
  fs::resize_file(path, static_cast<std::uintmax_t>(share * static_cast<double>(fs::file_size(path))));
}

void flip_bit(const fs::path& path) {
  std::string bytes = read_text(path);
  char& byte = bytes.at(bytes.size() / 2);
  byte = static_cast<char>(byte ^ 1);
  write_text(path, bytes);
}

std::map<std::string, std::string> contents(const fs::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) files[fs::relative(entry.path(), directory).string()] = read_text(entry.path());
  }
  return files;
}

std::vector<std::string> file_names(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

Json read_json(const fs::path& path) {
  if (!fs::exists(path)) throw std::runtime_error("no file " + path.string());
  return Json::parse(read_text(path));
}

std::vector<Json> metrics_lines(const fs::path& path, const std::string& having) {
  std::ifstream file(path);
  std::vector<Json> lines;
  for (std::string line; std::getline(file, line);) {
    if (file.eof()) break;  // without its end: a living run is about to write the rest
    Json entry = Json::parse(line);
    if (entry.contains(having)) lines.push_back(std::move(entry));
  }
  return lines;
}

std::vector<std::int64_t> whole_numbers(const std::vector<Json>& lines, const std::string& key) {
  std::vector<std::int64_t> numbers;
  for (const Json& line : lines) numbers.push_back(line.at(key));
  return numbers;
}

std::string fingerprint(const fs::path& report) { return read_json(report).at("fingerprint"); }

double distance_per_way(const TensorFile& a, const TensorFile& b, const TensorFile& start) {
  double apart = 0.0;
  double way = 0.0;
  for (const FileTensor& before : start.tensors) {
    if (before.type != ElementType::f32 || is_statistic(before.name)) continue;
    const auto& one = values(a, before.name);
    const auto& other = values(b, before.name);
    for (std::size_t i = 0; i < before.f32.size(); ++i) {
      apart += std::pow(double{one.at(i)} - double{other.at(i)}, 2);
      way += std::pow(double{one.at(i)} - double{before.f32[i]}, 2);
    }
  }
  if (way == 0.0) throw std::runtime_error("the weights have not moved");
  return std::sqrt(apart / way);
}

double statistics_difference(const TensorFile& a, const TensorFile& b) {
  double largest = 0.0;
  for (const FileTensor& tensor : a.tensors) {
    if (!is_statistic(tensor.name)) continue;
    const auto& other = values(b, tensor.name);
    for (std::size_t i = 0; i < tensor.f32.size(); ++i) {
      const double value = tensor.f32[i];
      largest = std::max(largest, std::abs(value - double{other.at(i)}) / std::max(std::abs(value), 1.0));
    }
  }
  return largest;
}

}  // namespace dtrain
