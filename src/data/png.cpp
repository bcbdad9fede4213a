// Note [libpng leaves by longjmp]: its errors jump back to a setjmp. The functions that call setjmp here hold no object with
// a destructor and change no local after it, so that the jump skips nothing; they return false and the caller throws.
#include "png.hpp"

#include <png.h>

#include <algorithm>
#include <array>
#include <bit>
#include <csetjmp>
#include <cstring>
#include <optional>
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

/// Asks for RGB rows whatever is stored: of 16 bits where these are stored and wanted, else of 8.
bool request_rgb(png_structp png, png_infop info, bool keeps_16_bits) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  if (!keeps_16_bits) png_set_strip_16(png);
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

/// Asks for palette indices as they are stored, a byte each.
bool request_indices(png_structp png, png_infop info) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_packing(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  return true;
}

/// Refuses pixels for which the palette has no colour: libpng makes them black. A second pass over the file, which only
/// palettes shorter than their indices could be need.
void require_colours(Reader& header, std::span<const std::uint8_t> bytes, const std::string& name) {
  if (png_get_color_type(header.png(), header.info()) != PNG_COLOR_TYPE_PALETTE) return;
  png_colorp palette = nullptr;
  int colours = 0;
  png_get_PLTE(header.png(), header.info(), &palette, &colours);
  if (colours >= 1 << png_get_bit_depth(header.png(), header.info())) return;
  Reader reader(bytes);
  if (!read_header(reader.png(), reader.info()) || !request_indices(reader.png(), reader.info())) {
    throw_damaged("PNG picture " + name, reader.error());
  }
  const auto width = static_cast<std::size_t>(reader.size().width), height = static_cast<std::size_t>(reader.size().height);
  std::vector<std::uint8_t> indices(width * height);
  std::vector<png_bytep> rows(height);
  for (std::size_t y = 0; y < height; ++y) rows[y] = indices.data() + y * width;
  if (!read_rows(reader.png(), rows.data())) throw_damaged("PNG picture " + name, reader.error());
  const int largest = *std::ranges::max_element(indices);
  if (largest < colours) return;
  throw_damaged("PNG picture " + name,
                "a pixel of colour " + std::to_string(largest) + " of a palette of " + std::to_string(colours));
}

/// Whole RGB picture with samples as stored.
struct Samples {
  PictureSize size;
  int depth = 8;
  std::vector<std::uint16_t> rgb;
};

Samples read_samples(Reader& reader, const std::string& name) {
  Samples samples{.size = reader.size(), .depth = png_get_bit_depth(reader.png(), reader.info()), .rgb = {}};
  if (!request_rgb(reader.png(), reader.info(), true)) throw_damaged("PNG picture " + name, reader.error());
  const auto width = static_cast<std::size_t>(samples.size.width), height = static_cast<std::size_t>(samples.size.height);
  const std::size_t sample_bytes = samples.depth == 16 ? 2 : 1, row_bytes = width * 3 * sample_bytes;
  check(png_get_rowbytes(reader.png(), reader.info()) == row_bytes, "libpng gives RGB rows");
  std::vector<std::uint8_t> bytes(row_bytes * height);
  std::vector<png_bytep> rows(height);
  for (std::size_t y = 0; y < height; ++y) rows[y] = bytes.data() + y * row_bytes;
  if (!read_rows(reader.png(), rows.data())) throw_damaged("PNG picture " + name, reader.error());
  samples.rgb.resize(width * height * 3);
  for (std::size_t i = 0; i < samples.rgb.size(); ++i) {
    samples.rgb[i] = sample_bytes == 1 ? bytes[i] : static_cast<std::uint16_t>(bytes[2 * i] << 8 | bytes[2 * i + 1]);
  }
  return samples;
}

/// Bits of red, green and blue that mean something.
using SignificantBits = std::array<int, 3>;

