// Told by the first bytes, as the program file does; see file_kind.hpp.
#include "src/file_kind.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>

namespace dtrain {
namespace {

using namespace std::string_view_literals;

struct Beginning {
  std::string_view bytes;
  std::string_view means;
  std::string_view remedy;
};

// Kinds that begin in one way only.
constexpr std::array kBeginnings{
    Beginning{"\x1f\x8b"sv, "a file compressed by gzip", "gunzip, then the file inside it"},
    Beginning{"\x28\xb5\x2f\xfd"sv, "a file compressed by zstd", "unzstd, then the file inside it"},
    Beginning{"\xfd"
              "7zXZ"sv,
              "a file compressed by xz", "unxz, then the file inside it"},
    Beginning{"BZh"sv, "a file compressed by bzip2", "bunzip2, then the file inside it"},
    Beginning{"\x89HDF\r\n\x1a\n"sv, "an HDF5 file (Keras, MATLAB, Caffe)",
              "weights of a PyTorch network with torchvision's names, as safetensors"},
    Beginning{"\x93NUMPY"sv, "an array of NumPy", "a safetensors file: safetensors.numpy.save_file with torchvision's names"},
    Beginning{"GGUF"sv, "a GGUF file (llama.cpp)", "weights of an image network as safetensors"},
    Beginning{"\x89PNG"sv, "a PNG image", "the weight file"},
    Beginning{"\xff\xd8\xff"sv, "a JPEG image", "the weight file"},
    Beginning{"GIF8"sv, "a GIF image", "the weight file"},
    Beginning{"BM"sv, "a BMP image", "the weight file"},
    Beginning{"%PDF"sv, "a PDF document", "the weight file"},
    Beginning{"\x7f"
              "ELF"sv,
              "a program or library", "the weight file"},
};

constexpr std::string_view kLegacyTorch = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"sv;

bool starts_with_ignoring_case(std::string_view text, std::string_view start) {
  return text.size() >= start.size() && std::equal(start.begin(), start.end(), text.begin(), [](char a, char b) {
           return a == static_cast<char>(std::tolower(static_cast<unsigned char>(b)));
         });
}

std::string_view without_white_space(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) text.remove_prefix(1);
  return text;
}

/// A line that converts what torch.save wrote: a state dict, or a training checkpoint around one.
std::string torch_remedy(const std::filesystem::path& path) {
  std::string name = path.string();
  if (name.find_first_of("'\"\\") != std::string::npos) name = "FILE";
  return "converting it once (pip install safetensors): python3 -c 'import torch, safetensors.torch as s; "
         "w = torch.load(\"" +
         name +
         "\", map_location=\"cpu\"); w = w.get(\"state_dict\", w.get(\"model\", w)); "
         "s.save_file({k: v.contiguous().clone() for k, v in w.items() if torch.is_tensor(v)}, \"" +
         name + ".safetensors\")'";
}

/// Value of a line "key value" of a Git LFS pointer.
std::string pointer_size(std::string_view text) {
  const std::size_t key = text.find("\nsize ");
  if (key == std::string_view::npos) return {};
  std::string_view value = text.substr(key + 6);
  return std::string(value.substr(0, value.find_first_not_of("0123456789")));
}

std::optional<FileKind> recognise_download(std::string_view bytes) {
  if (bytes.starts_with("version https://git-lfs") || bytes.starts_with("version http://git-media")) {
    const std::string size = pointer_size(bytes);
    return FileKind{.found = "a pointer of Git LFS" + (size.empty() ? "" : " to a file of " + size + " bytes"),
                    .remedy = "git lfs install && git lfs pull in the repository that it came from"};
  }
  const std::string_view text = without_white_space(bytes);
  for (const std::string_view start : {"<!doctype html", "<html", "<head", "<!--", "<script"}) {
    if (!starts_with_ignoring_case(text, start)) continue;
    return FileKind{.found = "an HTML page, so not what was to be downloaded",
                    .remedy =
                        "the address of the file itself (at Hugging Face with /resolve/ in place of /blob/), and logging in "
                        "where the site asks for it"};
  }
  if (text.starts_with("<?xml") || text.starts_with("<Error")) {
    return FileKind{.found = "an XML text, such as a server's error message", .remedy = "downloading the file again"};
  }
  return std::nullopt;
}

/// Name of the first entry of a zip archive.
std::string_view first_entry(std::string_view bytes) {
  constexpr std::size_t kNameLengthAt = 26, kNameAt = 30;
  if (bytes.size() < kNameAt) return {};
  const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(bytes[i])); };
  return bytes.substr(kNameAt, byte(kNameLengthAt) + 256 * byte(kNameLengthAt + 1));
}

