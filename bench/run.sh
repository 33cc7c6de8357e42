#!/usr/bin/env bash
# Builds the benches, runs them beside every peer that is there, in turn, and
# prints a table of ratios with pass or falls short by row; writes
# bench/results.json and bench/results.md. What is absent is named with what
# installs it. Rows of parts that are left out stay as they were, if they are of
# the same machine.
#
#   bench/run.sh [--pairs FILE] [--torch SCRIPT] [--gguf FILE] [--runs N]
#                [--threads N] [--hh FILE] [--stories DIR] [--texts FILE]
#                [--lexicon FILE] [--only PART]
#
# --pairs FILE    JSON list of pairs of token ids; default
#                 ../shared/peers/hh_pairs.json
# --torch SCRIPT  the PyTorch peer; default ../shared/peers/torch_dpo.py
# --gguf FILE     a model of the shape that `decode` samples from, for
#                 llama-bench
# --runs N        pairs of runs a row (5); medians are compared
# --hh FILE       JSONL to import; default
#                 ../shared/data/hh-rlhf/helpful-base_test.jsonl.gz
# --stories DIR   small story teller of the demo task; default
#                 ../shared/models/stories260k
# --texts FILE    JSONL with its stories; default
#                 ../shared/data/tinystories/tinystories_split.jsonl
# --lexicon FILE  its gold reward; default
#                 ../shared/data/sentiment/vader_lexicon.txt
# --only PART     share (of oneDNN's rate in a DPO step), dpo, sft, memory (of a
#                 DPO step), decode, import, methods (DPO against PPO on the demo
#                 task) or compare (all methods on it); default all
set -euo pipefail
cd "$(dirname "$0")/.."

pairs=../shared/peers/hh_pairs.json
torch=../shared/peers/torch_dpo.py
hh=../shared/data/hh-rlhf/helpful-base_test.jsonl.gz
stories=../shared/models/stories260k
texts=../shared/data/tinystories/tinystories_split.jsonl
lexicon=../shared/data/sentiment/vader_lexicon.txt
gguf=
runs=5
threads=2
only=
while (($# > 0)); do
  case "$1" in
    --pairs) pairs=$2 ;;
    --torch) torch=$2 ;;
    --gguf) gguf=$2 ;;
    --runs) runs=$2 ;;
    --threads) threads=$2 ;;
    --hh) hh=$2 ;;
    --stories) stories=$2 ;;
    --texts) texts=$2 ;;
    --lexicon) lexicon=$2 ;;
    --only) only=$2 ;;
    *) sed -n '2,29p' "$0"; exit 2 ;;
  esac
  shift 2
done
parts=(share dpo sft memory decode import methods compare)
if [[ -n $only && " ${parts[*]} " != *" $only "* ]]; then
  echo "bench/run.sh: --only $only: expected one of: ${parts[*]}" >&2
  exit 2
fi
for tool in jq cmake ninja; do
  command -v "$tool" > /dev/null ||
    { echo "bench/run.sh: needs $tool: apt-get install $tool" >&2; exit 2; }
done

cmake --preset release -DALIGN_BUILD_BENCH=ON > /dev/null
cmake --build --preset release \
  --target pair_step decode import_file align_program > /dev/null
bin=build/release/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=$threads OMP_WAIT_POLICY=passive

ours() {  # MODE PRECISION OUT [FLAG...]
  local file=()
  [[ -e $pairs ]] && file=(--pairs_file "$pairs")
  "$bin/pair_step" --mode "$1" --precision "$2" "${file[@]}" "${@:4}" >> "$3"
}

torch_missing=
if [[ ! -e $torch ]]; then
  torch_missing="$torch is not there: name the script with --torch"
else
  # Another Python may stand before the distribution's.
  for python in python3 /usr/bin/python3 ''; do
    "$python" -c 'import torch' 2> /dev/null && break
  done
  [[ -n $python ]] ||
    torch_missing='apt-get install python3-torch libopenblas0-pthread'
fi

# Debian's OpenBLAS takes new AMD cores for Haswell, and glibc gives the memory
# of every large tensor back to the system, to be cleared and mapped anew a
# moment later: the peer is told better, but where its memory is measured, since
# a heap that is kept is larger.
peer() {  # MODE PRECISION OUT [SETTING...]
  local bf16=()
  [[ $2 == bf16 ]] && bf16=(--bf16)
  env OPENBLAS_CORETYPE=SkylakeX "${@:4}" \
    "$python" bench/torch_total.py "$torch" \
    --threads "$threads" --mode "$1" "${bf16[@]}" | tail -n 1 >> "$3"
}
keep_heap=(MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=17179869184
  MALLOC_TOP_PAD_=268435456)

median() {
  jq -s "[.[] | .$1] | sort | .[length / 2 | floor] * 1000 | round / 1000" "$2"
}
range() {
  jq -sr "[.[] | .$1] | \"\(min * 100 | round / 100) to \(max * 100 | round / 100)\"" "$2"
}

