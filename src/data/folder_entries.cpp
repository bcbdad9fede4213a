// Kinds of entries; see folder_entries.hpp.
#include "folder_entries.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <system_error>

#include "dtrain/error.hpp"
#include "picture_file.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// Enough for every magic number known to describe_content.
constexpr std::size_t kSniffedBytes = 192;

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return lower;
}

template <std::size_t n>
bool is_one_of(std::string_view word, const std::array<std::string_view, n>& words) {
  return std::ranges::find(words, word) != words.end();
}

constexpr std::array<std::string_view, 3> kImageEndings{".jpg", ".jpeg", ".png"};

/// Of files that people keep next to images, by the thousand at times: these are not opened.
constexpr std::array kOtherEndings = std::to_array<std::string_view>(
    {".txt", ".json", ".jsonl", ".csv", ".tsv",         ".xml",   ".yaml", ".yml",   ".toml",   ".ini", ".cfg", ".md",
     ".rst", ".html", ".htm",   ".log", ".lst",         ".names", ".py",   ".ipynb", ".sh",     ".m",   ".mat", ".npy",
     ".npz", ".pkl",  ".pt",    ".pth", ".h5",          ".hdf5",  ".db",   ".doc",   ".docx",   ".pdf", ".xls", ".xlsx",
     ".zip", ".tar",  ".gz",    ".tgz", ".bz2",         ".xz",    ".7z",   ".rar",   ".md5",    ".mp4", ".avi", ".mov",
     ".mkv", ".webm", ".mp3",   ".wav", ".safetensors", ".url",   ".bak",  ".lnk",   ".parquet"});

constexpr std::array kSystemNames =
    std::to_array<std::string_view>({"@eadir", "@__thumb", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot",
                                     "~snapshot", "$recycle.bin", "system volume information", "__macosx",
                                     "__pycache__", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini"});

enum class Ending { image, other, unknown };

Ending ending_of(const fs::path& path) {
  const std::string ending = lower_case(path.extension().string());
  if (is_one_of(ending, kImageEndings)) return Ending::image;
  return is_one_of(ending, kOtherEndings) ? Ending::other : Ending::unknown;
}

FoundFile sniffed_kind(const fs::path& path) {
  try {
    const FileBytes head = read_file(path.string(), kSniffedBytes);
    if (sniff_picture(head.view()) != PictureKind::other) return {FileKind::image, {}};
    const std::string_view format = image_format_of(head.view());
    if (format.empty()) return {FileKind::other_file, {}};
    return {FileKind::other_image, std::string(format)};
  } catch (const DataError&) {
    return {FileKind::unreadable, {}};
  }
}

}  // namespace

void EntryGroup::add(const std::string& path) {
  ++count;
  if (example.empty() || path < example) example = path;
}

bool is_system_name(std::string_view name) { return name.starts_with('.') || is_one_of(lower_case(name), kSystemNames); }

FoundFile find_file_kind(const fs::directory_entry& entry) {
  std::error_code unused;
  const bool is_file = entry.is_regular_file(unused);  // known from the listing, unless it is a link
  if (!is_file) {
    // Pipes and devices would make a reader wait for ever.
    const fs::file_type type = entry.status(unused).type();
    if (type != fs::file_type::not_found && type != fs::file_type::none) return {FileKind::other_file, {}};
  }
  const Ending ending = ending_of(entry.path());
  if (ending == Ending::image) return {FileKind::image, {}};
  if (ending == Ending::other) return {FileKind::other_file, {}};
  return is_file ? sniffed_kind(entry.path()) : FoundFile{FileKind::unreadable, {}};
}

void throw_layout(const std::string& root, const std::string& found, const std::string& remedy) {
  throw DataError(Fault{"opening the picture folder " + root,
                        "class folders of JPEG or PNG images: <root>/<class>/<image>, or <root>/train/<class>/<image>", found,
                        remedy});
}

void require_folder(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    throw_layout(path, error && error != std::errc::no_such_file_or_directory ? error.message() : "no such directory",
                 "check the path, and that this host sees it (every rank reads the images itself)");
  }
  if (!fs::is_directory(status))
    throw_layout(path, "a file, not a directory", "give the directory that holds the class folders");
}

FolderLook look_into_folder(const std::string& path, bool briefly) {
  // Files that have to be opened are opened in a number that bounds the cost; the whole truth comes with the images themselves.
  constexpr int kMaxOpened = 64;
  FolderLook look;
  int opened = 0;
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
      const std::string name = entry.path().filename().string();
      std::error_code unused;
      if (is_system_name(name)) continue;
      if (entry.is_directory(unused)) {
        look.folders.push_back(name);
      } else if (!look.has_images && opened < kMaxOpened) {
        const FileKind kind = find_file_kind(entry).kind;
        look.has_images = kind == FileKind::image || kind == FileKind::other_image;
        opened += ending_of(entry.path()) == Ending::unknown;
        if (look.has_images && briefly) break;
      }
    }
  } catch (const fs::filesystem_error& error) {
    throw_layout(path, error.what(), "check the permissions of the directory");
  }
  std::ranges::sort(look.folders);
  return look;
}

}  // namespace dtrain
