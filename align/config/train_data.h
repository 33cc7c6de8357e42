#pragma once

#include <vector>

#include "align/base/status.h"
#include "align/data/examples.h"

namespace align::pb {
class DataConfig;
}  // namespace align::pb

namespace align {

// The examples of all files of data.train, in order; texts are cut into blocks.
// What was dropped or truncated is logged. Errors are those of reading and
// tokenising; kInvalidArgument when nothing is left.
absl::StatusOr<std::vector<SftExample>> ReadSftExamples(
    const pb::DataConfig& data, const Tokenizer& tokenizer);
absl::StatusOr<std::vector<PairExample>> ReadPairExamples(
    const pb::DataConfig& data, const Tokenizer& tokenizer);
// The same as ReadSftExamples, and prompts (also those of pairs) without a
// reply.
absl::StatusOr<std::vector<SftExample>> ReadDistillationExamples(
    const pb::DataConfig& data, const Tokenizer& tokenizer);
// Labelled replies, and pairs taken apart.
absl::StatusOr<std::vector<UnpairedExample>> ReadUnpairedExamples(
    const pb::DataConfig& data, const Tokenizer& tokenizer);
// Of these, max_prompt_length alone counts.
absl::StatusOr<std::vector<PromptExample>> ReadPromptExamples(
    const pb::DataConfig& data, const Tokenizer& tokenizer);

}  // namespace align