/// From an sBIT chunk, where it says fewer than are stored, in samples of 8 or 16 bits.
std::optional<SignificantBits> significant_bits(Reader& reader) {
  png_color_8p said = nullptr;
  if (png_get_sBIT(reader.png(), reader.info(), &said) == 0) return std::nullopt;
  const int depth = png_get_bit_depth(reader.png(), reader.info());
  const int type = png_get_color_type(reader.png(), reader.info());
  if (depth < 8 || type == PNG_COLOR_TYPE_PALETTE) return std::nullopt;
  const bool has_colour = (type & PNG_COLOR_MASK_COLOR) != 0;
  const SignificantBits bits =
      has_colour ? SignificantBits{said->red, said->green, said->blue} : SignificantBits{said->gray, said->gray, said->gray};
  if (std::ranges::all_of(bits, [&](int b) { return b >= depth; })) return std::nullopt;
  return bits;
}

// Note [Significant bits at either end]: the standard has writers scale samples up to the full range (PNG, 11.3.3.4: the upper
// bits are the significant ones, the lower ones repeat them or are 0), so the high byte is right as it stands. But many writers
// leave, say, 12-bit values as they are, 0…4095 of 65535. Such a picture is told from a dark one that follows the standard by
// its lower bits: none of its samples lies above 2^bits − 1, and some are not what scaling makes (1 apart, for the ways to
// round).

bool is_scaled(unsigned value, int bits, int depth) {
  const unsigned largest = (1U << bits) - 1, full = (1U << depth) - 1, upper = value >> (depth - bits);
  if (value == upper << (depth - bits)) return true;
  const unsigned scaled = (upper * full + largest / 2) / largest;
  return value + 1 >= scaled && value <= scaled + 1;
}

bool is_unscaled(const Samples& samples, const SignificantBits& bits) {
  bool has_unscaled = false;
  for (std::size_t i = 0; i < samples.rgb.size(); ++i) {
    const int b = bits[i % 3];
    if (samples.rgb[i] >> b != 0) return false;
    has_unscaled = has_unscaled || !is_scaled(samples.rgb[i], b, samples.depth);
  }
  return has_unscaled;
}

/// The high byte of the significant bits; of fewer than 8, the value scaled to the full range.
std::uint8_t high_byte(unsigned value, int bits) {
  const unsigned largest = (1U << bits) - 1;
  return static_cast<std::uint8_t>(bits >= 8 ? value >> (bits - 8) : (value * 255 + largest / 2) / largest);
}

void scale_samples(const Samples& samples, const SignificantBits& significant, Picture& picture) {
  const SignificantBits bits =
      is_unscaled(samples, significant) ? significant : SignificantBits{samples.depth, samples.depth, samples.depth};
  picture.width = samples.size.width;
  picture.height = samples.size.height;
  picture.rgb.resize(samples.rgb.size());
  for (std::size_t i = 0; i < samples.rgb.size(); ++i) picture.rgb[i] = high_byte(samples.rgb[i], bits[i % 3]);
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
  require_colours(reader, bytes, name);
  const std::optional<SignificantBits> significant = significant_bits(reader);
  if (significant) return scale_samples(read_samples(reader, name), *significant, picture);
  const PictureSize size = reader.size();
  if (!request_rgb(reader.png(), reader.info(), false)) throw_damaged("PNG picture " + name, reader.error());
  check(static_cast<std::int64_t>(png_get_rowbytes(reader.png(), reader.info())) == size.width * 3, "libpng gives RGB rows");

  picture.width = size.width;
  picture.height = size.height;
  picture.rgb.resize(static_cast<std::size_t>(size.width * size.height * 3));
  std::vector<png_bytep> rows(static_cast<std::size_t>(size.height));
  for (std::size_t y = 0; y < rows.size(); ++y) rows[y] = picture.rgb.data() + y * static_cast<std::size_t>(size.width) * 3;
  if (!read_rows(reader.png(), rows.data())) throw_damaged("PNG picture " + name, reader.error());
}

int png_used_bits(std::span<const std::uint8_t> bytes, const std::string& name) {
  constexpr std::size_t kDepthAt = 24;
  if (bytes.size() <= kDepthAt || bytes[kDepthAt] != 16) return 0;
  check_picture_size(png_size(bytes, name), name);
  Reader reader(bytes);
  if (!read_header(reader.png(), reader.info())) throw_damaged("PNG picture " + name, reader.error());
  if (png_get_valid(reader.png(), reader.info(), PNG_INFO_sBIT) != 0) return 0;
  const Samples samples = read_samples(reader, name);
  return std::bit_width(static_cast<unsigned>(*std::ranges::max_element(samples.rgb)));
}

}  // namespace dtrain
