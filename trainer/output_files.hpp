// The files that a command is to write, looked at before it works for them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace dtrain {

/// A file and the option that named it: "--report".
struct NamedFile {
  std::string option;
  std::filesystem::path path;  ///< empty: not given
  bool is_replaced = false;    ///< written beside itself and renamed: a regular file, in a directory that can be written
  /// A text that every file of this kind has near its beginning. A file that is there and does not have it is somebody's, and
  /// stays; a file without content is nobody's. Empty: whatever is there gives way.
  std::string_view mark{};
  bool is_no_link = false;      ///< a link under this name is refused: it was not the user who named the file
  bool is_new = false;          ///< gives way to nothing that has content
  std::filesystem::path run{};  ///< the directory of the command's own run, whose records it writes; empty: none
};

/// Of what the commands write, so that a repeated command takes the place of its own output alone.
namespace output_mark {
inline constexpr std::string_view report = "{\n  \"model\": ";
inline constexpr std::string_view profile = "{\n \"model\": ";
inline constexpr std::string_view metrics = "{\"step\":";
inline constexpr std::string_view logits = "\"dtrain.left_out\"";
inline constexpr std::string_view confusion = "true/predicted,";
inline constexpr std::string_view bench_json = "{\n  \"machine\": {";
inline constexpr std::string_view bench_csv = "model,precision,batch,ranks,images_per_s";
inline constexpr std::string_view drawing = "<rect width=\"100%\" height=\"100%\" class=\"page\"/>";
inline constexpr std::string_view epochs_csv = "epoch,step,stage,samples,train_loss";
}  // namespace output_mark

/// Finds out whether all outputs can be written, and that none is an input, another output or a file of somebody. Leaves
/// nothing behind and changes nothing. Errors: ConfigError: one file for two purposes; DataError: cannot be written, or is to
/// stay.
void require_sound_outputs(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs);

}  // namespace dtrain
