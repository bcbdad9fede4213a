// What people take for a weight file and is not one: a pointer of Git LFS, an error page, a checkpoint in PyTorch's own format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace dtrain {

/// How much of a file's beginning is looked at.
inline constexpr std::size_t kKindBytes = 4096;

struct FileKind {
  std::string found;   ///< "a pointer of Git LFS to a file of 46827520 bytes"
  std::string remedy;  ///< "git lfs pull in the repository that it came from"
};

/// Names what is no safetensors file. path: for the commands in the remedy, and its extension where the bytes leave it open.
/// beginning: the first kKindBytes, or all that there are.
FileKind recognise_file(const std::filesystem::path& path, std::span<const std::byte> beginning, std::uint64_t size_bytes);

}  // namespace dtrain
