// Reads safetensors files, by whichever program they were written, and refuses whatever is inconsistent in them.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <system_error>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "src/tensor_format.hpp"

namespace dtrain {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& where, const std::string& expected,
                         const std::string& found) {
  throw DataError(Fault{.doing = "reading " + where + " of " + path.string(),
                        .expected = expected,
                        .found = found,
                        .remedy = "an undamaged copy of the file"});
}

/// A file open for reading.
class InputFile {
 public:
  explicit InputFile(const std::filesystem::path& path) : InputFile(path, open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) fail("opening", errno);
    struct stat status {};
    if (fstat(descriptor_, &status) != 0) fail("looking at", errno);
    if (!S_ISREG(status.st_mode)) refuse(path, "the contents", "a regular file", "a directory or device");
    size_bytes_ = static_cast<std::uint64_t>(status.st_size);
  }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }

  std::uint64_t size_bytes() const { return size_bytes_; }

  void read(std::uint64_t offset, std::span<std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t count = pread(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail("reading", errno);
      if (count == 0) refuse(path_, "the data", std::to_string(size_bytes_) + " bytes", "an end at " + std::to_string(offset));
      offset += static_cast<std::uint64_t>(count);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }

 private:
  /// The other constructor delegates to this one, so that what it throws finds the descriptor closed.
  InputFile(const std::filesystem::path& path, int descriptor) : path_(path), descriptor_(descriptor) {}

  [[noreturn]] void fail(const char* doing, int error_number) const {
    throw DataError(Fault{.doing = std::string(doing) + " " + path_.string(),
                          .expected = "",
                          .found = std::generic_category().message(error_number),
                          .remedy = "another path"});
  }

  std::filesystem::path path_;
  int descriptor_;
  std::uint64_t size_bytes_ = 0;
};

enum class Dtype { f64, f32, f16, bf16, i64, i32, u8 };

struct DtypeName {
  std::string_view name;
  Dtype dtype;
  std::uint64_t bytes;
};
constexpr std::array<DtypeName, 7> kDtypes{{{"F64", Dtype::f64, 8},
                                            {"F32", Dtype::f32, 4},
                                            {"F16", Dtype::f16, 2},
                                            {"BF16", Dtype::bf16, 2},
                                            {"I64", Dtype::i64, 8},
                                            {"I32", Dtype::i32, 4},
                                            {"U8", Dtype::u8, 1}}};

/// A tensor as the header describes it.
struct TensorEntry {
  std::string name;
  DtypeName dtype;
  Shape shape;
  std::uint64_t elements = 1;
  std::uint64_t begin = 0;  ///< bytes, from the start of the data
  std::uint64_t end = 0;
};

std::string read_header(const std::filesystem::path& path, const InputFile& file) {
  const std::uint64_t size_bytes = file.size_bytes();
  if (size_bytes < kLengthBytes) refuse(path, "the header", "at least 8 bytes", std::to_string(size_bytes) + " bytes");
  std::uint64_t length = 0;
  file.read(0, std::as_writable_bytes(std::span(&length, 1)));
  const std::uint64_t longest = std::min(kMaxHeaderBytes, size_bytes - kLengthBytes);
  if (length > longest) {
    refuse(path, "the header", "a safetensors header of at most " + std::to_string(longest) + " bytes",
           "a length of " + std::to_string(length));
  }
  std::string header(length, '\0');
  file.read(kLengthBytes, std::as_writable_bytes(std::span(header)));
  if (!header.starts_with('{')) refuse(path, "the header", "JSON that begins with {", "something else");
  return header;
}

/// Parses the header and refuses keys that occur twice in one object, of which a JSON reader would silently take the last.
Json parse_header(const std::filesystem::path& path, const std::string& header) {
  std::vector<std::set<std::string>> keys;
  std::optional<std::string> doubled;
  const auto on_event = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second) {
      doubled = value.get<std::string>();
    }
    return true;
  };
  try {
    Json json = Json::parse(header, on_event);
    if (doubled) refuse(path, "the header", "names that occur once", "\"" + *doubled + "\" twice");
    return json;
  } catch (const Json::exception& error) {
    refuse(path, "the header", "JSON", error.what());
  }
}

std::map<std::string, std::string> read_metadata(const std::filesystem::path& path, const Json& json) {
  const std::string where = "the metadata";
  if (!json.is_object()) refuse(path, where, "a JSON object", json.type_name());
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) refuse(path, where, "a text under \"" + key + "\"", value.type_name());
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

