// Renders the demo data set: real JPEG files of varied sizes and qualities whose classes differ in what is drawn, not in
// colour. Note [Colours carry no information]: ink and paper are drawn alike for all classes and are exchangeable (swapping
// them is as likely as not), so the expected mean colour of a picture is the same whatever part of it a class inks.
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <numbers>
#include <string_view>
#include <system_error>
#include <thread>

#include "demo_mark.hpp"
#include "demo_shapes.hpp"
#include "dtrain/data.hpp"
#include "dtrain/error.hpp"
#include "dtrain/random.hpp"
#include "jpeg.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kClasses = static_cast<std::int64_t>(kDemoClasses.size());

struct Colour {
  double r = 0.0, g = 0.0, b = 0.0;
  double luma() const { return 0.299 * r + 0.587 * g + 0.114 * b; }
};

struct ColourPair {
  Colour ink;
  Colour paper;
};

/// Two colours that differ clearly in brightness; which is ink is a coin's toss by symmetry.
ColourPair draw_colours(Random& random) {
  constexpr double kMinContrast = 60.0;
  const auto draw = [&] { return Colour{random.uniform(10, 245), random.uniform(10, 245), random.uniform(10, 245)}; };
  for (;;) {
    const ColourPair pair{draw(), draw()};
    if (std::abs(pair.ink.luma() - pair.paper.luma()) >= kMinContrast) return pair;
  }
}

std::uint8_t to_byte(double value) { return static_cast<std::uint8_t>(std::lround(std::fmin(std::fmax(value, 0.0), 255.0))); }

/// Sum of four bytes, centred: bell-shaped, standard deviation about 148; cheap enough for every channel of every pixel.
double rough_normal(Random& random) {
  std::uint64_t bits = random.next();
  int sum = -510;
  for (int i = 0; i < 4; ++i, bits >>= 8) sum += static_cast<int>(bits & 0xFF);
  return static_cast<double>(sum) / 148.0;
}

struct DemoPicture {
  Picture picture;
  JpegEncoding encoding;
};

/// One picture, from its own random stream: independent of all others.
DemoPicture render(DemoShape shape, Random random) {
  DemoPicture demo;
  Picture& picture = demo.picture;
  const double shorter = random.uniform(64, 129), aspect = random.uniform(1.0, 1.25);
  picture.width = static_cast<std::int64_t>(shorter);
  picture.height = static_cast<std::int64_t>(shorter);
  (random.below(2) == 0 ? picture.width : picture.height) = static_cast<std::int64_t>(shorter * aspect);
  picture.rgb.resize(static_cast<std::size_t>(picture.width * picture.height * 3));

  const ColourPair colours = draw_colours(random);
  const DemoFigure figure = draw_figure(shape, random);
  // The figure spans 0.76 to 0.94 of the shorter side, inside the picture's central square.
  const double radius = 0.5 * shorter * random.uniform(0.76, 0.94);
  const double slack = 0.5 * shorter - radius;
  const double centre_x = 0.5 * static_cast<double>(picture.width) + random.uniform(-slack, slack);
  const double centre_y = 0.5 * static_cast<double>(picture.height) + random.uniform(-slack, slack);
  // Light falls unevenly, and the sensor is noisy.
  const double light_angle = random.uniform(0.0, 2.0 * std::numbers::pi), light = random.uniform(0.0, 24.0);
  const double light_x = light * std::cos(light_angle) / radius, light_y = light * std::sin(light_angle) / radius;
  const double noise = random.uniform(2.0, 12.0);

  std::uint8_t* dst = picture.rgb.data();
  for (std::int64_t y = 0; y < picture.height; ++y) {
    for (std::int64_t x = 0; x < picture.width; ++x, dst += 3) {
      const double u = static_cast<double>(x) + 0.5 - centre_x, v = static_cast<double>(y) + 0.5 - centre_y;
      const double distance_pixels = figure_distance(figure, u / radius, v / radius) * radius;
      const double ink = std::fmin(std::fmax(0.5 - distance_pixels, 0.0), 1.0);
      const double shade = u * light_x + v * light_y;
      const auto mix = [&](double a, double b) {
        return to_byte(ink * a + (1.0 - ink) * b + shade + noise * rough_normal(random));
      };
      dst[0] = mix(colours.ink.r, colours.paper.r);
      dst[1] = mix(colours.ink.g, colours.paper.g);
      dst[2] = mix(colours.ink.b, colours.paper.b);
    }
  }
  demo.encoding.quality = 70 + static_cast<int>(random.below(26));
  demo.encoding.halves_chroma = random.below(2) == 0;
  demo.encoding.is_progressive = random.below(8) == 0;
  return demo;
}