FileKind recognise_zip(const std::filesystem::path& path, std::string_view bytes) {
  const std::string_view entry = first_entry(bytes);
  const auto holds = [&](std::string_view part) { return bytes.find(part) != std::string_view::npos; };
  if (entry.ends_with(".npy")) {
    return {.found = "arrays of NumPy (.npz)",
            .remedy = "a safetensors file: safetensors.numpy.save_file with torchvision's names"};
  }
  if (holds("model.weights.h5")) {
    return {.found = "a Keras model", .remedy = "weights of a PyTorch network with torchvision's names, as safetensors"};
  }
  const std::size_t slash = entry.find('/');
  const std::string_view inside = slash == std::string_view::npos ? entry : entry.substr(slash + 1);
  if (inside == "data.pkl" || inside == "version" || inside == "byteorder" || inside == "constants.pkl" ||
      inside.starts_with("data/") || inside.starts_with("code/") || inside.starts_with(".data/") || holds("/data.pkl")) {
    return {.found = "a file of torch.save (zip with a pickle)", .remedy = torch_remedy(path)};
  }
  return {.found = "a zip archive", .remedy = "unpacking it, then the file inside it"};
}

std::optional<FileKind> recognise_magic(const std::filesystem::path& path, std::string_view bytes) {
  constexpr std::size_t kTarMagicAt = 257;
  if (bytes.starts_with("PK\3\4")) return recognise_zip(path, bytes);
  if (bytes.starts_with(kLegacyTorch)) {
    return FileKind{.found = "a file of torch.save in its format before 1.6", .remedy = torch_remedy(path)};
  }
  if (bytes.starts_with("PYTORCH1")) return FileKind{.found = "a file of PyTorch 1.0", .remedy = torch_remedy(path)};
  if (bytes.size() > kTarMagicAt && bytes.substr(kTarMagicAt).starts_with("ustar")) {
    return FileKind{.found = "a tar archive", .remedy = "tar -xf, then the file inside it"};
  }
  if (bytes.size() > 12 && bytes.starts_with("RIFF") && bytes.substr(8).starts_with("WEBP")) {
    return FileKind{.found = "a WebP image", .remedy = "the weight file"};
  }
  if (bytes.size() > 8 && bytes.substr(4).starts_with("TFL3")) {
    return FileKind{.found = "a TensorFlow Lite model", .remedy = "weights of a PyTorch network as safetensors"};
  }
  for (const Beginning& kind : kBeginnings) {
    if (bytes.starts_with(kind.bytes)) return FileKind{.found = std::string(kind.means), .remedy = std::string(kind.remedy)};
  }
  // Pickle's opcode PROTO with a protocol from 2 to 5, which every pickle since Python 2.3 begins with.
  if (bytes.size() > 2 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5) {
    return FileKind{.found = "a pickle of Python", .remedy = torch_remedy(path)};
  }
  return std::nullopt;
}

/// ONNX is a protobuf message without a magic number: field 1 (ir_version, small), then another field of ModelProto.
bool is_onnx(std::string_view bytes) {
  constexpr std::string_view kNextFields = "\x12\x1a\x22\x28\x32\x3a\x42";
  return bytes.size() > 3 && bytes[0] == '\x08' && bytes[1] > 0 && bytes[1] < 32 &&
         kNextFields.find(bytes[2]) != std::string_view::npos;
}

