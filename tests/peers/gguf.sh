#!/usr/bin/env bash
# GGUF files against llama.cpp itself: see --help.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

usage() {
  cat <<'END_OF_HELP'
Usage: tests/peers/gguf.sh [BUILD_DIR [SHARED_DIR]]

Exports models with `align export` and runs the files in llama.cpp (npm's
node-llama-cpp with its prebuilt library, put into BUILD_DIR/peers): at F32 the
logits after a prompt must agree within 1e-2 and greedy continuations token for
token; F16, BF16 and Q8_0 files must load and agree as their rounding allows;
tokenizers must give the same ids. Needs node and npm. Not part of ctest: it
downloads.

BUILD_DIR is build/release, where align and model_numbers are (ninja align_program
model_numbers); SHARED_DIR has models/stories260k and oracle/models.
END_OF_HELP
}

if [[ ${1:-} == --help || ${1:-} == -h ]]; then
  usage
  exit 0
fi
build=$(cd "${1:-$root/build/release}" && pwd)
shared=$(cd "${2:-${ALIGN_SHARED_DIR:-$root/../shared}}" && pwd)
for program in align model_numbers; do
  if [[ ! -x $build/bin/$program ]]; then
    echo "$build/bin/$program is not there; build it first" >&2
    exit 2
  fi
done

work=$build/peers
mkdir -p "$work"
cp "$root/tests/peers/package.json" "$root"/tests/peers/*.mjs "$work/"
(cd "$work" && npm install --no-audit --no-fund --ignore-scripts --silent)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=passive
exec node "$work/gguf.mjs" "$build/bin" "$shared" "$work/gguf"
