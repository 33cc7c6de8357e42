#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "align/ops/packed_batch.h"

namespace align {

// Tokens to learn: every scored token of every sequence.
struct SftBatch {
  PackedBatch packed;
  std::vector<std::string> ids;  // of the records, one a sequence
};

// Pairs of replies: sequence 2i is the chosen one of pair i, 2i + 1 the
// rejected one, both on one prompt segment or each on its own.
struct PreferenceBatch {
  PackedBatch packed;
  std::vector<std::string> ids;  // of the records, one a pair
  std::vector<double> margins;   // one a pair, in reward units; 0: none
  // One a pair where a sample of the policy meets one of the reference: 1 if
  // the policy's is the chosen one. Empty for other pairs.
  std::vector<uint8_t> policy_won;

  int64_t pairs() const { return packed.sequences / 2; }
};

// Single replies that are judged on their own. Sequence i < rows() is the reply
// of row i on its prompt. If `mismatched`, sequence rows() + i is another row's
// reply on the prompt of row i (KTO estimates its KL from them).
struct UnpairedBatch {
  PackedBatch packed;
  std::vector<std::string> ids;        // of the records, one a row
  std::vector<uint8_t> desirable;      // one a row
  std::vector<double> density_ratios;  // one a row; see UnpairedExample
  bool mismatched = false;

  int64_t rows() const { return static_cast<int64_t>(ids.size()); }
};

// Prompts to sample replies to.
struct PromptBatch {
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::string> ids;
  std::vector<uint64_t> numbers;          // random stream of each prompt
  std::vector<std::string> answers = {};  // one a prompt, or none; empty: no
};

}  // namespace align
