// Which dtrain this is.
#pragma once

#include <string>

namespace dtrain {

/// "0.1.0+8a9596c6f2d1": the release and the git commit it was built from; where sources differed from that commit, ".dirty."
/// and a digest of the difference. Without git: the release alone.
std::string version_text();

}  // namespace dtrain
