// Bytes of a picture file to an RGB picture: recognises the kind by its first bytes, whatever the name says, and passes on to
// the JPEG or PNG decoder. Knows nothing of data sets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "dtrain/data.hpp"

namespace dtrain {

/// Contents of a file, or the first bytes of it.
struct FileBytes {
  std::unique_ptr<std::uint8_t[]> data;
  std::size_t size = 0;
  bool is_whole = true;
  std::span<const std::uint8_t> view() const { return {data.get(), size}; }
};

/// Reads at most `limit_bytes` of a file. Errors: DataError: missing, unreadable.
FileBytes read_file(const std::string& path, std::size_t limit_bytes = SIZE_MAX);

enum class PictureKind { jpeg, png, other };

/// Kind by magic number.
PictureKind sniff_picture(std::span<const std::uint8_t> bytes);
/// What the bytes are, in words: "a BMP picture", "an empty file", "text".
std::string describe_content(std::span<const std::uint8_t> bytes);
/// The image format that the bytes have, "WebP"; empty for what is no image.
std::string_view image_format_of(std::span<const std::uint8_t> bytes);

/// Largest picture that is decoded, in pixels: a damaged header must not claim all memory.
inline constexpr std::int64_t kMaxPixels = std::int64_t{1} << 27;
/// Errors: DataError: extents not positive or beyond kMaxPixels.
void check_picture_size(const PictureSize& size, const std::string& name);
/// `what` is the format and the name: "PNG picture x.png".
[[noreturn]] void throw_damaged(const std::string& what, const std::string& found);

/// Extents from the header. `bytes` may be a prefix of the file as long as it holds the header. `name` is for messages.
/// Errors: DataError: neither JPEG nor PNG, damaged.
PictureSize picture_size_of(std::span<const std::uint8_t> bytes, const std::string& name);

/// Decodes a whole file's bytes. Errors: DataError: neither JPEG nor PNG, damaged, truncated, too large.
void decode_picture(std::span<const std::uint8_t> bytes, const std::string& name, const Dataset::ChooseHint& choose_hint,
                    Picture& picture);

}  // namespace dtrain
