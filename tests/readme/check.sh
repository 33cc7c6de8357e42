#!/usr/bin/env bash
# check.sh README BUILD_DIR SOURCE_DIR WORK_DIR
#
# Runs every fenced block of README that follows the line <!-- test -->, with
# build/release standing for BUILD_DIR, in WORK_DIR, where examples/ is linked;
# compares every block that follows <!-- file: PATH --> with that file, and what
# stands between <!-- output: COMMAND --> and <!-- end of output --> with what
# COMMAND prints.
set -euo pipefail
readme=$1 build_dir=$2 source_dir=$3 work_dir=$4

rm -rf "$work_dir"
mkdir -p "$work_dir/run"
ln -s "$source_dir/examples" "$work_dir/run/examples"

# block.N holds the text of block N, kind.N the marker before it.
awk -v out="$work_dir" '
  inside && /^```/ { inside = 0; close(file); marker = ""; next }
  inside { print > file; next }
  /^<!-- (test|file: .*) -->$/ { marker = $0; next }
  /^```/ && marker != "" {
    inside = 1
    file = out "/block." ++count
    print marker > (out "/kind." count)
    printf "" > file
    next
  }
  NF { marker = "" }' "$readme"

# output.N holds the lines of output N, command.N what prints them.
awk -v out="$work_dir" '
  /^<!-- end of output -->$/ { inside = 0; next }
  inside { print > file; next }
  /^<!-- output: .* -->$/ {
    inside = 1
    file = out "/output." ++count
    command = $0
    sub(/^<!-- output: /, "", command)
    sub(/ -->$/, "", command)
    print command > (out "/command." count)
    printf "" > file
  }' "$readme"

ran=0 compared=0
for command in "$work_dir"/command.*; do
  echo "==> README shows what $(<"$command") prints"
  sed "s|build/release|$build_dir|g" "$command" | bash -eu |
    diff -u - "$work_dir/output.${command##*.}"
  compared=$((compared + 1))
done
for kind in "$work_dir"/kind.*; do
  block=$work_dir/block.${kind##*.}
  marker=$(<"$kind")
  if [[ $marker == '<!-- test -->' ]]; then
    echo "==> README runs:"
    cat "$block"
    sed "s|build/release|$build_dir|g" "$block" > "$block.sh"
    (cd "$work_dir/run" && bash -euxo pipefail "$block.sh")
    ran=$((ran + 1))
  else
    path=${marker#<!-- file: }
    path=${path% -->}
    echo "==> README quotes $path"
    diff -u "$source_dir/$path" "$block"
    compared=$((compared + 1))
  fi
done
echo "$ran blocks ran, $compared quote a file or the program."
((ran > 0 && compared > 0))
