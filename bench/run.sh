#!/usr/bin/env bash
# Builds the benches, runs them beside every peer that is there, in turn, and
# prints a table of ratios with pass or falls short by row; writes
# bench/results.json and bench/results.md. What is absent is named with what
# installs it.
#
#   bench/run.sh [--pairs FILE] [--torch SCRIPT] [--gguf FILE] [--runs N]
#                [--threads N]
#
# --pairs FILE    JSON list of pairs of token ids; default
#                 ../shared/peers/hh_pairs.json
# --torch SCRIPT  the PyTorch peer; default ../shared/peers/torch_dpo.py
# --gguf FILE     a model of the shape that `decode` samples from, for
#                 llama-bench
# --runs N        pairs of runs a row (5); medians are compared
set -euo pipefail
cd "$(dirname "$0")/.."

pairs=../shared/peers/hh_pairs.json
torch=../shared/peers/torch_dpo.py
gguf=
runs=5
threads=2
while (($# > 0)); do
  case "$1" in
    --pairs) pairs=$2 ;;
    --torch) torch=$2 ;;
    --gguf) gguf=$2 ;;
    --runs) runs=$2 ;;
    --threads) threads=$2 ;;
    *) sed -n '2,16p' "$0"; exit 2 ;;
  esac
  shift 2
done
for tool in jq cmake ninja; do
  command -v "$tool" > /dev/null ||
    { echo "bench/run.sh: needs $tool: apt-get install $tool" >&2; exit 2; }
done

cmake --preset release -DALIGN_BUILD_BENCH=ON > /dev/null
cmake --build --preset release --target pair_step decode > /dev/null
bin=build/release/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=$threads OMP_WAIT_POLICY=passive

ours() {  # MODE PRECISION OUT
  local file=()
  [[ -e $pairs ]] && file=(--pairs_file "$pairs")
  "$bin/pair_step" --mode "$1" --precision "$2" "${file[@]}" >> "$3"
}

torch_missing=
if [[ ! -e $torch ]]; then
  torch_missing="$torch is not there: name the script with --torch"
elif ! python3 -c 'import torch' 2> /dev/null; then
  torch_missing='apt-get install python3-torch libopenblas0-pthread'
fi

peer() {  # MODE PRECISION OUT
  local bf16=()
  [[ $2 == bf16 ]] && bf16=(--bf16)
  # Debian's OpenBLAS takes new AMD cores for Haswell; this is kind to the peer.
  OPENBLAS_CORETYPE=SkylakeX python3 bench/torch_total.py "$torch" \
    --threads "$threads" --mode "$1" "${bf16[@]}" | tail -n 1 >> "$3"
}

median() { jq -s "[.[] | .$1] | sort | .[length / 2 | floor]" "$2"; }
range() {
  jq -sr "[.[] | .$1] | \"\(min * 100 | round / 100) to \(max * 100 | round / 100)\"" "$2"
}

rows=$work/rows.json
row() {  # WHAT MEASURED TARGET UNIT NOTE
  jq -n --arg what "$1" --argjson value "$2" --argjson target "$3" \
    --arg unit "$4" --arg note "$5" \
    '{what: $what, value: $value, target: $target, unit: $unit, note: $note,
      pass: (if $unit == "of the peer'\''s memory" then $value <= $target
             else $value >= $target end)}' >> "$rows"
}

measure_step() {  # MODE PRECISION TIMES_TARGET
  local a=$work/ours_$1_$2 b=$work/peer_$1_$2 i
  for ((i = 0; i < runs; ++i)); do
    echo "$1 $2: run $((i + 1)) of $runs" >&2
    ours "$1" "$2" "$a"
    if [[ -z $torch_missing ]]; then peer "$1" "$2" "$b"; fi
  done
  if [[ $1 == dpo ]]; then
    local share=0.70
    [[ $2 == bf16 ]] && share=0.60
    row "model FLOP utilisation, DPO step, $2" "$(median utilisation "$a")" \
      "$share" "of packed oneDNN" "$(range utilisation "$a")"
  fi
  [[ -e $b ]] || return 0
  local t u
  t=$(median total_s "$a") u=$(median total_s "$b")
  row "$1 step, $2" "$(jq -n "$u / $t")" "$3" "times PyTorch" \
    "ours $(range total_s "$a") s, PyTorch $(range total_s "$b") s"
  [[ $1 == dpo ]] || return 0
  row "peak memory, $1 step, $2" \
    "$(jq -n "$(median peak_rss_gb "$a") / $(median peak_rss_gb "$b")")" 0.25 \
    "of the peer's memory" \
    "ours $(range peak_rss_gb "$a") GB, PyTorch $(range peak_rss_gb "$b") GB"
}

measure_step dpo f32 12
measure_step dpo bf16 14
# SFT has no row of its own without the peer.
if [[ -z $torch_missing ]]; then
  measure_step sft f32 4
  measure_step sft bf16 4
fi

# A step of decoding is hundreds of short products: with threads that sleep
# between them oneDNN itself would be several times slower than it can be.
measure_decode() {  # PRECISION
  local a=$work/decode_$1 i
  for ((i = 0; i < runs; ++i)); do
    echo "decode $1: run $((i + 1)) of $runs" >&2
    env -u OMP_WAIT_POLICY "$bin/decode" --precision "$1" >> "$a" 2> /dev/null
  done
  row "decode, batch 1, $1" "$(median stream_share "$a")" 0.85 \
    "of streaming bandwidth" \
    "$(range tokens_s_1 "$a") tokens/s, bandwidth $(range stream_gb_s "$a") GB/s"
  [[ $1 == bf16 ]] || return 0
  row "decode, batch 32, $1" "$(median onednn_share "$a")" 0.80 \
    "of packed oneDNN" "$(range tokens_s "$a") tokens/s"
  row "8 samples of a 512-token prompt, $1" "$(median sharing_times "$a")" 3 \
    "times separate prompts" \
    "$(range shared_s "$a") s, separate $(range separate_s "$a") s"
}

measure_decode f32
measure_decode bf16
llama=
if ! command -v llama-bench > /dev/null; then
  llama='llama-bench is not on PATH: build github.com/ggml-org/llama.cpp'
elif [[ -z $gguf ]]; then
  llama='name a model of the same shape with --gguf (align export)'
else
  llama-bench -m "$gguf" -p 0 -n 32 -t "$threads" -o md >&2
fi

jq -s --arg cpu "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" \
  --arg date "$(date -u +%F)" --argjson threads "$threads" \
  --argjson runs "$runs" --arg matmul "$(jq -sr '.[0].peer' "$work"/ours_dpo_f32)" \
  '{machine: $cpu, threads: $threads, runs: $runs, date: $date,
    matmul: $matmul, rows: .}' "$rows" > bench/results.json
jq -r '
  def two: . * 100 | round / 100;
  "\(.machine), \(.threads) threads, \(.matmul), medians of \(.runs) runs, \(.date).",
  "", "| work | measured | target | | min to max |", "|---|---|---|---|---|",
  (.rows[] | "| \(.what) | \(.value | two) \(.unit) | \(.target) | \(
     if .pass then "pass" else "falls short" end) | \(.note) |")
  ' bench/results.json > bench/results.md
cat bench/results.md
if [[ -n $torch_missing ]]; then
  printf '\nrows beside PyTorch are left out: %s\n' "$torch_missing" >&2
fi
if [[ -n $llama ]]; then
  printf '\nllama.cpp is left out: %s\n' "$llama" >&2
fi
