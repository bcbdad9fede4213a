// The writers behind picture_writers.hpp. Errors of the libraries end the test program: the inputs are fixed.
#include "picture_writers.hpp"

#include <png.h>

#include "dtrain/error.hpp"
#include "dtrain/random.hpp"

namespace dtrain {
namespace {

Picture empty_picture(std::int64_t width, std::int64_t height) {
  return {width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(width * height * 3))};
}

void append(png_structp png, png_bytep bytes, png_size_t count) {
  auto& out = *static_cast<std::vector<std::uint8_t>*>(png_get_io_ptr(png));
  out.insert(out.end(), bytes, bytes + count);
}

}  // namespace

Picture gradient_picture(std::int64_t width, std::int64_t height) {
  Picture picture = empty_picture(width, height);
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      std::uint8_t* pixel = picture.rgb.data() + (y * width + x) * 3;
      pixel[0] = static_cast<std::uint8_t>(255 * x / width);
      pixel[1] = static_cast<std::uint8_t>(255 * y / height);
      pixel[2] = static_cast<std::uint8_t>(255 * (x + y) / (width + height));
    }
  }
  return picture;
}

Picture flat_picture(std::int64_t width, std::int64_t height, std::array<std::uint8_t, 3> colour) {
  Picture picture = empty_picture(width, height);
  for (std::size_t i = 0; i < picture.rgb.size(); ++i) picture.rgb[i] = colour[i % 3];
  return picture;
}

Picture noise_picture(std::int64_t width, std::int64_t height, std::uint64_t seed) {
  Picture picture = empty_picture(width, height);
  Random random(seed, RandomPurpose::perturbation, {});
  for (std::uint8_t& byte : picture.rgb) byte = static_cast<std::uint8_t>(random.next());
  return picture;
}

std::vector<std::uint8_t> write_jpeg(const JpegSpec& spec, const std::vector<std::uint8_t>& pixels) {
  const tjhandle codec = tjInitCompress();
  unsigned char* buffer = nullptr;
  unsigned long size_bytes = 0;
  const int status = tjCompress2(codec, pixels.data(), spec.width, 0, spec.height, spec.format, &buffer, &size_bytes,
                                 spec.subsampling, spec.quality, spec.flags | TJFLAG_ACCURATEDCT);
  check(status == 0, "the test's picture can be encoded");
  std::vector<std::uint8_t> bytes(buffer, buffer + size_bytes);
  tjFree(buffer);
  tjDestroy(codec);
  return bytes;
}

std::vector<std::uint8_t> write_png(const PngSpec& spec, const std::vector<std::uint8_t>& rows) {
  std::vector<std::uint8_t> out;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_set_check_for_invalid_index(png, 0);  // tests want files that other programs wrote wrongly
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(png, &out, append, [](png_structp) {});
  png_set_IHDR(png, info, spec.width, spec.height, spec.bit_depth, spec.colour_type,
               spec.is_interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  std::vector<png_color> palette;
  for (const auto& colour : spec.palette) palette.push_back({colour[0], colour[1], colour[2]});
  if (!palette.empty()) png_set_PLTE(png, info, palette.data(), static_cast<int>(palette.size()));
  if (!spec.palette_alpha.empty()) {
    png_set_tRNS(png, info, spec.palette_alpha.data(), static_cast<int>(spec.palette_alpha.size()), nullptr);
  }
  if (spec.significant_bits[0] != 0) {
    png_color_8 bits{};
    bits.red = bits.gray = spec.significant_bits[0];
    bits.green = spec.significant_bits[1];
    bits.blue = spec.significant_bits[2];
    bits.alpha = static_cast<png_byte>(spec.bit_depth);
    png_set_sBIT(png, info, &bits);
  }
  png_write_info(png, info);
  const std::size_t row_bytes = png_get_rowbytes(png, info);
  check(rows.size() == row_bytes * spec.height, "the test gives all rows");
  std::vector<png_bytep> row_pointers;
  for (std::size_t y = 0; y < spec.height; ++y) row_pointers.push_back(const_cast<png_bytep>(rows.data()) + y * row_bytes);
  png_write_image(png, row_pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return out;
}

std::vector<std::uint8_t> write_png(const Picture& picture) {
  return write_png({.width = static_cast<std::uint32_t>(picture.width), .height = static_cast<std::uint32_t>(picture.height)},
                   picture.rgb);
}

}  // namespace dtrain
