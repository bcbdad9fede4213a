// Finds files around the MPI library; see mpi_library.hpp.
#include "collectives/mpi_library.hpp"

#include <dlfcn.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <string_view>

namespace dtrain {

namespace {

namespace fs = std::filesystem;

/// The first clause, with single spaces: the rest names builders and dates. "MPICH Version:\t4.0.2\nMPICH Release date: …" →
/// "MPICH Version: 4.0.2".
std::string first_clause(std::string_view text) {
  std::string clause;
  for (const char letter : text.substr(0, text.find_first_of(",\n"))) {
    const bool is_space = std::isspace(static_cast<unsigned char>(letter)) != 0;
    if (is_space && (clause.empty() || clause.back() == ' ')) continue;
    clause += is_space ? ' ' : letter;
  }
  while (clause.ends_with(' ')) clause.pop_back();
  return clause;
}

std::string library_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  return first_clause({text.data(), static_cast<std::size_t>(length)});
}

/// Of the function itself: its address in this program may be that of a jump to it.
std::string library_file() {
  Dl_info place{};
  void* const function = dlsym(RTLD_DEFAULT, "MPI_Get_library_version");
  if (function == nullptr || dladdr(function, &place) == 0 || place.dli_fname == nullptr) return {};
  std::error_code fault;
  const fs::path file = fs::canonical(place.dli_fname, fault);
  if (fault || fs::equivalent(file, "/proc/self/exe", fault)) return {};
  return file.string();
}

bool is_open_mpi(const MpiLibrary& library) { return library.version.starts_with("Open MPI"); }

}  // namespace

MpiLibrary linked_mpi_library() {
  MpiLibrary library{.version = library_version(), .file = library_file(), .launcher = {}};
  const auto candidates = launcher_candidates(library);
  const auto found = std::ranges::find_if(candidates, [](const std::string& path) { return access(path.c_str(), X_OK) == 0; });
  if (found != candidates.end()) library.launcher = *found;
  return library;
}

std::vector<std::string> launcher_candidates(const MpiLibrary& library) {
  const char* const suffix = is_open_mpi(library) ? ".openmpi" : library.version.starts_with("MPICH") ? ".mpich" : nullptr;
  std::vector<std::string> paths;
  for (fs::path place = fs::path(library.file).parent_path(); place.has_relative_path(); place = place.parent_path()) {
    // Where several MPIs are installed side by side, plain mpirun may be another's.
    if (suffix != nullptr) paths.push_back((place / "bin" / ("mpirun" + std::string(suffix))).string());
    paths.push_back((place / "bin" / "mpirun").string());
  }
  return paths;
}

bool speaks_pmix_alone(const MpiLibrary& library) {
  if (!is_open_mpi(library) || library.file.empty()) return false;
  bool has_components = false;
  const fs::path beside = fs::path(library.file).parent_path();
  for (const fs::path& folder : {beside / "openmpi", beside / "openmpi/lib/openmpi3"}) {  // the other is Debian's
    std::error_code fault;
    for (const auto& entry : fs::directory_iterator(folder, fault)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("mca_pmix_s1.") || name.starts_with("mca_pmix_s2.")) return false;  // PMI-1, PMI-2
      has_components = has_components || name.starts_with("mca_pmix_");
    }
  }
  return has_components;
}

}  // namespace dtrain