std::uint64_t read_unsigned(const std::filesystem::path& path, const std::string& where, const Json& json) {
  constexpr std::uint64_t kLargest = std::uint64_t{1} << 62;
  if (!json.is_number_unsigned() || json.get<std::uint64_t>() > kLargest) {
    refuse(path, where, "a whole number from 0", json.dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  return json.get<std::uint64_t>();
}

TensorEntry read_entry(const std::filesystem::path& path, const std::string& name, const Json& json) {
  const std::string where = "tensor " + name;
  if (!json.is_object() || json.size() != 3 || !json.contains("dtype") || !json.contains("shape") ||
      !json.contains("data_offsets") || !json["dtype"].is_string() || !json["shape"].is_array() ||
      !json["data_offsets"].is_array() || json["data_offsets"].size() != 2) {
    refuse(path, where, "dtype, shape and data_offsets [begin, end]", "something else");
  }
  const auto dtype_name = json["dtype"].get<std::string>();
  const auto dtype = std::find_if(kDtypes.begin(), kDtypes.end(), [&](const DtypeName& d) { return d.name == dtype_name; });
  if (dtype == kDtypes.end()) refuse(path, where, "dtype F32, F16, BF16, F64, I64, I32 or U8", dtype_name);

  TensorEntry entry{.name = name, .dtype = *dtype, .shape = {}};
  std::uint64_t size_bytes = dtype->bytes;
  bool overflows = false;
  for (const Json& extent : json["shape"]) {
    const std::uint64_t value = read_unsigned(path, where, extent);
    entry.shape.push_back(static_cast<std::int64_t>(value));
    overflows |= __builtin_mul_overflow(size_bytes, value, &size_bytes);
  }
  entry.begin = read_unsigned(path, where, json["data_offsets"][0]);
  entry.end = read_unsigned(path, where, json["data_offsets"][1]);
  if (overflows || entry.begin > entry.end || entry.end - entry.begin != size_bytes) {
    refuse(path, where, overflows ? "a shape that fits into memory" : "a range of " + std::to_string(size_bytes) + " bytes",
           "shape " + to_text(entry.shape) + " at [" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + ")");
  }
  entry.elements = size_bytes / dtype->bytes;
  return entry;
}

/// Positions of the entries in the order of their data. Refuses ranges that overlap, leave holes or leave the file.
std::vector<std::size_t> order_by_range(const std::filesystem::path& path, const std::vector<TensorEntry>& entries,
                                        std::uint64_t data_bytes) {
  std::vector<std::size_t> order(entries.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(entries[a].begin, entries[a].end) < std::pair(entries[b].begin, entries[b].end);
  });
  std::uint64_t end = 0;
  for (const std::size_t i : order) {
    const TensorEntry& entry = entries[i];
    if (entry.begin != end) {
      refuse(path, "tensor " + entry.name, "data that begins at " + std::to_string(end) + ", where the tensor before it ends",
             "offset " + std::to_string(entry.begin));
    }
    if (entry.end > data_bytes) {
      refuse(path, "tensor " + entry.name, "data up to offset " + std::to_string(entry.end),
             "a file that ends at " + std::to_string(data_bytes));
    }
    end = entry.end;
  }
  if (end != data_bytes) {
    refuse(path, "the data", std::to_string(end) + " bytes", std::to_string(data_bytes) + " bytes");
  }
  return order;
}

/// Checksum over the header as a file of dtrain's must state it; nullopt for files of other programs. Takes it out of the
/// metadata.
std::optional<std::string> take_checksum(const std::filesystem::path& path, std::map<std::string, std::string>& metadata,
                                         std::string& header) {
  const auto first_own = metadata.lower_bound(std::string(kOwnPrefix));
  if (first_own == metadata.end() || !first_own->first.starts_with(kOwnPrefix)) return std::nullopt;

  const auto checksum = metadata.find(std::string(kChecksumKey));
  const auto version = metadata.find(std::string(kVersionKey));
  const std::size_t opening = header.find(kChecksumOpening);
  if (checksum == metadata.end() || version == metadata.end() || opening == std::string::npos) {
    refuse(path, "the checksum", "metadata dtrain.version and dtrain.checksum", "only one of them, or neither");
  }
  const std::size_t digits = opening + kChecksumOpening.size();
  const std::string stated = header.substr(digits, kChecksumDigits);
  if (stated != checksum->second) refuse(path, "the checksum", "16 hexadecimal digits", checksum->second);
  header.replace(digits, kChecksumDigits, kChecksumDigits, '0');
  metadata.erase(checksum);
  return stated;
}

/// Source: IEEE 754 binary16. Subnormals are (mantissa / 2^10)·2^-14.
float widen_f16(std::uint16_t half) {
  const auto sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fu;
  const std::uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1.0p-24f;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  const std::uint32_t wide_exponent = exponent == 0x1fu ? 0xffu : exponent + (127 - 15);
  return std::bit_cast<float>(sign | (wide_exponent << 23) | (mantissa << 13));
}

float widen_bf16(std::uint16_t value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16); }

