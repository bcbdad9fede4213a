// A directory of class folders as a data set. Names are kept in one string: a million files cost about 30 MB a rank.
#include "dtrain/image_folder.hpp"

#include <algorithm>
#include <filesystem>
#include <span>
#include <string_view>
#include <system_error>

#include "dtrain/data.hpp"
#include "dtrain/error.hpp"
#include "folder_entries.hpp"
#include "picture_file.hpp"
#include "png.hpp"
#include "src/running_hash.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// Enough for the header of all but a few files (those with large embedded thumbnails or profiles).
constexpr std::size_t kHeaderBytes = std::size_t{64} << 10;

/// A link to a folder above itself would list every picture again and again.
void check_no_loop(const fs::directory_entry& link) {
  const fs::path target = fs::canonical(link.path()), place = fs::canonical(link.path().parent_path());
  const bool is_above = std::mismatch(target.begin(), target.end(), place.begin(), place.end()).first == target.end();
  if (is_above) {
    throw DataError(Fault{"listing the pictures below " + link.path().parent_path().string(), "links that lead elsewhere",
                          "the link " + link.path().string() + " to " + target.string() + ", which holds it",
                          "remove the link"});
  }
}

/// Adds all that is in a folder below `root` to the images of its class, as paths below the class folder, and to what is left
/// out.
class ClassListing {
 public:
  ClassListing(const std::string& root, ImageFolder& folder) : root_(root), folder_(folder) {}

  /// Images of a class, in byte order.
  std::vector<std::string> list(const std::string& name) {
    const std::string class_folder = root_ + '/' + name;
    std::vector<std::string> images;
    const auto options = fs::directory_options::follow_directory_symlink;
    for (auto entry = fs::recursive_directory_iterator(class_folder, options); entry != fs::recursive_directory_iterator();
         ++entry) {
      if (is_system_name(entry->path().filename().string())) {
        folder_.left_out.system.add(below_root(*entry));
        if (entry->is_directory()) entry.disable_recursion_pending();
      } else if (entry->is_directory()) {
        if (entry->is_symlink()) check_no_loop(*entry);
      } else if (is_image(*entry)) {
        images.push_back(entry->path().string().substr(class_folder.size() + 1));
        if (entry.depth() > 0) folder_.nested.add(below_root(*entry));
      }
    }
    std::sort(images.begin(), images.end());
    return images;
  }

  /// Folders of the root, in byte order. The files there belong to no class.
  std::vector<std::string> list_classes() {
    std::vector<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(root_)) {
      const std::string name = entry.path().filename().string();
      if (is_system_name(name)) {
        folder_.left_out.system.add(name);
      } else if (entry.is_directory()) {
        names.push_back(name);
      } else if (is_image(entry)) {
        folder_.left_out.outside.add(name);
      }
    }
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::string below_root(const fs::directory_entry& entry) const { return entry.path().string().substr(root_.size() + 1); }

  /// Notes what is none.
  bool is_image(const fs::directory_entry& entry) {
    const FoundFile file = find_file_kind(entry);
    LeftOut& left_out = folder_.left_out;
    switch (file.kind) {
      case FileKind::image:
        return true;
      case FileKind::other_image:
        left_out.images[file.format].add(below_root(entry));
        return false;
      case FileKind::other_file:
        left_out.other_files.add(below_root(entry));
        return false;
      case FileKind::unreadable:
        left_out.unreadable.add(below_root(entry));
        return false;
    }
    return false;
  }

  const std::string& root_;
  ImageFolder& folder_;
};

class FolderDataset final : public Dataset {
 public:
  /// Notes in `folder` what is left out.
  FolderDataset(const std::string& root, EmptyClasses empty_classes, ImageFolder& folder) : root_(root) {
    ClassListing listing(root_, folder);
    const std::vector<std::string> names = listing.list_classes();
    if (names.empty()) {
      const std::int64_t images = folder.left_out.outside.count;
      throw_layout(root_, images == 0 ? "neither folders nor images" : counted(images, "image") + ", no folder",
                   "put the images of each class into a folder with the class's name");
    }
    for (const std::string& name : names) {
      const std::vector<std::string> images = listing.list(name);
      if (images.empty() && empty_classes == EmptyClasses::refused) throw_empty_class(name, folder.left_out);
      if (images.empty()) folder.empty_classes.push_back(name);
      add_class(name, images);
    }
    if (size() == 0) throw_layout(root_, "no image in any of its folders", "folders of JPEG or PNG images");
    digest_ = digest_of_names();
  }

  std::int64_t size() const override { return static_cast<std::int64_t>(name_begins_.size()) - 1; }
  const std::vector<std::string>& class_names() const override { return class_names_; }

