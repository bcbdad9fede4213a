// Note [libpng leaves by longjmp]: its errors jump back to a setjmp. The functions that call setjmp here hold no object with
// a destructor and change no local after it, so that the jump skips nothing; they return false and the caller throws.
#include "png.hpp"

#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <vector>

#include "dtrain/error.hpp"
#include "picture_file.hpp"

namespace dtrain {
namespace {

/// Bytes still to be read, and what went wrong.
struct Source {
  std::span<const std::uint8_t> rest;
  std::string error;
};

void on_read(png_structp png, png_bytep dst, png_size_t count) {
  auto& source = *static_cast<Source*>(png_get_io_ptr(png));
  if (count > source.rest.size()) png_error(png, "the file ends early");
  std::memcpy(dst, source.rest.data(), count);
  source.rest = source.rest.subspan(count);
}

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  static_cast<Source*>(png_get_error_ptr(png))->error = message;
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}  // about ancillary chunks; the picture is whole

/// Owns libpng's two structs.
class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> bytes) : source_{bytes, {}} {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source_, on_error, on_warning);
    info_ = png_ != nullptr ? png_create_info_struct(png_) : nullptr;
    if (info_ == nullptr) png_destroy_read_struct(&png_, nullptr, nullptr);
    check(info_ != nullptr, "libpng creates a reader");
    png_set_read_fn(png_, &source_, on_read);
  }
  Reader(const Reader&) = delete;
  ~Reader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  png_structp png() { return png_; }
  png_infop info() { return info_; }
  const std::string& error() const { return source_.error; }
  PictureSize size() const { return {png_get_image_width(png_, info_), png_get_image_height(png_, info_)}; }

 private:
  Source source_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

bool read_header(png_structp png, png_infop info) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_read_info(png, info);
  return true;
}

/// Asks for 8-bit RGB rows whatever is stored.
bool request_rgb(png_structp png, png_infop info) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_strip_16(png);
  png_set_palette_to_rgb(png);
  png_set_expand_gray_1_2_4_to_8(png);
  png_set_gray_to_rgb(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  return true;
}

bool read_rows(png_structp png, png_bytepp rows) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_read_image(png, rows);
  png_read_end(png, nullptr);  // verifies the last checksum
  return true;
}

}  // namespace

PictureSize png_size(std::span<const std::uint8_t> bytes, const std::string& name) {
  // Signature (8), then the header chunk: length (4), "IHDR", width (4), height (4), both big-endian.
  static constexpr std::size_t kHeaderBytes = 24;
  const auto big_endian = [&](std::size_t at) {
    std::int64_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | bytes[at + i];
    return value;
  };
  if (bytes.size() < kHeaderBytes) throw_damaged("PNG picture " + name, "the file ends early");
  if (std::memcmp(bytes.data() + 12, "IHDR", 4) != 0) throw_damaged("PNG picture " + name, "no header chunk");
  return {big_endian(16), big_endian(20)};
}

void decode_png(std::span<const std::uint8_t> bytes, const std::string& name, Picture& picture) {
  check_picture_size(png_size(bytes, name), name);  // in our words, before libpng refuses in its own
  Reader reader(bytes);
  if (!read_header(reader.png(), reader.info())) throw_damaged("PNG picture " + name, reader.error());
  const PictureSize size = reader.size();
  if (!request_rgb(reader.png(), reader.info())) throw_damaged("PNG picture " + name, reader.error());
  check(static_cast<std::int64_t>(png_get_rowbytes(reader.png(), reader.info())) == size.width * 3, "libpng gives RGB rows");

  picture.width = size.width;
  picture.height = size.height;
  picture.rgb.resize(static_cast<std::size_t>(size.width * size.height * 3));
  std::vector<png_bytep> rows(static_cast<std::size_t>(size.height));
  for (std::size_t y = 0; y < rows.size(); ++y) rows[y] = picture.rgb.data() + y * static_cast<std::size_t>(size.width) * 3;
  if (!read_rows(reader.png(), rows.data())) throw_damaged("PNG picture " + name, reader.error());
}

}  // namespace dtrain
