#!/usr/bin/env bash
# Makes examples/reviews/policy and examples/reviews/gold again: see --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"

usage() {
  cat <<'END'
Usage: examples/reviews/make.sh IMDB_DIR [WORK_DIR]

Trains the review writer and its judge on the Large Movie Review Dataset (Maas
et al. 2011) and prints what they reach on its test half:
  IMDB_DIR   holds imdb_train.jsonl.gz and imdb_test.jsonl.gz, rows with `text`
             and `label` (1: positive, 0: negative)
  WORK_DIR   where everything in between stays (default: results/reviews)

Run again after an interruption, it goes on where it was. Ends by writing
examples/reviews/policy and examples/reviews/gold, with their cards.
END
}

case ${1-} in
  "" | --help | -h) usage; [[ -n ${1-} ]] && exit 0 || exit 2 ;;
esac
imdb=$(realpath "$1")
work=$(realpath -m "${2-$project_root/results/reviews}")
here=$project_root/examples/reviews
align=$build_dir/bin/align
for half in train test; do
  [[ -r $imdb/imdb_$half.jsonl.gz ]] ||
    die "no $imdb/imdb_$half.jsonl.gz; IMDB_DIR should hold it"
done
mkdir -p "$work"

# once FILE COMMAND...: runs the command, which writes "$partial", unless FILE
# is there.
once() {
  local file=$1
  shift
  [[ -e $file ]] && { echo "$(basename "$file"): done before"; return; }
  rm -rf "$file.partial"
  partial=$file.partial "$@"
  mv "$file.partial" "$file"
}

# rows HALF FILTER: rows of one half through a jq filter.
rows() { zcat "$imdb/imdb_$1.jsonl.gz" | jq -c "${@:2}"; }

# The first review of each label, then the second, ...: every pair six times,
# from the start, the first 240 characters, and 520 from further on, so that the
# judge learns from more of each review than its first 128 tokens, and at any
# length.
pairs() {
  paste <(rows "$1" 'select(.label == 1).text') \
    <(rows "$1" 'select(.label == 0).text') |
    jq -cR 'split("\t") | map(fromjson)
      | ., map(.[:240]), ((260, 520, 1040) as $from | map(.[$from:$from + 520])),
        map(.[-520:])
      | select(all(length > 40))
      | {prompt: "", chosen: .[0], rejected: .[1]}' >"$partial"
}

labels() {
  rows test '{prompt: "", completion: .text, label: (.label == 1)}' >"$partial"
}

import() { "$align" import "$1" --out "$partial"; }

# The model keeps the names that spm_train was given: no paths in them.
tokenizer() {
  mkdir "$partial"
  rows train -r .text >"$partial/train.txt"
  (cd "$partial" && spm_train --input=train.txt --model_prefix=tokenizer \
    --vocab_size=4096 --model_type=bpe --byte_fallback=true \
    --character_coverage=0.9995 --normalization_rule_name=identity \
    --minloglevel=1 && rm train.txt)
}

# evaluate MODEL RECORDS ARGUMENT...: what `align eval` prints.
evaluate() { "$align" eval "$@" | tee "$partial"; }

phase "[1/8] packages and build"
install_packages install "${build_packages[@]}" jq sentencepiece
configure_release
cmake --build "$build_dir" --target align_program

phase "[2/8] records"
once "$work/train.tfrecord" import "$imdb/imdb_train.jsonl.gz"
once "$work/test.tfrecord" import "$imdb/imdb_test.jsonl.gz"
once "$work/pairs.jsonl" pairs train
once "$work/pairs.tfrecord" import "$work/pairs.jsonl"
once "$work/labels.jsonl" labels
once "$work/labels.tfrecord" import "$work/labels.jsonl"

phase "[3/8] tokenizer"
once "$work/tokenizer" tokenizer

phase "[4/8] writer, first pass"
[[ -e $work/first_pass/model ]] ||
  "$align" train "$here/writer.textproto" --out "$work/first_pass" \
    "model.tokenizer=$work/tokenizer" "data.train=$work/train.tfrecord"

phase "[5/8] writer, second pass"
[[ -e $work/writer/model ]] ||
  "$align" train "$here/writer_again.textproto" --out "$work/writer" \
    "model.path=$work/first_pass/model" "data.train=$work/train.tfrecord"

phase "[6/8] judge"
[[ -e $work/gold/model ]] ||
  "$align" train "$here/gold.textproto" --out "$work/gold" \
    "model.path=$work/writer/model" "data.train=$work/pairs.tfrecord"

phase "[7/8] figures on imdb_test"
once "$work/writer.txt" evaluate "$work/writer/model" "$work/test.tfrecord"
once "$work/gold.txt" evaluate "$work/gold/model" "$work/labels.tfrecord" \
  --max-length 128

phase "[8/8] models and cards"
"$here/cards.sh" "$align" "$work"
for model in writer:policy gold:gold; do
  rm -rf "$here/${model#*:}"
  cp -r "$work/${model%:*}/model" "$here/${model#*:}"
done
ls -l "$here/policy" "$here/gold"
cat "$work/writer.txt" "$work/gold.txt"