  std::int32_t label(std::int64_t sample) const override {
    const auto after = std::upper_bound(class_begins_.begin(), class_begins_.end(), sample);
    return static_cast<std::int32_t>(after - class_begins_.begin()) - 1;
  }

  std::string sample_name(std::int64_t sample) const override {
    const auto i = static_cast<std::size_t>(sample);
    const std::string_view file = std::string_view(names_).substr(name_begins_[i], name_begins_[i + 1] - name_begins_[i]);
    return root_ + '/' + class_names_[static_cast<std::size_t>(label(sample))] + '/' + std::string(file);
  }

  std::uint64_t digest() const override { return digest_; }

  PictureSize picture_size(std::int64_t sample) const override {
    const std::string path = sample_name(sample);
    const FileBytes head = read_file(path, kHeaderBytes);
    if (head.is_whole) return picture_size_of(head.view(), path);
    try {
      return picture_size_of(head.view(), path);
    } catch (const DataError&) {  // the header may lie beyond what was read
      return picture_size_of(read_file(path).view(), path);
    }
  }

  void decode(std::int64_t sample, const DecodeHint& hint, Picture& picture) const override {
    decode_sized(
        sample, [&](const PictureSize&) { return hint; }, picture);
  }

  void decode_sized(std::int64_t sample, const ChooseHint& choose_hint, Picture& picture) const override {
    const std::string path = sample_name(sample);
    decode_picture(read_file(path).view(), path, choose_hint, picture);
  }

 private:
  [[noreturn]] void throw_empty_class(const std::string& name, const LeftOut& left_out) const {
    std::string found = "class folder " + name + " without an image";
    for (const auto& [format, group] : left_out.images) {
      if (group.example.starts_with(name + '/')) found += ", but with " + format + " files such as " + group.example;
    }
    throw_layout(root_, found, "remove the folder, or put its images there (as JPEG or PNG)");
  }

  void add_class(const std::string& name, const std::vector<std::string>& images) {
    class_names_.push_back(name);
    class_begins_.push_back(size());
    for (const std::string& image : images) {
      names_ += image;
      name_begins_.push_back(names_.size());
    }
  }

  std::uint64_t digest_of_names() const {
    RunningHash hash;
    hash.absorb(std::as_bytes(std::span(names_)));
    hash.absorb(std::as_bytes(std::span(name_begins_)));
    hash.absorb(std::as_bytes(std::span(class_begins_)));
    for (const std::string& name : class_names_) hash.absorb(std::as_bytes(std::span(name.c_str(), name.size() + 1)));
    return hash.value(class_names_.size());
  }

  std::string root_;
  std::vector<std::string> class_names_;
  std::vector<std::int64_t> class_begins_;      ///< first sample of each class
  std::string names_;                           ///< all file names, without separators
  std::vector<std::size_t> name_begins_ = {0};  ///< of each sample in names_, and the end
  std::uint64_t digest_ = 0;
};

}  // namespace

ImageFolder read_image_folder(const std::string& root, EmptyClasses empty_classes) {
  require_folder(root);
  std::string path = root;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  try {
    ImageFolder folder;
    folder.images = std::make_unique<FolderDataset>(path, empty_classes, folder);
    return folder;
  } catch (const fs::filesystem_error& error) {
    throw_layout(root, error.what(), "check the permissions of the directory");
  }
}

std::optional<NarrowRange> find_narrow_range(const Dataset& dataset, std::int64_t most) {
  // 12 bits make a picture of at most a sixteenth of the light; 14 a quarter, which a single dark one may have too.
  constexpr int kNarrowBits = 12, kNarrowBitsOfAll = 14;
  constexpr std::size_t kHeadBytes = 32;
  std::optional<NarrowRange> widest;
  const std::int64_t looks = std::min(most, dataset.size());
  for (std::int64_t i = 0; i < looks; ++i) {
    const std::string path = dataset.sample_name(i * dataset.size() / looks);
    try {
      const FileBytes head = read_file(path, kHeadBytes);
      const bool is_deep = sniff_picture(head.view()) == PictureKind::png && head.size == kHeadBytes && head.data[24] == 16;
      if (!is_deep) continue;
      const int bits = png_used_bits(read_file(path).view(), path);
      if (bits == 0) continue;
      if (bits <= kNarrowBits) return NarrowRange{path, bits};
      if (!widest || bits > widest->used_bits) widest = NarrowRange{path, bits};
    } catch (const DataError&) {  // damaged ones are told of when they are loaded
    }
  }
  return widest && widest->used_bits <= kNarrowBitsOfAll ? widest : std::nullopt;
}

std::unique_ptr<Dataset> open_image_folder(const std::filesystem::path& root) {
  return read_image_folder(root.string()).images;
}

}  // namespace dtrain