template <typename Stored, typename Element, typename Convert>
void convert(std::span<const std::byte> bytes, std::vector<Element>& elements, const Convert& convert_one) {
  elements.resize(bytes.size() / sizeof(Stored));
  for (std::size_t i = 0; i < elements.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    elements[i] = convert_one(stored);
  }
}

/// Reads one tensor's data, whose hash is chained to `hash`.
FileTensor read_tensor(const InputFile& file, std::uint64_t data_begin, const TensorEntry& entry, std::uint64_t& hash) {
  FileTensor tensor{.name = entry.name, .shape = entry.shape, .type = ElementType::f32, .f32 = {}, .i64 = {}};
  const auto read_into = [&](std::span<std::byte> bytes) {
    file.read(data_begin + entry.begin, bytes);
    hash = hash_bytes(bytes, hash);
  };
  const Dtype dtype = entry.dtype.dtype;
  const bool is_integer = dtype == Dtype::i64 || dtype == Dtype::i32 || dtype == Dtype::u8;
  tensor.type = is_integer ? ElementType::i64 : ElementType::f32;
  if (dtype == Dtype::f32) {
    tensor.f32.resize(entry.elements);
    read_into(std::as_writable_bytes(std::span(tensor.f32)));
    return tensor;
  }
  if (dtype == Dtype::i64) {
    tensor.i64.resize(entry.elements);
    read_into(std::as_writable_bytes(std::span(tensor.i64)));
    return tensor;
  }
  std::vector<std::byte> bytes(entry.end - entry.begin);
  read_into(bytes);
  const auto to_i64 = [](auto value) { return static_cast<std::int64_t>(value); };
  if (dtype == Dtype::f16) convert<std::uint16_t>(bytes, tensor.f32, widen_f16);
  if (dtype == Dtype::bf16) convert<std::uint16_t>(bytes, tensor.f32, widen_bf16);
  if (dtype == Dtype::f64) convert<double>(bytes, tensor.f32, [](double value) { return static_cast<float>(value); });
  if (dtype == Dtype::i32) convert<std::int32_t>(bytes, tensor.i64, to_i64);
  if (dtype == Dtype::u8) convert<std::uint8_t>(bytes, tensor.i64, to_i64);
  return tensor;
}

}  // namespace

const FileTensor* TensorFile::find(std::string_view name) const {
  const auto tensor = std::find_if(tensors.begin(), tensors.end(), [&](const FileTensor& t) { return t.name == name; });
  return tensor == tensors.end() ? nullptr : &*tensor;
}

TensorFile read_tensor_file(const std::filesystem::path& path) {
  const InputFile file(path);
  std::string header = read_header(path, file);
  const std::uint64_t data_begin = kLengthBytes + header.size();

  TensorFile contents;
  std::vector<TensorEntry> entries;
  const Json header_json = parse_header(path, header);
  for (const auto& [name, value] : header_json.items()) {
    if (name == kMetadataKey) {
      contents.metadata = read_metadata(path, value);
    } else {
      entries.push_back(read_entry(path, name, value));
    }
  }
  const std::vector<std::size_t> order = order_by_range(path, entries, file.size_bytes() - data_begin);
  const std::optional<std::string> stated = take_checksum(path, contents.metadata, header);

  std::uint64_t hash = hash_header(header);
  contents.tensors.resize(entries.size());
  for (const std::size_t i : order) contents.tensors[i] = read_tensor(file, data_begin, entries[i], hash);
  if (stated && *stated != checksum_text(hash)) refuse(path, "the checksum", *stated, checksum_text(hash));
  if (stated && contents.metadata.at(std::string(kVersionKey)) != kVersion) {
    refuse(path, "the format", "dtrain.version " + std::string(kVersion), contents.metadata.at(std::string(kVersionKey)));
  }
  return contents;
}

}  // namespace dtrain
