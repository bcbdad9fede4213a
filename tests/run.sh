#!/usr/bin/env bash
# Runs every test: installs what is missing, builds release and runs all of ctest; then, under AddressSanitizer and
# UndefinedBehaviorSanitizer, the fast tests, two whole runs and 20 000 damaged weight files, and under ThreadSanitizer the comm
# thread's and the watch's. Ends with ctest's closing line of each.
#   bash tests/run.sh [--without-asan] [--without-tsan] [--jobs N]
# DTRAIN_TEST_DATA=DIR     directory of real data; tests that need one skip, saying so, without it
# DTRAIN_TEST_PYTORCH=1    also holds dtrain against PyTorch (installs Debian's python3-torch)
set -euo pipefail
cd "$(dirname "$0")/.."

asan=yes
tsan=yes
jobs=$(nproc)
while [ $# -gt 0 ]; do
  case "$1" in
    --without-asan) asan=no ;;
    --without-tsan) tsan=no ;;
    --jobs)
      jobs=${2:?--jobs: expected a number}
      shift
      ;;
    --help | -h)
      sed -n '2,7s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *)
      echo "run.sh: unknown option '$1' (--help lists the known ones)" >&2
      exit 2
      ;;
  esac
  shift
done

pytorch=OFF
if [ "${DTRAIN_TEST_PYTORCH:-0}" = 1 ]; then
  pytorch=ON
  bash launch/packages.sh --with-tests --with-pytorch
else
  bash launch/packages.sh --with-tests
fi

say() { printf '\n== %s\n' "$*"; }
started=$SECONDS
closing_lines=()
failed=no

# run_ctest NAME ARGUMENTS…: goes on after failures, so that one run shows all of them.
run_ctest() {
  local name=$1 log
  shift
  log=$(mktemp)
  "$@" 2>&1 | tee "$log" || failed=yes
  closing_lines+=("$name: $(grep -E 'tests passed|No tests were found' "$log" | tail -n 1 || true)")
  grep -qE '^100% tests passed' "$log" || failed=yes
  rm -f "$log"
}

say "release"
cmake --preset release -DDTRAIN_TESTS=ON -DDTRAIN_BENCH=ON -DDTRAIN_TEST_PYTORCH=$pytorch >/dev/null
cmake --build --preset release --parallel "$jobs"
run_ctest release ctest --preset release --parallel "$jobs"

if [ "$asan" = yes ]; then
  say "debug: AddressSanitizer and UndefinedBehaviorSanitizer"
  cmake --preset debug -DDTRAIN_TEST_PYTORCH=OFF >/dev/null
  cmake --build --preset debug --parallel "$jobs"
  run_ctest debug ctest --preset debug --label-exclude slow --parallel "$jobs"
  run_ctest mutations ctest --preset debug --label-regex mutations
fi

if [ "$tsan" = yes ]; then
  say "tsan: ThreadSanitizer, comm thread and watch"
  cmake --preset tsan -DDTRAIN_TEST_PYTORCH=OFF >/dev/null
  cmake --build --preset tsan --parallel "$jobs" --target test_comm_thread test_stall_watch
  # ThreadSanitizer wants its memory map where many kernels' address randomisation puts something else.
  fixed_addresses=()
  if setarch "$(uname -m)" --addr-no-randomize true 2>/dev/null; then
    fixed_addresses=(setarch "$(uname -m)" --addr-no-randomize)
  fi
  run_ctest tsan "${fixed_addresses[@]}" ctest --preset tsan --label-regex tsan
fi

say "$((SECONDS - started)) s"
printf '%s\n' "${closing_lines[@]}"
[ "$failed" = no ]
