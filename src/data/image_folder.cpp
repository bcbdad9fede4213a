// A directory of class folders as a data set. Names are kept in one string: a million files cost about 30 MB a rank.
#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "dtrain/data.hpp"
#include "dtrain/error.hpp"
#include "picture_file.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// Enough for the header of all but a few files (those with large embedded thumbnails or profiles).
constexpr std::size_t kHeaderBytes = std::size_t{64} << 10;

constexpr std::string_view kLayout = "class folders of .jpg, .jpeg or .png files: <root>/<class>/<picture>";

[[noreturn]] void throw_layout(const fs::path& root, const std::string& found, const std::string& remedy) {
  throw DataError(Fault{"opening the picture folder " + root.string(), std::string(kLayout), found, remedy});
}

bool is_picture_name(const fs::path& file) {
  std::string extension = file.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

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

/// Pictures below one class folder, relative to it, in byte order.
std::vector<std::string> list_pictures(const fs::path& folder) {
  std::vector<std::string> pictures;
  const auto options = fs::directory_options::follow_directory_symlink;
  for (auto entry = fs::recursive_directory_iterator(folder, options); entry != fs::recursive_directory_iterator(); ++entry) {
    if (is_hidden(entry->path())) {
      if (entry->is_directory()) entry.disable_recursion_pending();
      continue;
    }
    if (entry->is_symlink() && entry->is_directory()) check_no_loop(*entry);
    // A dangling link counts: it is met as a damaged picture, by name, instead of vanishing.
    if (is_picture_name(entry->path()) && !entry->is_directory()) {
      pictures.push_back(entry->path().string().substr(folder.string().size() + 1));
    }
  }
  std::sort(pictures.begin(), pictures.end());
  return pictures;
}

struct RootContents {
  std::vector<std::string> folders;  ///< in byte order
  std::int64_t pictures = 0;         ///< lying in the root itself
};

RootContents list_root(const fs::path& root) {
  RootContents contents;
  for (const fs::directory_entry& entry : fs::directory_iterator(root)) {
    if (is_hidden(entry.path())) continue;
    if (entry.is_directory()) {
      contents.folders.push_back(entry.path().filename().string());
    } else if (is_picture_name(entry.path())) {
      ++contents.pictures;
    }
  }
  std::sort(contents.folders.begin(), contents.folders.end());
  return contents;
}

/// True for the folder above train/ and val/: taken as a root it would train on the classes "train" and "val".
bool is_split_folder(const fs::path& folder) {
  static constexpr std::array<std::string_view, 5> kSplits{"train", "val", "valid", "validation", "test"};
  if (std::find(kSplits.begin(), kSplits.end(), folder.filename().string()) == kSplits.end()) return false;
  const RootContents contents = list_root(folder);
  return contents.pictures == 0 && !contents.folders.empty();
}

void check_root(const fs::path& root) {
  std::error_code error;
  const fs::file_status status = fs::status(root, error);
  if (!fs::exists(status)) {
    throw_layout(root, error && error != std::errc::no_such_file_or_directory ? error.message() : "no such directory",
                 "check the path, and that this host sees it (every rank reads the pictures itself)");
  }
  if (!fs::is_directory(status))
    throw_layout(root, "a file, not a directory", "give the directory that holds the class folders");
}

class ImageFolder final : public Dataset {
 public:
  explicit ImageFolder(const fs::path& root) : root_(root.string()) {
    if (root_.ends_with('/')) root_.pop_back();
    const RootContents contents = list_root(root);
    if (contents.folders.empty()) {
      throw_layout(root,
                   contents.pictures == 0 ? "an empty directory" : counted(contents.pictures, "picture") + ", no folder",
                   "put the pictures of each class into a folder with the class's name");
    }
    for (const std::string& folder : contents.folders) {
      if (is_split_folder(root / folder)) {
        throw_layout(root, "the folder " + folder + " that itself holds folders", "give " + (root / folder).string());
      }
      add_class(root, folder);
    }
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
  void add_class(const fs::path& root, const std::string& name) {
    const std::vector<std::string> pictures = list_pictures(root / name);
    if (pictures.empty()) {
      throw_layout(root, "no such file in the class folder " + name,
                   "remove the folder, or put its pictures there (as JPEG or PNG)");
    }
    class_names_.push_back(name);
    class_begins_.push_back(size());
    for (const std::string& picture : pictures) {
      names_ += picture;
      name_begins_.push_back(names_.size());
    }
  }

  std::string root_;
  std::vector<std::string> class_names_;
  std::vector<std::int64_t> class_begins_;      ///< first sample of each class
  std::string names_;                           ///< all file names, without separators
  std::vector<std::size_t> name_begins_ = {0};  ///< of each sample in names_, and the end
};

}  // namespace

std::unique_ptr<Dataset> open_image_folder(const std::filesystem::path& root) {
  check_root(root);
  try {
    return std::make_unique<ImageFolder>(root);
  } catch (const fs::filesystem_error& error) {
    throw_layout(root, error.what(), "check the permissions of the directory");
  }
}

}  // namespace dtrain
