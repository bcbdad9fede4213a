// The streams that whoever started the program left to it: some may be closed, full, or read by nobody any more. None of that
// may end a run, and no file may take the place of one of them.
#pragma once

#include <optional>
#include <string>

namespace dtrain {

/// To be called before any file is opened: closed ones among descriptors 0, 1 and 2 become /dev/null, since the next file
/// would get their number and whatever is printed. Writing to a pipe without a reader, or beyond the limit of a file's size,
/// becomes an error of that call instead of a signal that ends the process.
void prepare_standard_streams();

/// What has kept results from being printed, "No space left on device"; none where all were, or where nobody reads any more (a
/// pipe whose reader has gone, a terminal that was closed). To be called once, at the end.
std::optional<std::string> printing_fault();

}  // namespace dtrain
