// Reading of picture files and recognition of what they hold.
#include "picture_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "dtrain/error.hpp"
#include "jpeg.hpp"
#include "png.hpp"

namespace dtrain {
namespace {

/// Closes on every way out.
class OpenFile {
 public:
  /// Does not wait for who writes to a FIFO, nor for a device.
  explicit OpenFile(const std::string& path)
      : descriptor_(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) {}
  OpenFile(const OpenFile&) = delete;
  ~OpenFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

[[noreturn]] void throw_unreadable(const std::string& path, const std::string& found) {
  throw DataError(Fault{.doing = "reading the picture " + path,
                        .expected = "a readable file",
                        .found = found,
                        .remedy = "check that the file exists and that this user may read it on this host"});
}

bool starts_with(std::span<const std::uint8_t> bytes, std::string_view magic, std::size_t at = 0) {
  return bytes.size() >= at + magic.size() && std::memcmp(bytes.data() + at, magic.data(), magic.size()) == 0;
}

/// Bytes by which a kind of file is known.
struct Magic {
  std::string_view bytes;
  std::size_t at;
  std::string_view words;
  std::string_view image_format;  ///< empty: no image
};
constexpr std::array kMagics{
    Magic{"\xFF\xD8\xFF", 0, "a JPEG picture", "JPEG"},
    Magic{"\x89PNG\r\n\x1A\n", 0, "a PNG picture", "PNG"},
    Magic{"BM", 0, "a BMP picture", "BMP"},
    Magic{"GIF8", 0, "a GIF picture", "GIF"},
    Magic{std::string_view("II*\0", 4), 0, "a TIFF picture", "TIFF"},
    Magic{std::string_view("MM\0*", 4), 0, "a TIFF picture", "TIFF"},
    Magic{std::string_view("II+\0", 4), 0, "a BigTIFF picture", "TIFF"},
    Magic{"WEBP", 8, "a WebP picture", "WebP"},
    Magic{"ftypavi", 4, "an AVIF picture", "AVIF"},
    Magic{"ftyphei", 4, "a HEIC picture", "HEIC"},
    Magic{"ftypmif1", 4, "a HEIF picture", "HEIF"},
    Magic{std::string_view("\0\0\0\x0CjP  ", 8), 0, "a JPEG 2000 picture", "JPEG 2000"},
    Magic{"\xFF\x4F\xFF\x51", 0, "a JPEG 2000 picture", "JPEG 2000"},
    Magic{"\xFF\x0A", 0, "a JPEG XL picture", "JPEG XL"},
    Magic{std::string_view("\0\0\0\x0CJXL ", 8), 0, "a JPEG XL picture", "JPEG XL"},
    Magic{"8BPS", 0, "a Photoshop document", "PSD"},
    Magic{"DICM", 128, "a DICOM file", "DICOM"},
    Magic{"%PDF", 0, "a PDF document", ""},
    Magic{"PK\x03\x04", 0, "a ZIP archive", ""},
    Magic{"\x1F\x8B", 0, "gzip-compressed data", ""},
    Magic{"version https://git-lfs", 0, "a Git LFS pointer (run `git lfs pull`)", ""},
    Magic{"<!DOCTYPE", 0, "an HTML page", ""},
    Magic{"<html", 0, "an HTML page", ""},
};
constexpr Magic kPnm{"", 0, "a PNM picture (PBM, PGM or PPM)", "PNM"};

/// None for bytes of no kind known here.
const Magic* find_magic(std::span<const std::uint8_t> bytes) {
  for (const Magic& magic : kMagics) {
    if (starts_with(bytes, magic.bytes, magic.at)) return &magic;
  }
  const bool is_pnm = bytes.size() >= 3 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '7' &&
                      (bytes[2] == '\n' || bytes[2] == ' ' || bytes[2] == '\r' || bytes[2] == '\t');
  return is_pnm ? &kPnm : nullptr;
}

bool is_printable(std::uint8_t byte) { return byte >= 0x20 || byte == '\n' || byte == '\r' || byte == '\t'; }

bool looks_like_text(std::span<const std::uint8_t> bytes) {
  const auto head = bytes.first(std::min<std::size_t>(bytes.size(), 512));
  return std::all_of(head.begin(), head.end(), is_printable);
}

[[noreturn]] void throw_foreign(std::span<const std::uint8_t> bytes, const std::string& name) {
  throw DataError(Fault{.doing = "decoding the picture " + name,
                        .expected = "JPEG or PNG content",
                        .found = describe_content(bytes),
                        .remedy = bytes.empty() ? "restore the file from its source, or delete it before a new run"
                                                : "convert the file to JPEG or PNG (renaming does not), or delete it"});
}

}  // namespace

FileBytes read_file(const std::string& path, std::size_t limit_bytes) {
  const OpenFile file(path);
  if (file.descriptor() < 0) throw_unreadable(path, std::strerror(errno));
  struct stat status {};
  if (::fstat(file.descriptor(), &status) != 0) throw_unreadable(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) throw_unreadable(path, "something that is no regular file");

  const auto file_bytes = static_cast<std::size_t>(status.st_size);
  FileBytes bytes{.data = nullptr, .size = std::min(file_bytes, limit_bytes), .is_whole = file_bytes <= limit_bytes};
  bytes.data = std::make_unique_for_overwrite<std::uint8_t[]>(bytes.size);
  for (std::size_t done = 0; done < bytes.size;) {
    const ssize_t got = ::read(file.descriptor(), bytes.data.get() + done, bytes.size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_unreadable(path, std::strerror(errno));
    if (got == 0) throw_unreadable(path, "the file became shorter while it was read");
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

PictureKind sniff_picture(std::span<const std::uint8_t> bytes) {
  if (starts_with(bytes, "\xFF\xD8\xFF")) return PictureKind::jpeg;
  if (starts_with(bytes, "\x89PNG\r\n\x1A\n")) return PictureKind::png;
  return PictureKind::other;
}

std::string describe_content(std::span<const std::uint8_t> bytes) {
  if (bytes.empty()) return "an empty file";
  const Magic* const magic = find_magic(bytes);
  if (magic != nullptr) return std::string(magic->words);
  if (looks_like_text(bytes)) return "text";
  if (std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; })) return "zeros alone";
  return "bytes of no picture format known here";
}

std::string_view image_format_of(std::span<const std::uint8_t> bytes) {
  const Magic* const magic = find_magic(bytes);
  return magic != nullptr ? magic->image_format : std::string_view();
}

void check_picture_size(const PictureSize& size, const std::string& name) {
  if (size.width >= 1 && size.height >= 1 && size.width <= kMaxPixels / size.height) return;
  throw DataError(Fault{.doing = "decoding the picture " + name,
                        .expected = "1 to " + std::to_string(kMaxPixels) + " pixels",
                        .found = std::to_string(size.width) + " x " + std::to_string(size.height),
                        .remedy = "restore the file if it is damaged, else scale it down"});
}

void throw_damaged(const std::string& what, const std::string& found) {
  throw DataError(Fault{.doing = "decoding the " + what,
                        .expected = "a whole, undamaged file",
                        .found = found,
                        .remedy = "restore the file from its source, or delete it before a new run"});
}

PictureSize picture_size_of(std::span<const std::uint8_t> bytes, const std::string& name) {
  switch (sniff_picture(bytes)) {
    case PictureKind::jpeg:
      return jpeg_size(bytes, name);
    case PictureKind::png:
      return png_size(bytes, name);
    case PictureKind::other:
      break;
  }
  throw_foreign(bytes, name);
}

void decode_picture(std::span<const std::uint8_t> bytes, const std::string& name, const Dataset::ChooseHint& choose_hint,
                    Picture& picture) {
  switch (sniff_picture(bytes)) {
    case PictureKind::jpeg:
      return decode_jpeg(bytes, name, choose_hint, picture);
    case PictureKind::png:
      choose_hint(png_size(bytes, name));  // PNG has no cheaper smaller size; the caller still learns the extents
      return decode_png(bytes, name, picture);
    case PictureKind::other:
      break;
  }
  throw_foreign(bytes, name);
}

}  // namespace dtrain
