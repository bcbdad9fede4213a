// Decoding through libjpeg-turbo's libjpeg interface, which can leave out the transform, the colours and the memory of pixels
// that nobody asked for; encoding through its TurboJPEG interface, which has it in one call. Codecs are created per call: that
// takes a few µs beside 200–2000 µs of decoding, and spares both a pool and thread-local state.
#include "jpeg.hpp"

#include <turbojpeg.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <memory>

// libjpeg's headers need size_t and FILE before them.
#include <jerror.h>
#include <jpeglib.h>

#include "dtrain/error.hpp"
#include "picture_file.hpp"

namespace dtrain {
namespace {

struct DestroyEncoder {
  void operator()(void* encoder) const { tjDestroy(encoder); }
};
using Encoder = std::unique_ptr<void, DestroyEncoder>;

// Note [Stray bytes]: before the next marker, libjpeg passes over bytes that it has no use for, and warns. A few are what cameras
// and editors leave between segments; before the first scan there is no picture data that could be lost, however many they are.
// Many of them after a scan are padding, or the rest of damaged data whose decoding ended too early. Padding is of one value, and
// begins where the data ends: in data that ended too early, that value would go on before. (PIL takes any number of any bytes, and
// so shows damaged pictures.)

/// Whether the `count` stray bytes before libjpeg's place in `bytes` are padding after a scan.
bool are_padding(std::span<const std::uint8_t> bytes, const jpeg_decompress_struct& codec, std::int64_t count) {
  constexpr int kMaxAhead = 8;  // bytes that the decoder's bit buffer had taken, which are not counted
  const auto before = bytes.first(static_cast<std::size_t>(codec.src->next_input_byte - bytes.data()));
  const auto differs = [&](std::uint8_t byte) { return byte != before.back(); };
  if (static_cast<std::int64_t>(before.size()) < count + kMaxAhead + 1) return false;
  const auto stray = before.last(static_cast<std::size_t>(count));
  const auto ahead = before.last(static_cast<std::size_t>(count) + kMaxAhead + 1).first(kMaxAhead + 1);
  return std::ranges::none_of(stray, differs) && std::ranges::any_of(ahead, differs);
}

/// libjpeg's warnings about details that leave the picture whole; all others mean lost picture data.
bool is_harmless(const jpeg_decompress_struct& codec, std::span<const std::uint8_t> bytes) {
  constexpr int kFewStrayBytes = 1024;
  const jpeg_error_mgr& warning = *codec.err;
  switch (warning.msg_code) {
    case JWRN_JFIF_MAJOR:
    case JWRN_ADOBE_XFORM:
    case JWRN_NOT_SEQUENTIAL:
      return true;
    case JWRN_EXTRANEOUS_DATA:
      return warning.msg_parm.i[0] <= kFewStrayBytes || codec.input_scan_number == 0 ||
             are_padding(bytes, codec, warning.msg_parm.i[0]);
    default:
      return false;
  }
}

/// Messages beside libjpeg's own.
constexpr int kTooManyScans = 1000;
constexpr std::array<const char*, 1> kOurMessages{"a progressive picture of more than 500 scans"};

/// A decoder that gives up at the first error and at the first warning of lost picture data.
class Decoder {
 public:
  Decoder(std::span<const std::uint8_t> bytes, const std::string& name) : bytes_(bytes), name_(name) {
    codec_.err = jpeg_std_error(&failures_.manager);
    failures_.bytes = bytes_;
    failures_.manager.error_exit = give_up;
    failures_.manager.emit_message = weigh_message;
    failures_.manager.addon_message_table = kOurMessages.data();
    failures_.manager.first_addon_message = failures_.manager.last_addon_message = kTooManyScans;
    progress_.progress_monitor = limit_scans;
    attempt([this] {
      jpeg_create_decompress(&codec_);
      codec_.progress = &progress_;
    });
  }
  Decoder(const Decoder&) = delete;
  ~Decoder() { jpeg_destroy_decompress(&codec_); }

  /// For those who want the extents alone: stray bytes before them do not make them wrong.
  void ignore_warnings() { failures_.manager.emit_message = ignore_message; }

