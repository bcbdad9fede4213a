// Reads safetensors files, by whichever program they were written, and refuses whatever is inconsistent in them.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "src/file_kind.hpp"
#include "src/input_file.hpp"
#include "src/stored_types.hpp"
#include "src/tensor_format.hpp"

namespace dtrain {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr int kMostLevels = 3;            ///< of a header: tensors, their facts, shapes
constexpr std::size_t kMostExtents = 64;  ///< as NumPy and PyTorch have
constexpr std::size_t kMostQuoted = 200;

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& where, const std::string& expected,
                         const std::string& found) {
  throw DataError(Fault{.doing = "reading " + where + " of " + path.string(),
                        .expected = expected,
                        .found = found,
                        .remedy = "an undamaged copy of the file"});
}

/// A tensor as the header describes it.
struct TensorEntry {
  std::string name;
  std::string stored_type;
  Shape shape;
  std::uint64_t begin = 0;  ///< bytes, from the start of the data
  std::uint64_t end = 0;
};

[[noreturn]] void refuse_kind(const std::filesystem::path& path, const InputFile& file) {
  std::vector<std::byte> beginning(std::min<std::uint64_t>(kKindBytes, file.size_bytes()));
  file.read(0, beginning);
  const FileKind kind = recognise_file(path, beginning, file.size_bytes());
  throw DataError(Fault{.doing = "reading " + path.string(),
                        .expected = "a safetensors file (a length, then a header of JSON)",
                        .found = kind.found,
                        .remedy = kind.remedy});
}

std::string read_header(const std::filesystem::path& path, const InputFile& file) {
  const std::uint64_t size_bytes = file.size_bytes();
  if (size_bytes < kLengthBytes) refuse_kind(path, file);
  std::uint64_t length = 0;
  file.read(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > std::min(kMaxHeaderBytes, size_bytes - kLengthBytes)) refuse_kind(path, file);
  std::string header(length, '\0');
  file.read(kLengthBytes, std::as_writable_bytes(std::span(header)));
  if (!header.starts_with('{')) refuse_kind(path, file);
  return header;
}

/// As much of a file's text as a message takes.
std::string beginning_of(std::string_view text) {
  return std::string(text.substr(0, kMostQuoted)) + (text.size() > kMostQuoted ? "…" : "");
}

std::string in_quotes(std::string_view text) { return "\"" + beginning_of(text) + "\""; }

/// A number as it stands there, or what there is in place of one. Arrays and objects may be deep, and large.
std::string found_text(const Json& json) {
  if (json.is_number()) return json.dump();
  return std::string(json.is_array() || json.is_object() ? "an " : "a ") + json.type_name();
}

/// Messages would end at a character of zero, and so would names in other programs.
void require_no_zero(const std::filesystem::path& path, const std::string& text) {
  const std::size_t at = text.find('\0');
  if (at == std::string::npos) return;
  refuse(path, "the header", "texts without the character of code 0", "one after " + in_quotes(text.substr(0, at)));
}

/// Parses the header and refuses keys that occur twice in one object, of which a JSON reader would silently take the last.
/// Every check is made while it is read: nothing that is deeper than a header is ever held.
Json parse_header(const std::filesystem::path& path, const std::string& header) {
  std::vector<std::set<std::string>> keys;
  std::optional<std::string> doubled;
  const auto on_event = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth >= kMostLevels && (event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start)) {
      refuse(path, "the header", "at most " + std::to_string(kMostLevels) + " levels of objects and arrays", "more");
    }
    if (value.is_string()) require_no_zero(path, value.get_ref<const std::string&>());
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second) {
      doubled = value.get<std::string>();
    }
    return true;
  };
  try {
    Json json = Json::parse(header, on_event);
    if (doubled) refuse(path, "the header", "names that occur once", in_quotes(*doubled) + " twice");
    return json;
  } catch (const Json::exception& error) {
    refuse(path, "the header", "JSON", beginning_of(error.what()));
  }
}

std::map<std::string, std::string> read_metadata(const std::filesystem::path& path, const Json& json) {
  const std::string where = "the metadata";
  if (!json.is_object()) refuse(path, where, "a JSON object", found_text(json));
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) refuse(path, where, "a text under " + in_quotes(key), found_text(value));
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

std::uint64_t read_unsigned(const std::filesystem::path& path, const std::string& where, const Json& json) {
  constexpr std::uint64_t kLargest = std::uint64_t{1} << 62;
  if (!json.is_number_unsigned() || json.get<std::uint64_t>() > kLargest) {
    refuse(path, where, "a whole number from 0", found_text(json));
  }
  return json.get<std::uint64_t>();
}

