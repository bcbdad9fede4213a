#!/usr/bin/env bash
# The one list of Debian packages that dtrain is built from, tested with and runs on; installs those that are missing.
#   bash launch/packages.sh                  what building and running needs
#   bash launch/packages.sh --with-tests     also what some tests need
#   bash launch/packages.sh --with-pytorch   also what the tests that compare with PyTorch need
#   bash launch/packages.sh --with-pictures  also what bench/ draws with
# The names are those of Debian 12 (oneDNN 2.6, Open MPI 4.1) and of Debian 13 (oneDNN 3.7, Open MPI 5.0) alike.
# As root or with passwordless sudo it installs; otherwise it prints the line to run and stops with exit code 1.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config
  openmpi-bin libopenmpi-dev
  libdnnl-dev ocl-icd-opencl-dev  # oneDNN's CMake files ask for OpenCL, for its GPU half
  libhwloc-dev
  libcxxopts-dev libspdlog-dev nlohmann-json3-dev
  libturbojpeg0-dev libjpeg-dev libpng-dev
  libgtest-dev python3
  iproute2  # bench/hosts.sh
)
for argument in "$@"; do
  case "$argument" in
    # The mpirun of another MPI, without its compiler; plain mpirun stays Open MPI's, which Debian's alternatives prefer.
    --with-tests) packages+=(mpich git) ;;
    # Without libopenblas0-pthread, PyTorch's linear layers crawl.
    --with-pytorch) packages+=(python3-torch python3-torchvision libopenblas0-pthread) ;;
    --with-pictures) packages+=(python3-matplotlib) ;;
    *)
      echo "packages.sh: unknown argument '$argument'; known: --with-tests, --with-pytorch, --with-pictures" >&2
      exit 2
      ;;
  esac
done

is_installed() {
  [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

if ! command -v dpkg-query >/dev/null; then
  echo "packages.sh: this is not a Debian system; what dtrain needs has these names there: ${packages[*]}" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  is_installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }; then
    echo "Packages are missing. Please run, then start again:" >&2
    echo "  sudo apt-get update && sudo apt-get install --no-install-recommends -y ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo -n)
fi

echo "Installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run_quietly() {
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1; then
    cat "$log" >&2
    echo "packages.sh: failed: $*" >&2
    exit 1
  fi
}
run_quietly apt-get update
run_quietly apt-get install --no-install-recommends -y "${missing[@]}"