  PictureSize read_header() {
    attempt([this] {
      jpeg_mem_src(&codec_, bytes_.data(), static_cast<unsigned long>(bytes_.size()));
      jpeg_read_header(&codec_, TRUE);
    });
    return {codec_.image_width, codec_.image_height};
  }

  bool has_ink() const { return codec_.jpeg_color_space == JCS_CMYK || codec_.jpeg_color_space == JCS_YCCK; }

  /// Reduces the picture and chooses what comes out: RGB, or CMYK where it has ink. Returns the extents that it will have.
  PictureSize scale(std::int64_t denominator) {
    attempt([this, denominator] {
      codec_.scale_num = 1;
      codec_.scale_denom = static_cast<unsigned>(denominator);
      codec_.out_color_space = has_ink() ? JCS_CMYK : JCS_RGB;
      jpeg_calc_output_dimensions(&codec_);
    });
    return {codec_.output_width, codec_.output_height};
  }

  /// Decodes the pixels of `box` (of the scaled picture) to their places in a whole picture at dst; rows are handed out one by
  /// one: place(y, left) tells where the pixels of row y from column `left` on go, is_done(y, left, count) that they are there.
  template <typename Place, typename IsDone>
  void read_rows(const CropBox& box, const Place& place, const IsDone& is_done) {
    attempt([&] {
      jpeg_start_decompress(&codec_);
      const JDIMENSION height = codec_.output_height;
      JDIMENSION left = static_cast<JDIMENSION>(box.left), width = static_cast<JDIMENSION>(box.width);
      if (width < codec_.output_width) jpeg_crop_scanline(&codec_, &left, &width);
      const auto read_row = [&] {
        const JDIMENSION y = codec_.output_scanline;
        JSAMPROW row = place(y, left);
        jpeg_read_scanlines(&codec_, &row, 1);
        is_done(y, left, codec_.output_width);
      };
      const auto skip_to = [&](JDIMENSION y) {
        if (y > codec_.output_scanline) jpeg_skip_scanlines(&codec_, y - codec_.output_scanline);
      };
      skip_to(static_cast<JDIMENSION>(box.top));
      while (codec_.output_scanline < static_cast<JDIMENSION>(box.top + box.height)) read_row();
      // Note [Damage is found wherever it is]: whether a file is damaged must not depend on the part that is asked for, else a
      // run would depend on what its ranks had met before. So the rest is parsed too. (Skipping the last row would end
      // without.)
      skip_to(height - 1);
      while (codec_.output_scanline < height) read_row();
      jpeg_finish_decompress(&codec_);
    });
  }

 private:
  struct Failures {
    jpeg_error_mgr manager;  ///< first, so that libjpeg's pointer to it is one to this
    std::jmp_buf escape;
    std::span<const std::uint8_t> bytes;  ///< of the file
  };

  /// libjpeg knows no exceptions: its errors jump over its frames to here. `calls` holds nothing that needs destruction.
  template <typename Calls>
  [[gnu::noinline]] void attempt(const Calls& calls) {
    if (setjmp(failures_.escape) == 0) {
      calls();
      return;
    }
    std::array<char, JMSG_LENGTH_MAX> message{};
    failures_.manager.format_message(reinterpret_cast<j_common_ptr>(&codec_), message.data());
    throw_damaged("JPEG picture " + name_, message.data());
  }

  [[noreturn]] static void give_up(j_common_ptr codec) { std::longjmp(reinterpret_cast<Failures*>(codec->err)->escape, 1); }

  static void weigh_message(j_common_ptr codec, int level) {
    const bool is_warning = level < 0;
    const std::span<const std::uint8_t> bytes = reinterpret_cast<Failures*>(codec->err)->bytes;
    if (is_warning && !is_harmless(*reinterpret_cast<j_decompress_ptr>(codec), bytes)) give_up(codec);
  }

  static void ignore_message(j_common_ptr, int) {}

  /// A small file of thousands of empty progressive scans would keep a worker busy for hours.
  static void limit_scans(j_common_ptr codec) {
    constexpr int kMaxScans = 500;
    if (reinterpret_cast<j_decompress_ptr>(codec)->input_scan_number <= kMaxScans) return;
    codec->err->msg_code = kTooManyScans;
    give_up(codec);
  }