[[noreturn]] void throw_unwritable(const fs::path& path, const std::string& found) {
  throw DataError(Fault{.doing = "writing the demo data set to " + path.string(),
                        .expected = "a new or empty directory on a writable disk with space",
                        .found = found,
                        .remedy = "give another directory, or empty this one"});
}

void make_directories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw_unwritable(path, error.message());
}

void write_file(const fs::path& path, const std::vector<std::uint8_t>& bytes) {
  errno = 0;
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (file) return;
  const int error_number = errno;
  std::error_code ignored;
  fs::remove(path, ignored);
  throw_unwritable(path, error_number != 0 ? std::strerror(error_number) : "a failed write");
}

/// Where picture k of the whole set lies: train first, then val; classes take turns.
struct Place {
  std::uint64_t split = 0;  ///< 0: train, 1: val
  std::int64_t shape = 0;
  std::int64_t number = 0;
};

Place place_of(std::int64_t k, const DemoOptions& options) {
  const std::int64_t train = options.train_per_class * kClasses;
  const std::int64_t in_split = k < train ? k : k - train;
  return {k < train ? 0u : 1u, in_split % kClasses, in_split / kClasses};
}

std::string file_name(std::int64_t number) {
  const std::string digits = std::to_string(number);
  return std::string(digits.size() < 4 ? 4 - digits.size() : 0, '0') + digits + ".jpg";
}

constexpr std::array<std::string_view, 2> kSplits{"train", "val"};

void write_picture(const fs::path& root, const Place& place, std::uint64_t seed, DemoMark& mark) {
  const auto shape = static_cast<std::size_t>(place.shape);
  const Random random(seed, RandomPurpose::demo_pictures,
                      {place.split, static_cast<std::uint64_t>(place.shape), static_cast<std::uint64_t>(place.number)});
  const DemoPicture demo = render(static_cast<DemoShape>(shape), random);
  const fs::path path = fs::path(kSplits[place.split]) / kDemoClasses[shape] / file_name(place.number);
  const std::vector<std::uint8_t> bytes = encode_jpeg(demo.picture, demo.encoding);
  mark.add(path.string(), bytes);
  write_file(root / path, bytes);
}

/// Calls job(0) … job(count − 1) on all cores; rethrows the first error.
void run_parallel(std::int64_t count, const std::function<void(std::int64_t k)>& job) {
  std::atomic<std::int64_t> next = 0;
  std::mutex mutex;
  std::exception_ptr error;
  const auto work = [&] {
    try {
      for (std::int64_t k = next++; k < count; k = next++) job(k);
    } catch (...) {
      next = count;  // the others stop too
      const std::lock_guard lock(mutex);
      if (error == nullptr) error = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> threads;
    try {
      for (unsigned t = 1; t < std::thread::hardware_concurrency(); ++t) threads.emplace_back(work);
    } catch (const std::system_error&) {
      // The system gives no more threads: those that there are do it.
    }
    work();
  }
  if (error != nullptr) std::rethrow_exception(error);
}

void check_empty(const fs::path& root) {
  std::error_code error;
  if (!fs::exists(root, error)) return;
  if (!fs::is_directory(root, error)) throw_unwritable(root, "a file of that name");
  const bool is_empty = fs::is_empty(root, error);
  if (error) throw_unwritable(root, error.message());
  if (!is_empty) throw_unwritable(root, "a directory that is not empty");
}

}  // namespace

void make_demo(const std::filesystem::path& root, const DemoOptions& options) {
  check(options.train_per_class >= 1 && options.val_per_class >= 1, "a demo has at least one picture of each class");
  check_empty(root);
  make_directories(root);
  DemoMark mark(root);
  for (const std::string_view split : kSplits) {
    for (const std::string_view name : kDemoClasses) make_directories(root / split / name);
  }
  const std::int64_t count = (options.train_per_class + options.val_per_class) * kClasses;
  run_parallel(count, [&](std::int64_t k) { write_picture(root, place_of(k, options), options.seed, mark); });
}

}  // namespace dtrain