rows=$work/rows.json
touch "$rows"
date=$(date -u +%F)
row() {  # WHAT MEASURED TARGET|null UNIT NOTE
  jq -n --arg part "$part" --arg date "$date" --argjson runs "$runs" \
    --arg what "$1" --argjson value "$2" --argjson target "$3" \
    --arg unit "$4" --arg note "$5" \
    '{part: $part, date: $date, runs: $runs,
      what: $what, value: $value, target: $target, unit: $unit, note: $note,
      pass: (if $target == null then null
             elif $unit == "of the peer'\''s memory" or $unit == "s"
             then $value <= $target else $value >= $target end)}' >> "$rows"
}

# After a program with gigabytes the system clears and reports them at the cost
# of whoever comes next: oneDNN alone was a tenth slower ten seconds after the
# peer, with its ten gigabytes, and a fifteenth after forty.
settle_after_ours() { sleep 10; }
settle_after_peer() { sleep 40; }

measure_step() {  # MODE PRECISION TIMES_TARGET
  local a=$work/ours_$1_$2 b=$work/peer_$1_$2 i
  for ((i = 0; i < runs; ++i)); do
    echo "$1 $2: run $((i + 1)) of $runs" >&2
    settle_after_peer
    ours "$1" "$2" "$a"
    settle_after_ours
    peer "$1" "$2" "$b" "${keep_heap[@]}"
  done
  local t u
  t=$(median total_s "$a") u=$(median total_s "$b")
  row "$1 step, $2" "$(jq -n "$u / $t")" "$3" "times PyTorch" \
    "ours $(range total_s "$a") s, PyTorch $(range total_s "$b") s"
}

measure_alone() {  # PRECISION SHARE
  local a=$work/alone_$1 b=$work/recomputed_$1 i
  for ((i = 0; i < runs; ++i)); do
    echo "share, $1: run $((i + 1)) of $runs" >&2
    ours dpo "$1" "$a"
    ours dpo "$1" "$b" --recompute
  done
  row "model FLOP utilisation, DPO step, $1" "$(median utilisation "$a")" "$2" \
    "of packed oneDNN" "$(range utilisation "$a")"
  row "DPO step with activations recomputed, $1" \
    "$(jq -n "$(median total_s "$b") / $(median total_s "$a")")" null \
    "times the step without" \
    "peak memory $(range peak_rss_gb "$b") GB, without $(range peak_rss_gb "$a") GB"
}

measure_share() {
  measure_alone f32 0.70
  measure_alone bf16 0.60
}

measure_dpo() {
  # No row of its own without the peer.
  [[ -z $torch_missing ]] || return 0
  measure_step dpo f32 12
  measure_step dpo bf16 14
}

measure_sft() {
  [[ -z $torch_missing ]] || return 0
  measure_step sft f32 4
  measure_step sft bf16 4
}

# The peer as it comes, with glibc's own settings; one run each, for peaks hardly
# move.
measure_memory() {
  [[ -z $torch_missing ]] || return 0
  local runs=1 precision
  for precision in f32 bf16; do
    echo "memory, $precision" >&2
    local a=$work/memory_$precision b=$work/peer_memory_$precision
    ours dpo "$precision" "$a"
    peer dpo "$precision" "$b"
    row "peak memory, DPO step, $precision, the peer as it comes" \
      "$(jq -n "$(median peak_rss_gb "$a") / $(median peak_rss_gb "$b")")" 0.25 \
      "of the peer's memory" "ours $(median peak_rss_gb "$a") GB, PyTorch $(median peak_rss_gb "$b") GB"
    row "dpo step, $precision, the peer as it comes" \
      "$(jq -n "$(median total_s "$b") / $(median total_s "$a")")" \
      "$([[ $precision == f32 ]] && echo 12 || echo 14)" "times PyTorch" \
      "ours $(median total_s "$a") s, PyTorch $(median total_s "$b") s"
  done
}

measure_import() {
  local a=$work/import i
  if [[ ! -e $hh ]]; then
    missing+=("import: $hh is not there: name a file with --hh")
    return 0
  fi
  for ((i = 0; i < runs; ++i)); do
    echo "import: run $((i + 1)) of $runs" >&2
    "$bin/import_file" --file "$hh" >> "$a"
  done
  row "import of $(basename "$hh") repeated to 500 MB" \
    "$(median import_mb_s "$a")" 200 "MB/s, one thread" \
    "$(range import_mb_s "$a"); .gz $(range gzip_mb_s "$a"); simdjson's parse alone $(range simdjson_mb_s "$a"); bound: $(jq -sr '.[0].bound' "$a")"
}

demo_missing() {  # PART
  local file
  for file in "$stories" "$texts" "$lexicon"; do
    [[ -e $file ]] && continue
    missing+=("$1: $file is not there: name it with --stories, --texts or --lexicon")
    return 0
  done
  return 1
}