  std::span<const std::uint8_t> bytes_;
  const std::string& name_;
  jpeg_decompress_struct codec_{};
  jpeg_progress_mgr progress_{};
  Failures failures_{};
};

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

/// An extent of a stored picture's box in the picture reduced from `stored` to `decoded` pixels.
struct Extent {
  std::int64_t begin = 0;
  std::int64_t count = 0;
};
Extent reduced_extent(const Extent& box, std::int64_t stored, std::int64_t decoded) {
  // One pixel because callers may round otherwise, one because the outermost column of a narrowed picture lacks a neighbour for
  // the interpolation of its colours: with both, the box has the bits that it has in the whole picture.
  constexpr std::int64_t kMargin = 2;
  const std::int64_t begin = std::max<std::int64_t>(box.begin * decoded / stored - kMargin, 0);
  const std::int64_t end = std::min(((box.begin + box.count) * decoded + stored - 1) / stored + kMargin, decoded);
  return {begin, end - begin};
}

CropBox box_to_decode(const CropBox& needed, const PictureSize& stored, const PictureSize& decoded) {
  if (needed.width <= 0 || needed.height <= 0) return {0, 0, decoded.width, decoded.height};
  const Extent across = reduced_extent({needed.left, needed.width}, stored.width, decoded.width);
  const Extent down = reduced_extent({needed.top, needed.height}, stored.height, decoded.height);
  return {across.begin, down.begin, across.count, down.count};
}

}  // namespace

PictureSize jpeg_size(std::span<const std::uint8_t> bytes, const std::string& name) {
  Decoder decoder(bytes, name);
  decoder.ignore_warnings();
  return decoder.read_header();
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
  Decoder decoder(bytes, name);
  const PictureSize stored = decoder.read_header();
  check_picture_size(stored, name);

  const DecodeHint hint = choose_hint(stored);
  const PictureSize decoded = decoder.scale(jpeg_denominator(stored, hint));
  picture.width = decoded.width;
  picture.height = decoded.height;
  picture.rgb.resize(static_cast<std::size_t>(decoded.width * decoded.height * 3));
  const auto rgb_at = [&](std::int64_t y, std::int64_t x) { return picture.rgb.data() + (y * decoded.width + x) * 3; };
  const CropBox box = box_to_decode(hint.needed, stored, decoded);
  if (decoder.has_ink()) {
    std::vector<std::uint8_t> cmyk(static_cast<std::size_t>(decoded.width) * 4);
    decoder.read_rows(
        box, [&](std::int64_t, std::int64_t) { return cmyk.data(); },
        [&](std::int64_t y, std::int64_t left, std::size_t count) {
          convert_cmyk(std::span(cmyk).first(count * 4), rgb_at(y, left));
        });
  } else {
    decoder.read_rows(box, rgb_at, [](std::int64_t, std::int64_t, std::size_t) {});
  }
}

std::vector<std::uint8_t> encode_jpeg(const Picture& picture, const JpegEncoding& encoding) {
  const Encoder encoder(tjInitCompress());
  check(encoder != nullptr, "TurboJPEG creates an encoder");
  const TJSAMP subsampling = encoding.halves_chroma ? TJSAMP_420 : TJSAMP_444;
  const int width = static_cast<int>(picture.width), height = static_cast<int>(picture.height);
  std::vector<std::uint8_t> bytes(tjBufSize(width, height, subsampling));
  unsigned char* buffer = bytes.data();
  unsigned long size_bytes = bytes.size();
  const int flags = TJFLAG_NOREALLOC | TJFLAG_ACCURATEDCT | (encoding.is_progressive ? TJFLAG_PROGRESSIVE : 0);
  const int status = tjCompress2(encoder.get(), picture.rgb.data(), width, 0, height, TJPF_RGB, &buffer, &size_bytes,
                                 subsampling, encoding.quality, flags);
  check(status == 0, "a picture of positive extents can be encoded as JPEG");
  bytes.resize(size_bytes);
  return bytes;
}

}  // namespace dtrain
