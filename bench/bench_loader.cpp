// The input pipeline on one thread: how many pictures of a folder a core reads, decodes, crops, resizes and normalises in a
// second. What a loader's worker does for a sample (transform_picture), without the threads around it.
//
//   bench_loader --data DIR [--transform train|eval] [--resize 256] [--crop 224] [--seconds 5] [--json FILE]
//
// DIR holds class folders. The first, untimed pass makes the files resident and yields mean and standard deviation of the
// normalised values, which a peer that does the same work must share. The last pictures of the timed run are loaded once more
// through a DataLoader and must be the same bits. Decoding is timed by itself too, with the hints that the transforms give.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "dtrain/data.hpp"
#include "dtrain/error.hpp"
#include "dtrain/image_folder.hpp"
#include "src/data/crop_plan.hpp"

namespace {

using namespace dtrain;

struct Options {
  std::string data;
  TransformOptions transform{.augmentation = Augmentation::standard};
  double seconds = 5.0;
  std::string json;
};

Options parse(int argc, char** argv) {
  Options options;
  const std::map<std::string, std::function<void(const std::string&)>> known{
      {"--data", [&](const std::string& v) { options.data = v; }},
      {"--transform",
       [&](const std::string& v) {
         if (v != "train" && v != "eval") throw ConfigError("bench_loader: --transform: expected train or eval, found " + v);
         options.transform.augmentation = v == "train" ? Augmentation::standard : Augmentation::none;
       }},
      {"--resize", [&](const std::string& v) { options.transform.resize = std::stol(v); }},
      {"--crop", [&](const std::string& v) { options.transform.crop = std::stol(v); }},
      {"--seconds", [&](const std::string& v) { options.seconds = std::stod(v); }},
      {"--json", [&](const std::string& v) { options.json = v; }}};
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const auto option = known.find(name);
    if (option == known.end() || i + 1 == argc) throw ConfigError("bench_loader: unknown option or no value: " + name);
    option->second(argv[++i]);
  }
  if (options.data.empty()) throw ConfigError("bench_loader: --data DIR is missing");
  return options;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Mean and standard deviation of all values of all pictures.
struct Moments {
  double sum = 0.0;
  double squares = 0.0;
  std::int64_t count = 0;

  void add(std::span<const float> values) {
    for (const float value : values) {
      sum += static_cast<double>(value);
      squares += static_cast<double>(value) * static_cast<double>(value);
    }
    count += static_cast<std::int64_t>(values.size());
  }
  double mean() const { return sum / static_cast<double>(count); }
  double stddev() const { return std::sqrt(squares / static_cast<double>(count) - mean() * mean()); }
};

class Loading {
 public:
  explicit Loading(const Options& options)
      : options_(options),
        dataset_(open_image_folder(layout_of(options.data).training)),
        elements_(static_cast<std::size_t>(options.transform.channels * options.transform.crop * options.transform.crop)) {}

  /// The k-th picture in the order of the files; every pass is an epoch with other crops.
  SampleRequest request(std::int64_t k) const { return {k % dataset_->size(), k / dataset_->size()}; }

  Moments first_pass() {
    Moments moments;
    std::vector<float> image(elements_);
    for (std::int64_t k = 0; k < dataset_->size(); ++k) {
      transform_picture(*dataset_, request(k), options_.transform, scratch_, image);
      moments.add(image);
    }
    return moments;
  }

  /// Loads pictures for the time asked into a batch that is written again and again; returns pictures a second.
  double run() {
    last_.resize(kKept * elements_);
    const auto begin = std::chrono::steady_clock::now();
    const std::int64_t first = dataset_->size();
    std::int64_t k = first;
    for (; seconds_since(begin) < options_.seconds || k - first < static_cast<std::int64_t>(kKept); ++k) {
      const std::span<float> dst(last_.data() + (static_cast<std::size_t>(k) % kKept) * elements_, elements_);
      transform_picture(*dataset_, request(k), options_.transform, scratch_, dst);
    }
    end_ = k;
    return static_cast<double>(k - first) / seconds_since(begin);
  }

  /// Errors: a picture of the timed run differs from what a loader delivers.
  void verify() const {
    DataLoader loader(*dataset_, {.transform = options_.transform, .workers = 2, .max_batch = 1}, [&](std::int64_t k) {
      return k < static_cast<std::int64_t>(kKept) ? std::vector{request(end_ - static_cast<std::int64_t>(kKept) + k)}
                                                  : std::vector<SampleRequest>{};
    });
    for (std::int64_t k = end_ - static_cast<std::int64_t>(kKept); k < end_; ++k) {
      const Batch& batch = loader.next();
      const float* timed = last_.data() + (static_cast<std::size_t>(k) % kKept) * elements_;
      if (!std::ranges::equal(batch.images, std::span(timed, elements_)))
        throw std::runtime_error("bench_loader: " + dataset_->sample_name(request(k).sample) +
                                 " is not what the loader delivers");
    }
  }

  /// Seconds that a picture's reading and decoding takes, of the same pictures as the timed run's.
  double decoding_s() {
    const auto begin = std::chrono::steady_clock::now();
    const std::int64_t first = dataset_->size();
    std::int64_t k = first;
    for (; seconds_since(begin) < options_.seconds / 2; ++k) {
      const auto choose_hint = [&](const PictureSize& stored) {
        return choose_decode_hint(plan_transform(stored, options_.transform, request(k)), stored, options_.transform);
      };
      dataset_->decode_sized(request(k).sample, choose_hint, scratch_);
    }
    return seconds_since(begin) / static_cast<double>(k - first);
  }

  std::int64_t size() const { return dataset_->size(); }

 private:
  static constexpr std::size_t kKept = 32;  ///< pictures of the batch

  const Options& options_;
  std::unique_ptr<Dataset> dataset_;
  std::size_t elements_;
  Picture scratch_;
  std::vector<float> last_;
  std::int64_t end_ = 0;
};

int run(const Options& options) {
  Loading loading(options);
  const Moments moments = loading.first_pass();
  const double images_per_s = loading.run();
  loading.verify();
  const double decoding_share = loading.decoding_s() * images_per_s;
  const char* transform = options.transform.augmentation == Augmentation::standard ? "train" : "eval";
  std::printf(
      "%s, %lld pictures, %s to %lld: %.1f images/s a core, %.0f %% of it reading and decoding; mean %.4f, stddev %.4f\n",
      options.data.c_str(), static_cast<long long>(loading.size()), transform, static_cast<long long>(options.transform.crop),
      images_per_s, 100.0 * decoding_share, moments.mean(), moments.stddev());
  if (!options.json.empty()) {
    std::ofstream file(options.json);
    file << "{\"transform\": \"" << transform << "\", \"pictures\": " << loading.size()
         << ", \"images_per_s\": " << images_per_s << ", \"decoding_share\": " << decoding_share
         << ", \"mean\": " << moments.mean() << ", \"stddev\": " << moments.stddev() << "}\n";
    if (!file.flush()) throw DataError("bench_loader: cannot write " + options.json);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
