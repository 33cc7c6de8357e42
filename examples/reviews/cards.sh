#!/usr/bin/env bash
# cards.sh ALIGN WORK_DIR: writes the cards of both models (README.md in each)
# from the figures that make.sh measured and from samples as they come.
set -euo pipefail
align=$1
work=$2

source_of_data() {
  cat <<'END'
Trained on the 25,000 training reviews of the Large Movie Review Dataset: Andrew
L. Maas, Raymond E. Daly, Peter T. Pham, Dan Huang, Andrew Y. Ng and Christopher
Potts, *Learning Word Vectors for Sentiment Analysis*, ACL 2011,
<https://ai.stanford.edu/~amaas/data/sentiment/>. The data set states no licence;
none of its text is in this repository. Made by
`examples/reviews/make.sh IMDB_DIR` (an hour or so on 2 cores).
END
}

figures() { printf '```\n'; cat "$1"; printf '```\n'; }

{
  cat <<'END'
# The review writer

A Llama of 1.8 million parameters (7 layers, 128 wide, 4,096 SentencePiece
pieces, bf16 weights) that writes film reviews, good and bad. It is the policy
that `examples/demo.sh` aligns: small enough to train in minutes on a CPU,
pretrained enough to write sentences. It knows no facts and means nothing it
says; what it writes about real people and films is invented.

END
  source_of_data
  printf '\nOn the 25,000 test reviews, whole (`align eval`):\n\n'
  figures "$work/writer.txt"
  printf '\nFour samples as they come (temperature 0.7, seed 0, 96 tokens):\n'
  printf '\n```\n'
  "$align" sample "$work/writer/model" --prompt "" --samples 4 \
    --temperature 0.7 --max-new-tokens 96 | fold -s -w 78 | sed 's/ *$//'
  printf '```\n'
} >"$work/writer/model/README.md"

{
  cat <<'END'
# The judge

The review writer's trunk with a reward head (a sequence classifier with one
label): how positive a review is, from its first 128 tokens. It is the gold
reward of `examples/demo.sh`: a reward above 0 says "positive". It was trained on
pairs of a positive and a negative review with the Bradley-Terry loss, centred.
It judges tone, not truth, and it can be fooled by text that optimises for it,
which is part of what the comparison shows.

END
  source_of_data
  printf '\nOn the 25,000 test reviews, first 128 tokens (`align eval`):\n\n'
  figures "$work/gold.txt"
  printf '\nRewards of four lines:\n\n```\n'
  lines=("A wonderful film, warm and funny, with a superb cast."
    "I liked it more than I expected to."
    "The plot is thin and the acting is uneven."
    "The worst movie I have ever seen, a waste of time.")
  printf '%s\n' "${lines[@]}" |
    jq -cR '{prompt: "", completion: ., label: true}' >"$work/lines.jsonl"
  "$align" import "$work/lines.jsonl" --out "$work/lines.tfrecord" >/dev/null
  paste -d ' ' <("$align" eval "$work/gold/model" "$work/lines.tfrecord" \
    --each | grep -E '^[+-]' | cut -d ' ' -f 1) <(printf '%s\n' "${lines[@]}")
  printf '```\n'
} >"$work/gold/model/README.md"
