// What lies in a folder of images: which entries are images, which are to be left out and why. Knows nothing of classes.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "dtrain/image_folder.hpp"

namespace dtrain {

/// Hidden entries, and those that storages, archives, desktops and notebooks leave everywhere.
bool is_system_name(std::string_view name);

enum class FileKind {
  image,        ///< JPEG or PNG, by a usual name or by content
  other_image,  ///< of a format that is not read
  other_file,
  unreadable,
};
struct FoundFile {
  FileKind kind = FileKind::other_file;
  std::string format;  ///< of another image: "WebP"
};
/// A file that is no directory. Opens it only where its name says nothing. A link that leads nowhere is an image when its name
/// says so: it is met as a damaged one, by name, instead of vanishing.
FoundFile find_file_kind(const std::filesystem::directory_entry& entry);

/// Errors: DataError: missing, unreadable, a file.
void require_folder(const std::string& path);

[[noreturn]] void throw_layout(const std::string& root, const std::string& found, const std::string& remedy);

/// Errors: DataError: the folder cannot be read.
FolderLook look_into_folder(const std::string& path, bool briefly);

}  // namespace dtrain
