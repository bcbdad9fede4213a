// Pictures and labels: data sets, augmentation, and the loader that prefetches batches on worker threads.
// Knows nothing of ranks: it is told which samples make the next batch.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dtrain/preprocessing.hpp"

namespace dtrain {

/// Interleaved 8-bit RGB picture, row-major (height, width, 3).
struct Picture {
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::vector<std::uint8_t> rgb;
};

/// Part of a stored picture, in whole pixels.
struct CropBox {
  std::int64_t left = 0;
  std::int64_t top = 0;
  std::int64_t width = 0;
  std::int64_t height = 0;
  bool operator==(const CropBox&) const = default;
};

/// What decoding may leave out.
struct DecodeHint {
  /// Smallest decoded extents that still serve the caller, so that JPEG decoding may scale down by 1/2, 1/4, 1/8; 0: full size.
  std::int64_t min_width = 0;
  std::int64_t min_height = 0;
  /// The part that the caller will look at; pixels elsewhere may hold anything. Without pixels: all of the picture.
  CropBox needed = {};
};

/// Extents of a picture as stored.
struct PictureSize {
  std::int64_t width = 0;
  std::int64_t height = 0;
};

/// A set of labelled pictures. Users may bring their own.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::int64_t size() const = 0;
  virtual const std::vector<std::string>& class_names() const = 0;
  /// Label of sample i in [0, class_names().size()).
  virtual std::int32_t label(std::int64_t sample) const = 0;
  /// Name for messages: the path of a file.
  virtual std::string sample_name(std::int64_t sample) const = 0;
  /// Equal for sets of the same names below their roots with the same labels, in the same order: wherever they lie, sample i of
  /// one is sample i of the other. Says nothing of what is in the files. Cost: none to speak of.
  virtual std::uint64_t digest() const = 0;
  /// Extents as stored, from the header alone. Errors: DataError. Threads: any, concurrently.
  virtual PictureSize picture_size(std::int64_t sample) const = 0;
  /// Decodes sample i into `picture` (its memory is reused). With a hint the picture may be smaller than stored, by the
  /// same factor in both directions, but not smaller than the hint. Whether a sample is damaged does not depend on the hint.
  /// Errors: DataError. Threads: any, concurrently.
  virtual void decode(std::int64_t sample, const DecodeHint& hint, Picture& picture) const = 0;

  /// Decodes sample i with the hint that `choose_hint` gives once the stored extents are known. As given here: picture_size,
  /// then decode; a set whose pictures are files opens each only once. Errors, Threads: as decode.
  using ChooseHint = std::function<DecodeHint(const PictureSize& stored)>;
  virtual void decode_sized(std::int64_t sample, const ChooseHint& choose_hint, Picture& picture) const {
    decode(sample, choose_hint(picture_size(sample)), picture);
  }
};

/// Class folders of JPEG and PNG files (what a file is decides its content, not its name): root/<class>/…, subfolders included,
/// links followed, hidden entries and those of storages and archives left out; classes in byte order of their names, files
/// likewise. image_folder.hpp tells what is left out, and which folder is the root. Pictures become RGB as torchvision's
/// convert("RGB") makes them: gray is repeated, an alpha channel is dropped (not blended), CMYK is converted by Adobe's
/// convention; 16-bit PNG keeps the high byte (of its significant bits); EXIF rotation is ignored.
/// Errors: DataError: root missing or unreadable, no class folder, a class without a picture.
std::unique_ptr<Dataset> open_image_folder(const std::filesystem::path& root);

struct SyntheticOptions {
  std::int64_t size = 1281167;
  std::int64_t num_classes = 1000;
  std::int64_t image_size = 224;
  std::uint64_t seed = 1;
};
/// Random pictures (a pool of 64, repeated) with random labels; costs no decoding.
std::unique_ptr<Dataset> make_synthetic(const SyntheticOptions& options);

enum class Augmentation {
  standard,  ///< random area 0.08–1 and aspect 3/4–4/3 resized to the crop, random mirror
  light,     ///< for small pictures: shorter side resized to the crop, centre crop moved by up to 1/8 of the crop (black
             ///< beyond the edge), random mirror; for a picture of the crop's size: pad by 1/8, random crop, random mirror
  none,      ///< resize shorter side, centre crop (padded with black where smaller): what evaluation does
};

struct TransformOptions {
  Augmentation augmentation = Augmentation::none;
  std::int64_t channels = 3;  ///< 1: luma of the RGB picture, normalised with mean[0] and stddev[0]
  std::int64_t resize = 256;  ///< shorter side before the centre crop (none); 0: no resizing
  std::int64_t crop = 224;
  Interpolation interpolation = Interpolation::bilinear;
  std::array<float, 3> mean{0.485f, 0.456f, 0.406f};  ///< of values in [0, 1], RGB
  std::array<float, 3> stddev{0.229f, 0.224f, 0.225f};
  std::uint64_t seed = 1;
};

