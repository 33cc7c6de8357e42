#!/bin/sh
# Chat templates and token ids of published models against the packages
# @huggingface/jinja and @huggingface/tokenizers:
#   tests/peers/chat.sh [BUILD_DIR]
# Needs node 18, and the network once: packages go to BUILD_DIR/peers.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${1:-$here/../../build/release}
peers=$build/peers
mkdir -p "$peers"
cp "$here/package.json" "$here/chat.mjs" "$peers"
(cd "$peers" && npm install --ignore-scripts --no-audit --no-fund --silent)
exec node "$peers/chat.mjs" "${ALIGN:-$build/bin/align}" "$peers"
