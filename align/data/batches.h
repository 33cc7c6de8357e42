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

  int64_t pairs() const { return packed.sequences / 2; }
};

// Prompts to sample replies to.
struct PromptBatch {
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::string> ids;
  std::vector<uint64_t> numbers;  // random stream of each prompt
};

}  // namespace align
