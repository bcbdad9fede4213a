#!/usr/bin/env bash
# Makes a Debian 13 (oneDNN 3.7, Open MPI 5.0, GCC 14) below a directory, and in it goes from a fresh copy of this checkout through
# launch/quickstart.sh to a build with tests, the fast tests, and those of 2 and 4 ranks. Ends with ctest's closing lines.
#   bash tests/debian13.sh [--jobs N] [DIR]
# DIR    where Debian is made, or was made by an earlier call; it stays, with a compiler cache. Without DIR: a temporary
#        directory (5 GB), removed at the end.
# DTRAIN_DEBIAN_MIRROR=URI   instead of the one that this machine's apt uses
# Needs root and debootstrap; without them it says so, and ends with exit code 0. What it mounts it unmounts, however it ends.
set -euo pipefail
cd "$(dirname "$0")/.."

jobs=$(nproc)
directory=
while [ $# -gt 0 ]; do
  case "$1" in
    --jobs)
      jobs=${2:?--jobs: expected a number}
      shift
      ;;
    --help | -h)
      sed -n '2,8s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    -*)
      echo "debian13.sh: unknown option '$1' (--help lists the known ones)" >&2
      exit 2
      ;;
    *) directory=$1 ;;
  esac
  shift
done

skip() {
  echo "debian13.sh: SKIPPED: $1"
  exit 0
}
[ "$(id -u)" -eq 0 ] || skip "a chroot can only be made as root, and this is $(id -un)"
command -v debootstrap >/dev/null || skip "debootstrap is not installed (apt-get install debootstrap)"

started=$SECONDS
say() { printf '\n== %s (%d s)\n' "$*" "$((SECONDS - started))"; }

is_temporary=no
if [ -z "$directory" ]; then
  directory=$(mktemp -d --tmpdir dtrain-debian13.XXXXXX)
  is_temporary=yes
fi
mkdir -p "$directory"
root=$(realpath "$directory")
[ "$root" != / ] || { echo "debian13.sh: expected a directory for Debian, found /" >&2; exit 2; }
if [ ! -e "$root/etc/debian_version" ] && [ -n "$(ls -A "$root")" ]; then
  echo "debian13.sh: $root holds other files; name an empty or a new directory" >&2
  exit 2
fi

apart_pid=
clean_up() {
  trap '' INT TERM HUP
  [ -z "$apart_pid" ] || kill -KILL "$apart_pid" 2>/dev/null || true
  wait 2>/dev/null || true
  # Mounts are seen by what runs apart alone, and end with it; still, never remove what is another file system.
  if [ "$is_temporary" = yes ]; then rm --recursive --force --one-file-system "$root"; fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# apart COMMAND…: in mount and PID namespaces of its own, so that no mount and no process outlives it, however this script ends.
apart() {
  unshare --mount --pid --fork --kill-child -- "$@" &
  apart_pid=$!
  local result=0
  wait "$apart_pid" || result=$?
  apart_pid=
  return "$result"
}

mirror=${DTRAIN_DEBIAN_MIRROR:-}
if [ -z "$mirror" ]; then
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' 2>/dev/null | head -n 1 || true)
fi
mirror=${mirror:-http://deb.debian.org/debian}

if [ ! -e "$root/etc/debian_version" ]; then
  say "Debian 13 from $mirror in $root"
  log=$(mktemp)
  if ! apart debootstrap --variant=minbase trixie "$root" "$mirror" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    echo "debian13.sh: debootstrap failed" >&2
    exit 1
  fi
  rm -f "$log"
fi
# How this machine reaches the network, apt's half included.
cp /etc/resolv.conf "$root/etc/resolv.conf"
for settings in /etc/apt/apt.conf.d/*; do
  if grep --quiet '^ *Acquire' "$settings"; then cp "$settings" "$root/etc/apt/apt.conf.d/"; fi
done
say "This checkout in $root/work/dtrain"
rm -rf "$root/work/dtrain"
mkdir -p "$root/work/dtrain"
git ls-files --cached --others --exclude-standard -z |
  while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
  tar --null --files-from - --create --file - | tar --directory "$root/work/dtrain" --extract --file -

# in_debian COMMAND: by bash, in the copy.
in_debian() {
  apart bash -euc 'mount -t proc proc "$0/proc"
    mkdir -p "$0/dev/shm"
    mount -t tmpfs -o size=50% tmpfs "$0/dev/shm"
    exec chroot "$0" /usr/bin/env --ignore-environment HOME=/root LANG=C.UTF-8 ${http_proxy:+http_proxy="$http_proxy"} \
      ${https_proxy:+https_proxy="$https_proxy"} PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      bash -euo pipefail -c "cd /work/dtrain; $1"' "$root" "$1"
}

say "launch/quickstart.sh"
in_debian "apt-get update >/dev/null; bash launch/quickstart.sh"
quickstart_s=$((SECONDS - started))

say "Building with tests"
in_debian "bash launch/packages.sh --with-tests
  cmake --preset release -DDTRAIN_TESTS=ON -DDTRAIN_BENCH=ON >/dev/null
  cmake --build --preset release --parallel $jobs"

closing_lines=()
failed=no
# run_ctest NAME ARGUMENTS: goes on after failures, so that one run shows all of them.
run_ctest() {
  local name=$1 log
  say "ctest: $name"
  log=$(mktemp)
  in_debian "ctest --preset release --parallel $jobs $2" >"$log" 2>&1 || failed=yes
  cat "$log"
  closing_lines+=("$name: $(grep -E 'tests passed|No tests were found' "$log" | tail -n 1 || true)")
  grep -qE '^100% tests passed' "$log" || failed=yes
  rm -f "$log"
}
run_ctest "Debian 13, fast" "--label-exclude slow"
run_ctest "Debian 13, 2 and 4 ranks" "--tests-regex '_[24]_ranks\$'"

say "done; quickstart ended after $quickstart_s s"
printf '%s\n' "${closing_lines[@]}"
[ "$failed" = no ]
