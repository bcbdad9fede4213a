// Writing a file of text; see text_file.hpp.
#include "trainer/text_file.hpp"

#include <fstream>

#include "dtrain/error.hpp"

namespace dtrain {

void write_text_file(const std::filesystem::path& path, const std::string& option, const std::string& text) {
  if (path.empty()) return;
  std::ofstream file(path);
  file << text;
  file.flush();
  if (file) return;
  throw DataError(Fault{.doing = "writing " + path.string() + " (" + option + ")",
                        .expected = "a file that can be written",
                        .found = "an error of the file system",
                        .remedy = "another " + option});
}

}  // namespace dtrain
