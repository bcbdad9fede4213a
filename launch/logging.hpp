// Where log lines go: rank 0 speaks for the run, the others only when something is wrong.
#pragma once

#include <filesystem>
#include <string>

namespace dtrain {

struct LogSetup {
  int rank = 0;
  std::string host;
  std::filesystem::path file;  ///< appended to, on rank 0; empty: none. Its directory is made.
};

/// Makes spdlog's default logger: rank 0 writes all lines to stderr and to the file; other ranks write warnings and errors to
/// stderr, each with "[rank r on host]". May be called again when more is known.
/// Errors: DataError: the file cannot be written.
void start_logging(const LogSetup& setup);

}  // namespace dtrain
