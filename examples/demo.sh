#!/usr/bin/env bash
# The main job on the embedded review writer: see --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

usage() {
  cat <<'END'
Usage: examples/demo.sh [--no-install] [key.path=value ...]

Compares DPO, RSO and PPO on the small review writer in examples/reviews:
  1. installs with apt what is missing (as root, or with sudo once),
  2. builds the program `align` in build/release,
  3. runs `align compare examples/reviews/compare.textproto --out results/demo`
     and prints its table. A second run reuses the stages that are done.

  --no-install      stop if a package is missing instead of installing it
  key.path=value    override a setting of the job's config
  --help            this text
END
}

mode=install
overrides=()
for argument in "$@"; do
  case $argument in
    --help | -h) usage; exit 0 ;;
    --no-install) mode=refuse ;;
    -*) die "unknown flag '$argument'; see --help" ;;
    *=*) overrides+=("$argument") ;;
    *) die "unexpected argument '$argument', expected key.path=value" ;;
  esac
done

phase "[1/3] packages"
install_packages "$mode" "${build_packages[@]}"

phase "[2/3] build"
options=()
if [[ ! -e $build_dir/CMakeCache.txt ]]; then
  options=(-DALIGN_BUILD_TESTS=OFF -DALIGN_BUILD_BENCH=OFF
           -DALIGN_BUILD_EXAMPLES=OFF)
fi
configure_release "${options[@]}"
cmake --build "$build_dir" --target align_program

phase "[3/3] job"
cd "$project_root"
"$build_dir/bin/align" compare examples/reviews/compare.textproto \
  "${overrides[@]}" --out results/demo
echo "Results: $project_root/results/demo"
