#!/usr/bin/env bash
# Sets up, builds and runs every test: see --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../examples/setup.sh"

usage() {
  cat <<'END'
Usage: tests/run.sh [--no-install] [--require-shared]

Installs with apt what is missing, builds everything in build/release and runs
all tests; the last line is ctest's verdict. Tests on real models and golden
numbers need a folder with oracle/, models/ and data/: $ALIGN_SHARED_DIR, or
`shared` beside the project. Without one they are left out, and it says so.

  --no-install       stop if a package is missing instead of installing it
  --require-shared   fail when that folder is absent
  --help             this text
END
}

mode=install
require_shared=false
for argument in "$@"; do
  case $argument in
    --help | -h) usage; exit 0 ;;
    --no-install) mode=refuse ;;
    --require-shared) require_shared=true ;;
    *) die "unknown argument '$argument'; see --help" ;;
  esac
done

shared=${ALIGN_SHARED_DIR:-}
if [[ -z $shared && -d $project_root/../shared/oracle ]]; then
  shared=$(cd "$project_root/../shared" && pwd)
fi
if [[ -n $shared && ! -d $shared/oracle ]]; then
  die "ALIGN_SHARED_DIR=$shared has no oracle/"
fi
if [[ -z $shared ]] && $require_shared; then
  die "no shared folder: set ALIGN_SHARED_DIR, or put it at" \
    "$project_root/../shared"
fi

phase "[1/3] packages"
install_packages "$mode" "${build_packages[@]}" "${test_packages[@]}"

phase "[2/3] build"
configure_release -DALIGN_BUILD_TESTS=ON -DALIGN_BUILD_BENCH=ON \
  -DALIGN_BUILD_EXAMPLES=ON -DALIGN_SHARED_DIR="$shared"
cmake --build "$build_dir"

phase "[3/3] tests"
log=$build_dir/ctest.log
status=0
OMP_NUM_THREADS=1 ctest --test-dir "$build_dir" -j2 --output-on-failure \
  --no-tests=error 2>&1 | tee "$log" || status=$?
if [[ -z $shared ]]; then
  echo "Left out: tests labelled 'shared' (no ALIGN_SHARED_DIR)."
fi
grep -E '^[0-9]+% tests passed' "$log" | tail -n 1 || true
exit "$status"