std::optional<FileKind> recognise_by_extension(const std::filesystem::path& path, std::string_view bytes) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return std::tolower(c); });
  if (extension == ".caffemodel") {
    return FileKind{.found = "weights of Caffe",
                    .remedy = "weights of a PyTorch network with torchvision's names, as safetensors"};
  }
  if (extension == ".onnx" || is_onnx(bytes)) {
    return FileKind{.found = "an ONNX model", .remedy = "the PyTorch weights that it was exported from, as safetensors"};
  }
  if (extension == ".pb" || extension == ".ckpt" || extension == ".index" || extension.starts_with(".data-")) {
    return FileKind{.found = "another format, by its name TensorFlow's or an older PyTorch's",
                    .remedy = "weights of a PyTorch network with torchvision's names, as safetensors"};
  }
  return std::nullopt;
}

std::optional<FileKind> recognise_text(std::string_view bytes) {
  const std::string_view text = without_white_space(bytes);
  if (text.starts_with('{') && text.find("\"weight_map\"") != std::string_view::npos) {
    return FileKind{.found = "an index of weights that lie in several files",
                    .remedy = "joining the files that it lists into one: safetensors.torch.load_file each, then save_file all"};
  }
  const bool is_text = !text.empty() && std::all_of(text.begin(), text.end(), [](char letter) {
    const auto byte = static_cast<unsigned char>(letter);
    return byte >= 0x20 || byte == '\n' || byte == '\r' || byte == '\t';
  });
  if (!is_text) return std::nullopt;
  if (text.starts_with('{') || text.starts_with('[')) {
    return FileKind{.found = "a JSON text", .remedy = "the weight file, which usually lies next to it"};
  }
  constexpr std::size_t kQuoted = 40;
  const std::string_view line = text.substr(0, std::min(text.find_first_of("\r\n"), kQuoted));
  return FileKind{.found = "a text that begins \"" + std::string(line) + "\"", .remedy = "the weight file"};
}

/// A length and the opening of a header, of which the rest is not there.
std::optional<FileKind> recognise_cut_header(std::string_view bytes, std::uint64_t size_bytes) {
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length + 1 || bytes[sizeof length] != '{') return std::nullopt;
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > 100'000'000) return std::nullopt;
  return FileKind{.found = "a safetensors file that was cut short: " + std::to_string(size_bytes) +
                           " bytes, though its header alone takes " + std::to_string(sizeof length + length),
                  .remedy = "copying or downloading it again"};
}

std::string hexadecimal(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes.substr(0, 8)) {
    std::array<char, 4> digits{};
    std::snprintf(digits.data(), digits.size(), "%02x", static_cast<unsigned>(static_cast<unsigned char>(byte)));
    text += (text.empty() ? "" : " ") + std::string(digits.data());
  }
  return text;
}

}  // namespace

FileKind recognise_file(const std::filesystem::path& path, std::span<const std::byte> beginning, std::uint64_t size_bytes) {
  const std::string_view bytes(reinterpret_cast<const char*>(beginning.data()), beginning.size());
  if (size_bytes == 0) return {.found = "an empty file", .remedy = "copying or downloading it again"};
  if (const auto kind = recognise_cut_header(bytes, size_bytes)) return *kind;
  if (const auto kind = recognise_download(bytes)) return *kind;
  if (const auto kind = recognise_magic(path, bytes)) return *kind;
  if (const auto kind = recognise_text(bytes)) return *kind;
  if (const auto kind = recognise_by_extension(path, bytes)) return *kind;
  if (std::all_of(bytes.begin(), bytes.end(), [](char byte) { return byte == 0; })) {
    return {.found = "zeros, as a copy leaves them that was interrupted", .remedy = "copying or downloading it again"};
  }
  return {.found = std::to_string(size_bytes) + " bytes of another kind, which begin " + hexadecimal(bytes),
          .remedy = "weights of a PyTorch network with torchvision's names, as safetensors"};
}

}  // namespace dtrain