/// One sample to load: which, and in which epoch (random choices are a function of seed, epoch and sample).
struct SampleRequest {
  std::int64_t sample = 0;
  std::int64_t epoch = 0;
};

/// An image that cannot be read, and what is wrong with it.
struct DamagedSample {
  std::int64_t sample = 0;
  std::string message;
};

/// Pictures ready for the network.
struct Batch {
  std::span<const float> images;            ///< (count, channels, crop, crop) row-major, normalised
  std::span<const std::int32_t> labels;     ///< count
  std::span<const std::int64_t> samples{};  ///< count: what is shown, which is not what was asked for where that is damaged
  std::int64_t count = 0;
  /// Damaged ones that this loader met with this batch for the first time, in the order of their numbers. What is met with
  /// which batch depends on the sequence alone, not on how far ahead workers are.
  std::span<const DamagedSample> damaged{};
};

/// What takes the place of a damaged image.
enum class OnDamage {
  replace,    ///< the next readable sample of the data set, in the same epoch (training)
  leave_out,  ///< nothing: the batch is that much smaller; one without any image is passed over (evaluation)
};

/// Distinct damaged pictures met so far, in the order of the batches.
struct DataFaults {
  std::int64_t count = 0;
  std::vector<std::string> messages;  ///< the first ten
};

/// The sample on which a batch waits.
struct LateSample {
  std::int64_t sample = -1;  ///< −1: none is being loaded
  std::string name;
  double in_work_s = 0.0;  ///< since a worker began with it
};

struct LoaderOptions {
  TransformOptions transform;
  int workers = 1;                 ///< threads, ≥ 1
  int prefetch_batches = 2;        ///< batches in flight or ready, ≥ 2
  std::int64_t max_batch = 1;      ///< largest count that a request may have
  std::int64_t max_damaged = 100;  ///< more damaged pictures than this: DataError from next()
  OnDamage on_damage = OnDamage::replace;
  std::function<void(int worker)> on_worker_start = {};  ///< called on each worker thread first (binding); may be empty
};

/// Returns the samples of the k-th batch to load (k = 0, 1, …); an empty vector ends the sequence. May return the
/// same batch for equal k only. Called from one thread at a time.
using BatchSequence = std::function<std::vector<SampleRequest>(std::int64_t k)>;

/// Delivers the batches of a sequence, in order, decoded and augmented ahead of time by worker threads.
class DataLoader {
 public:
  DataLoader(const Dataset& dataset, LoaderOptions options, BatchSequence sequence);
  DataLoader(const DataLoader&) = delete;
  /// Waits for the samples that workers are with, up to ten seconds; then these are taken to be stuck, as by abandon().
  ~DataLoader();

  /// The next batch; valid until the following call. Waits for the workers. count = 0 when the sequence has ended.
  /// Errors: DataError: too many damaged pictures, or a worker failed.
  const Batch& next();
  /// Ends the present batch, as next() does, and waits for the following one, at most `limit_s`. Result: next() will not wait.
  bool is_ready(double limit_s);
  /// What is_ready() waits for: of the samples of that batch, the one that has been in work for longest.
  LateSample late_sample() const;
  /// Workers are taken to be stuck in the file system: the destructor leaves them behind. The process must end soon, and the
  /// data set should last until then.
  void abandon();
  /// Seconds that the last call of next() waited, together with the calls of is_ready() before it.
  double waited_s() const;
  DataFaults faults() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Transforms one picture: augmentation, resize, crop, normalisation. dst: (channels, crop, crop) row-major.
/// Resizing equals PIL's bilinear filter (8-bit, antialiased), crops equal torchvision's; a picture of the crop's size with
/// augmentation none keeps its exact values. Only random augmentations decode JPEG files at reduced size.
/// scratch  decoded picture, reused. Errors: DataError as Dataset::decode. Threads: any, each with its own scratch and dst.
void transform_picture(const Dataset& dataset, const SampleRequest& request, const TransformOptions& options, Picture& scratch,
                       std::span<float> dst);

struct DemoOptions {
  std::int64_t train_per_class = 200;
  std::int64_t val_per_class = 40;
  std::uint64_t seed = 1;
};
/// Renders a data set of JPEG files of varied sizes below `root`: train/<class>/NNNN.jpg and val/<class>/NNNN.jpg, ten
/// classes of drawn shapes and textures whose colours carry no information. Errors: DataError (cannot write; root not empty).
void make_demo(const std::filesystem::path& root, const DemoOptions& options);

}  // namespace dtrain
