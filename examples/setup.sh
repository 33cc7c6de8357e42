# Sourced by examples/demo.sh and tests/run.sh (bash), from any folder: the
# project's root, Debian packages, and the configure step.

project_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build_dir=$project_root/build/release

# What the library and the program `align` need.
build_packages=(
  g++ cmake ninja-build libdnnl-dev ocl-icd-opencl-dev libeigen3-dev
  libabsl-dev libprotobuf-dev protobuf-compiler libpcre2-dev libutf8proc-dev
  zlib1g-dev libsimdjson-dev librandom123-dev libisal-dev libspdlog-dev
  libfmt-dev libxxhash-dev
)
# What the tests and benchmarks need besides.
test_packages=(libgtest-dev libgmock-dev libbenchmark-dev sentencepiece)

phase() { printf '\n==> %s\n' "$*"; }

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 2
}

# missing_packages PACKAGE...: prints those that are not installed.
missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null |
      grep -qx installed || printf '%s\n' "$package"
  done
}

# install_packages MODE PACKAGE...: installs what is missing, as root or with
# one call of sudo. MODE `refuse` stops instead and says what to install.
install_packages() {
  local mode=$1 missing
  shift
  if ! command -v dpkg-query >/dev/null; then
    echo "No dpkg here; needed, by Debian's names: $*"
    return
  fi
  mapfile -t missing < <(missing_packages "$@")
  if ((${#missing[@]} == 0)); then
    echo "All $# packages are installed."
    return
  fi
  echo "Missing: ${missing[*]}"
  if [[ $mode == refuse ]]; then
    die "packages are missing; as root: apt-get install" \
      "--no-install-recommends ${missing[*]}"
  fi
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "needs root or sudo to install: ${missing[*]}"
    as_root=(sudo)
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive sh -euc '
    apt-get update
    apt-get install -y --no-install-recommends "$@"' sh "${missing[@]}" ||
    die "apt-get could not install: ${missing[*]}"
}

# configure_release OPTION...: preset `release`; ccache serves where it is
# installed and the build folder is new.
configure_release() {
  local options=("$@")
  if [[ ! -e $build_dir/CMakeCache.txt ]] && command -v ccache >/dev/null; then
    options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  fi
  (cd "$project_root" && cmake --preset release "${options[@]}")
}