TensorEntry read_entry(const std::filesystem::path& path, const std::string& name, const Json& json) {
  const std::string where = "tensor " + beginning_of(name);
  if (!json.is_object() || json.size() != 3 || !json.contains("dtype") || !json.contains("shape") ||
      !json.contains("data_offsets") || !json["dtype"].is_string() || !json["shape"].is_array() ||
      !json["data_offsets"].is_array() || json["data_offsets"].size() != 2) {
    refuse(path, where, "dtype, shape and data_offsets [begin, end]", "something else");
  }
  TensorEntry entry{.name = name, .stored_type = json["dtype"].get<std::string>(), .shape = {}};
  // Elements of 4 or 6 bits are packed; a tensor takes whole bytes.
  const std::optional<std::uint64_t> bits = stored_bits(entry.stored_type);
  std::uint64_t size_bits = bits.value_or(0);
  bool overflows = false;
  if (json["shape"].size() > kMostExtents) {
    refuse(path, where, "a shape of at most " + std::to_string(kMostExtents) + " extents",
           std::to_string(json["shape"].size()));
  }
  for (const Json& extent : json["shape"]) {
    const std::uint64_t value = read_unsigned(path, where, extent);
    entry.shape.push_back(static_cast<std::int64_t>(value));
    overflows |= __builtin_mul_overflow(size_bits, value, &size_bits);
  }
  entry.begin = read_unsigned(path, where, json["data_offsets"][0]);
  entry.end = read_unsigned(path, where, json["data_offsets"][1]);
  const bool is_range = entry.begin <= entry.end;
  const bool fits = !bits || (size_bits % 8 == 0 && entry.end - entry.begin == size_bits / 8);
  if (overflows || !is_range || !fits) {
    refuse(path, where,
           overflows ? "a shape that fits into memory"
           : bits    ? "a range of " + std::to_string(size_bits / 8) + " bytes"
                     : "a range that does not end before it begins",
           "shape " + to_text(entry.shape) + " of " + beginning_of(entry.stored_type) + " at [" + std::to_string(entry.begin) +
               ", " + std::to_string(entry.end) + ")");
  }
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
      refuse(path, "tensor " + beginning_of(entry.name),
             "data that begins at " + std::to_string(end) + ", where the tensor before it ends",
             "offset " + std::to_string(entry.begin));
    }
    if (entry.end > data_bytes) {
      refuse(path, "tensor " + beginning_of(entry.name), "data up to offset " + std::to_string(entry.end),
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
    const bool has_both = checksum != metadata.end() && version != metadata.end();
    refuse(path, "the checksum", "metadata dtrain.version and dtrain.checksum, as dtrain writes them",
           has_both ? "them as another program has written them anew: what they vouched for cannot be verified"
                    : "only one of them, or neither");
  }
  const std::size_t digits = opening + kChecksumOpening.size();
  const std::string stated = header.substr(digits, kChecksumDigits);
  if (stated != checksum->second) refuse(path, "the checksum", "16 hexadecimal digits", in_quotes(checksum->second));
  header.replace(digits, kChecksumDigits, kChecksumDigits, '0');
  metadata.erase(checksum);
  return stated;
}

/// Reads one tensor's data, whose hash is chained to `hash`.
FileTensor read_tensor(const InputFile& file, std::uint64_t data_begin, const TensorEntry& entry, std::uint64_t& hash) {
  FileTensor tensor{.name = entry.name,
                    .shape = entry.shape,
                    .type = element_type_of(entry.stored_type),
                    .f32 = {},
                    .i64 = {},
                    .stored_type = entry.stored_type};
  const std::uint64_t size_bytes = entry.end - entry.begin;
  const auto read_into = [&](std::span<std::byte> bytes) {
    file.read(data_begin + entry.begin, bytes);
    hash = hash_bytes(bytes, hash);
  };
  if (entry.stored_type == "F32") {  // the usual case, without a copy
    tensor.f32.resize(size_bytes / sizeof(float));
    read_into(std::as_writable_bytes(std::span(tensor.f32)));
    return tensor;
  }
  std::vector<std::byte> bytes(size_bytes);
  read_into(bytes);
  take_elements(bytes, tensor);
  return tensor;
}

/// What stands before the data.
struct Header {
  TensorFile contents;                         ///< metadata alone
  std::string text;                            ///< checksum digits as zeros
  std::vector<TensorEntry> entries;            ///< in the order of the header
  std::vector<std::size_t> order;              ///< of their data
  std::optional<std::string> stated_checksum;  ///< none: another program's file
};

Header open_header(const std::filesystem::path& path, const InputFile& file) {
  Header header;
  header.text = read_header(path, file);
  const Json json = parse_header(path, header.text);
  for (const auto& [name, value] : json.items()) {
    if (name == kMetadataKey) {
      header.contents.metadata = read_metadata(path, value);
    } else {
      header.entries.push_back(read_entry(path, name, value));
    }
  }
  header.order = order_by_range(path, header.entries, file.size_bytes() - kLengthBytes - header.text.size());
  header.stated_checksum = take_checksum(path, header.contents.metadata, header.text);
  return header;
}

}  // namespace

const FileTensor* TensorFile::find(std::string_view name) const {
  const auto tensor = std::find_if(tensors.begin(), tensors.end(), [&](const FileTensor& t) { return t.name == name; });
  return tensor == tensors.end() ? nullptr : &*tensor;
}

TensorFile read_tensor_header(const std::filesystem::path& path) {
  Header header = open_header(path, InputFile(path));
  for (const TensorEntry& entry : header.entries) {
    header.contents.tensors.push_back({.name = entry.name,
                                       .shape = entry.shape,
                                       .type = element_type_of(entry.stored_type),
                                       .f32 = {},
                                       .i64 = {},
                                       .stored_type = entry.stored_type});
  }
  return std::move(header.contents);
}

TensorFile read_tensor_file(const std::filesystem::path& path) {
  const InputFile file(path);
  Header header = open_header(path, file);
  TensorFile& contents = header.contents;
  const std::uint64_t data_begin = kLengthBytes + header.text.size();
  std::uint64_t hash = hash_header(header.text);
  contents.tensors.resize(header.entries.size());
  for (const std::size_t i : header.order) contents.tensors[i] = read_tensor(file, data_begin, header.entries[i], hash);
  const std::optional<std::string>& stated = header.stated_checksum;
  if (stated && *stated != checksum_text(hash)) refuse(path, "the checksum", *stated, checksum_text(hash));
  if (stated && contents.metadata.at(std::string(kVersionKey)) != kVersion) {
    refuse(path, "the format", "dtrain.version " + std::string(kVersion),
           in_quotes(contents.metadata.at(std::string(kVersionKey))));
  }
  return std::move(contents);
}

}  // namespace dtrain
