// The version of `dtrain_other_version`, which is dtrain in everything else.
#include "trainer/version.hpp"

namespace dtrain {

std::string version_text() { return "0.0.9+0123456789ab"; }

}  // namespace dtrain
