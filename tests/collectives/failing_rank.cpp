// A program whose last rank fails while the others wait for it in a barrier that would take an hour; see CMakeLists.txt.
//   failing_rank abort | unwind | early
#include <cstdio>
#include <string>

#include "collectives/communicator.hpp"
#include "dtrain/error.hpp"

namespace {

void fail_on_last_rank() {
  const dtrain::Communicator communicator;
  if (communicator.rank() == communicator.size() - 1) {
    throw dtrain::CommError(dtrain::Fault{.doing = "failing on purpose", .expected = "", .found = "", .remedy = ""});
  }
  communicator.barrier();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  if (how == "early") dtrain::MpiSession::abort(75);
  try {
    const dtrain::MpiSession session(&argc, &argv);
    if (how == "unwind") fail_on_last_rank();
    try {
      fail_on_last_rank();
    } catch (const dtrain::Error& error) {
      std::printf("%s\n", error.what());  // abort() must not lose what is in the buffer
      dtrain::MpiSession::abort(static_cast<int>(error.exit_code()));
    }
  } catch (const dtrain::Error&) {
    return 1;  // an unwound session ends the job before anybody catches
  }
  return 0;
}