# DPO against PPO from the same pairs, to the same gold reward; runs = seeds.
measure_methods() {
  demo_missing methods && return 0
  local json=$work/methods.json
  jq -c '{prompt: (.text | split(" ")[:8] | join(" "))}' "$texts" \
    > "$work/prompts.jsonl"
  "$bin/align" import "$work/prompts.jsonl" --out "$work/prompts.tfrecord" \
    > /dev/null
  # Steps of a model this small are short: a second thread would only wait.
  OMP_NUM_THREADS=1 "$bin/align" bench "$stories" "$work/prompts.tfrecord" \
    --gold "$lexicon" --eval-every 2 --seeds "$runs" --json "$json" > "$work/methods.txt"
  local key name scale
  while read -r key scale name; do
    row "PPO, times DPO: $name" "$(jq ".methods | .[1].$key.median /
      .[0].$key.median" "$json")" null "times" "$(jq -r --argjson scale "$scale" "
        def text: if . == null then \"not reached\"
          else . * \$scale * 100 | round / 100 end;
        .methods | map(\"\(.method) \(.$key | \"\(.median | text) (\(
          .min | text) to \(.max | text))\")\") | join(\", \")" "$json")"
  done <<'END'
update_seconds 1000 time of an update, ms
update_peak_rss_mb 1 peak memory, MB
goal_seconds_own 1 time to equal gold reward, own, s
goal_seconds 1 time to equal gold reward with what comes before, s
goal_tokens_sampled 0.001 tokens sampled for it, thousands
goal_tokens_trained 0.001 tokens trained for it, thousands
END
}

measure_compare() {
  demo_missing compare && return 0
  local runs=1
  local begin end
  begin=$(date +%s.%N)
  "$bin/align" compare examples/stories/compare.textproto --jobs "$threads" \
    --out "$work/stories" base.path="$stories" prompts.texts="$texts" \
    gold.lexicon="$lexicon" > /dev/null 2>&1
  end=$(date +%s.%N)
  row "align compare on the stories: SFT, best-of-n, DPO, RSO, PPO" \
    "$(jq -n "$end - $begin")" 60 "s" \
    "by stage: $(cd "$work/stories/stages" && grep -H '^seconds' \
      */stage.textproto | sed 's|/stage.textproto:seconds: | |' |
      awk '{printf "%s%s %.1f", (NR > 1 ? ", " : ""), $1, $2}')"
}

# A step of decoding is hundreds of short products: with threads that sleep
# between them oneDNN itself would be several times slower than it can be.
measure_decode_in() {  # PRECISION
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

measure_decode() {
  measure_decode_in f32
  measure_decode_in bf16
  if ! command -v llama-bench > /dev/null; then
    missing+=("llama.cpp: llama-bench is not on PATH: git clone https://github.com/ggml-org/llama.cpp && cmake -S llama.cpp -B llama.cpp/build && cmake --build llama.cpp/build --target llama-bench")
  elif [[ -z $gguf ]]; then
    missing+=("llama.cpp: name a model of the same shape with --gguf (align export)")
  else
    llama-bench -m "$gguf" -p 0 -n 32 -t "$threads" -o md >&2
  fi
}

missing=()
for part in "${parts[@]}"; do
  if [[ -z $only || $only == "$part" ]]; then "measure_$part"; fi
done

matmul=$("$bin/align" --version)
machine=$(jq -n \
  --arg cpu "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" \
  --argjson threads "$threads" --arg matmul "$matmul" \
  '{machine: $cpu, threads: $threads, matmul: $matmul}')
old=$(cat bench/results.json 2> /dev/null || echo '{}')
table=
[[ -e $work/methods.txt ]] && table=$(< "$work/methods.txt")
# In the order of the parts; old rows where there are no new ones.
jq -s --argjson machine "$machine" --argjson old "$old" --arg table "$table" \
  --arg parts "${parts[*]}" '
  . as $new
  | ($old | if {machine, threads, matmul} == $machine then . else {} end) as $old
  | $machine + {
      rows: [($parts | split(" "))[] as $part
        | ($new | map(select(.part == $part))) as $these
        | if $these == [] then $old.rows // [] | map(select(.part == $part))
          else $these end | .[]],
      methods: (if $table == "" then $old.methods else $table end)}' \
  "$rows" > "$work/results.json"
mv "$work/results.json" bench/results.json
jq -r '
  def two: . * 100 | round / 100;
  "\(.machine), \(.threads) threads, \(.matmul); medians.",
  "", "| work | measured | target | | min to max | runs, date |",
  "|---|---|---|---|---|---|",
  (.rows[] | "| \(.what) | \(.value | two) \(.unit) | \(.target // "-") | \(
     if .pass == null then "-" elif .pass then "pass" else "falls short" end
     ) | \(.note) | \(.runs), \(.date) |"),
  (.methods // empty |
    "", "DPO against PPO on the demo task:", "", "```", ., "```")
  ' bench/results.json > bench/results.md
cat bench/results.md
if [[ -n $torch_missing && ${only:-dpo} =~ ^(dpo|sft|memory)$ ]]; then
  missing+=("rows beside PyTorch: $torch_missing")
fi
for what in "${missing[@]}"; do
  printf '\nleft out: %s\n' "$what" >&2
done
