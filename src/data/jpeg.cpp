// TurboJPEG behind two functions. Decoders are created per call: that takes 0.3 µs beside 200–2000 µs of decoding, and
// spares both a pool and thread-local state.
#include "jpeg.hpp"

#include <turbojpeg.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <string_view>

#include "dtrain/error.hpp"
#include "picture_file.hpp"

namespace dtrain {
namespace {

struct DestroyCodec {
  void operator()(void* codec) const { tjDestroy(codec); }
};
using Codec = std::unique_ptr<void, DestroyCodec>;

Codec checked_codec(tjhandle handle) {
  check(handle != nullptr, "TurboJPEG creates a codec");
  return Codec(handle);
}

struct Header {
  PictureSize size;
  int colorspace = -1;
};

Header read_header(tjhandle codec, std::span<const std::uint8_t> bytes, const std::string& name) {
  int width = 0, height = 0, subsampling = -1, colorspace = -1;
  const int status = tjDecompressHeader3(codec, bytes.data(), bytes.size(), &width, &height, &subsampling, &colorspace);
  // Two statuses mislead: an error also means chroma subsampling that has no name in this interface (4:1:0, say) and that the
  // decoder takes all the same; success also means a file that ends before any picture begins.
  const bool is_known = width > 0 && height > 0 && colorspace >= 0;
  if (!is_known) throw_damaged("JPEG picture " + name, status != 0 ? tjGetErrorStr2(codec) : "no picture before the end of the file");
  return {{width, height}, colorspace};
}

/// libjpeg's warnings about details that leave the picture whole; all others mean lost picture data.
bool is_harmless(const std::string& warning) {
  static constexpr std::array<std::string_view, 3> kHarmless{"unknown JFIF revision", "Unknown Adobe color transform",
                                                             "Invalid SOS parameters"};
  // Some cameras and editors leave a few stray bytes between segments. Many of them are what is left when damaged picture data
  // was used up too early.
  constexpr unsigned kMaxStrayBytes = 1024;
  if (warning.find("extraneous bytes before marker") != std::string::npos) {
    unsigned stray_bytes = 0;
    return std::sscanf(warning.c_str(), "Corrupt JPEG data: %u", &stray_bytes) == 1 && stray_bytes <= kMaxStrayBytes;
  }
  return std::any_of(kHarmless.begin(), kHarmless.end(),
                     [&](std::string_view part) { return warning.find(part) != std::string::npos; });
}

/// True when the end-of-image marker is among the last bytes. (Picture data cannot hold FF D9: an FF there is followed by 00.)
bool ends_as_jpeg(std::span<const std::uint8_t> bytes) {
  static constexpr std::array<std::uint8_t, 2> kEndOfImage{0xFF, 0xD9};
  const auto tail = bytes.last(std::min<std::size_t>(bytes.size(), 1024));
  return std::search(tail.begin(), tail.end(), kEndOfImage.begin(), kEndOfImage.end()) != tail.end();
}

void decompress(tjhandle codec, std::span<const std::uint8_t> bytes, const std::string& name, const PictureSize& size,
                TJPF format, std::uint8_t* dst) {
  const int status = tjDecompress2(codec, bytes.data(), bytes.size(), dst, static_cast<int>(size.width), 0,
                                   static_cast<int>(size.height), format, TJFLAG_LIMITSCANS);
  if (status == 0) return;
  // Only the first warning is told. Behind a harmless one truncation could hide, hence the look at the end.
  const std::string message = tjGetErrorStr2(codec);
  const bool is_whole = tjGetErrorCode(codec) == TJERR_WARNING && is_harmless(message) && ends_as_jpeg(bytes);
  if (!is_whole) throw_damaged("JPEG picture " + name, message);
}

/// a·b/255, rounded as PIL does.
std::uint8_t scale_byte(int a, int b) {
  const int product = a * b + 128;
  return static_cast<std::uint8_t>(((product >> 8) + product) >> 8);
}

/// CMYK files hold 255 − ink (Adobe's convention, which PIL assumes for all of them): channel = paper·key.
/// PIL computes key − ink·key/255 with the ink restored; so does this, to get the same bytes.
void convert_cmyk(std::span<const std::uint8_t> cmyk, std::uint8_t* rgb) {
  for (std::size_t i = 0, o = 0; i < cmyk.size(); i += 4, o += 3) {
    const int key = cmyk[i + 3];
    for (std::size_t c = 0; c < 3; ++c) rgb[o + c] = static_cast<std::uint8_t>(key - scale_byte(255 - cmyk[i + c], key));
  }
}

}  // namespace

PictureSize jpeg_size(std::span<const std::uint8_t> bytes, const std::string& name) {
  const Codec codec = checked_codec(tjInitDecompress());
  return read_header(codec.get(), bytes, name).size;
}

// Powers of two alone: libjpeg-turbo has fast inverse transforms for these (1/2: 4×4, 1/4: 2×2, 1/8: the mean); the others
// (3/8, 5/8 …) run unvectorised and take longer than full size.
std::int64_t jpeg_denominator(const PictureSize& stored, const DecodeHint& hint) {
  if (hint.min_width <= 0 || hint.min_height <= 0) return 1;
  std::int64_t denominator = 8;
  const auto too_small = [&](std::int64_t d) {
    return (stored.width + d - 1) / d < hint.min_width || (stored.height + d - 1) / d < hint.min_height;
  };
  while (denominator > 1 && too_small(denominator)) denominator /= 2;
  return denominator;
}

void decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& name, const Dataset::ChooseHint& choose_hint,
                 Picture& picture) {
  const Codec codec = checked_codec(tjInitDecompress());
  const Header header = read_header(codec.get(), bytes, name);
  check_picture_size(header.size, name);

  const std::int64_t denominator = jpeg_denominator(header.size, choose_hint(header.size));
  picture.width = (header.size.width + denominator - 1) / denominator;
  picture.height = (header.size.height + denominator - 1) / denominator;
  const auto pixels = static_cast<std::size_t>(picture.width * picture.height);
  picture.rgb.resize(pixels * 3);
  const PictureSize decoded{picture.width, picture.height};
  if (header.colorspace == TJCS_CMYK || header.colorspace == TJCS_YCCK) {
    const auto cmyk = std::make_unique_for_overwrite<std::uint8_t[]>(pixels * 4);
    decompress(codec.get(), bytes, name, decoded, TJPF_CMYK, cmyk.get());
    convert_cmyk({cmyk.get(), pixels * 4}, picture.rgb.data());
  } else {
    decompress(codec.get(), bytes, name, decoded, TJPF_RGB, picture.rgb.data());
  }
}

std::vector<std::uint8_t> encode_jpeg(const Picture& picture, const JpegEncoding& encoding) {
  const Codec codec = checked_codec(tjInitCompress());
  const TJSAMP subsampling = encoding.halves_chroma ? TJSAMP_420 : TJSAMP_444;
  const int width = static_cast<int>(picture.width), height = static_cast<int>(picture.height);
  std::vector<std::uint8_t> bytes(tjBufSize(width, height, subsampling));
  unsigned char* buffer = bytes.data();
  unsigned long size_bytes = bytes.size();
  const int flags = TJFLAG_NOREALLOC | TJFLAG_ACCURATEDCT | (encoding.is_progressive ? TJFLAG_PROGRESSIVE : 0);
  const int status = tjCompress2(codec.get(), picture.rgb.data(), width, 0, height, TJPF_RGB, &buffer, &size_bytes, subsampling,
                                 encoding.quality, flags);
  check(status == 0, "a picture of positive extents can be encoded as JPEG");
  bytes.resize(size_bytes);
  return bytes;
}

}  // namespace dtrain
