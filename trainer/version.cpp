// Compiled alone, so that a new commit compiles this line and nothing more; the text comes from write_version.cmake.
#include "trainer/version.hpp"

namespace dtrain {

std::string version_text() {
  return
#include "version_text.inc"
      ;
}

}  // namespace dtrain
