#include "align/config/train_data.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "align/base/log.h"
#include "align/data/records.h"
#include "proto/config.pb.h"
#include "proto/records.pb.h"

namespace align {
namespace {

TokenizeOptions OptionsOf(const pb::DataConfig& data) {
  TokenizeOptions options;
  options.chat_template = data.chat_template();
  if (data.has_max_length()) options.max_length = data.max_length();
  if (data.has_max_prompt_length()) {
    options.max_prompt_length = data.max_prompt_length();
  }
  if (data.has_block_length()) options.block_length = data.block_length();
  if (data.has_append_eos()) options.append_eos = data.append_eos();
  return options;
}

// Which replies SFT learns.
absl::StatusOr<ChatReplies> RepliesOf(const pb::DataConfig& data) {
  if (!data.has_replies() || data.replies() == "all") return ChatReplies::kAll;
  if (data.replies() == "last") return ChatReplies::kLast;
  return InvalidArgument("data.replies: \"" + data.replies() +
                         "\"; all or last expected");
}

// The options of the other methods.
absl::StatusOr<TokenizeOptions> OptionsWithoutReplies(
    const pb::DataConfig& data) {
  if (!data.has_replies()) return OptionsOf(data);
  return InvalidArgument("data.replies: a key of method 'sft' alone");
}

void LogCounts(const std::string& path, size_t kept,
               const TokenizeCounts& counts) {
  std::string line = path + ": " + std::to_string(kept) + " examples";
  for (const auto& [reason, count] : counts.dropped) {
    line += ", dropped " + std::to_string(count) + " (" + reason + ")";
  }
  if (counts.truncated_prompts + counts.truncated_replies > 0) {
    line += ", truncated " + std::to_string(counts.truncated_prompts) +
            " prompts and " + std::to_string(counts.truncated_replies) +
            " replies";
  }
  LogInfo(line);
}

template <class Example, class Tokenize>
absl::StatusOr<std::vector<Example>> ReadExamples(const pb::DataConfig& data,
                                                  const Tokenize& tokenize) {
  std::vector<Example> examples;
  for (const std::string& path : data.train()) {
    ALIGN_ASSIGN_OR_RETURN(const std::vector<pb::Record> records,
                           ReadRecords(path));
    absl::StatusOr<Tokenized<Example>> tokenized = tokenize(records);
    if (!tokenized.ok()) return Annotate(tokenized.status(), path);
    LogCounts(path, tokenized->examples.size(), tokenized->counts);
    std::ranges::move(tokenized->examples, std::back_inserter(examples));
  }
  if (examples.empty()) {
    return InvalidArgument("data.train: no example left to train on");
  }
  return examples;
}

absl::StatusOr<Tokenized<SftExample>> TokenizeTextOrSft(
    const std::vector<pb::Record>& records, const Tokenizer& tokenizer,
    const TokenizeOptions& options) {
  const bool text = !records.empty() && records[0].has_text();
  return text ? TokenizeTextBlocks(records, tokenizer, options)
              : TokenizeSft(records, tokenizer, options);
}

}  // namespace

absl::StatusOr<std::vector<SftExample>> ReadSftExamples(
    const pb::DataConfig& data, const Tokenizer& tokenizer) {
  TokenizeOptions options = OptionsOf(data);
  ALIGN_ASSIGN_OR_RETURN(options.replies, RepliesOf(data));
  return ReadExamples<SftExample>(
      data, [&](const std::vector<pb::Record>& records) {
        return TokenizeTextOrSft(records, tokenizer, options);
      });
}

absl::StatusOr<std::vector<SftExample>> ReadDistillationExamples(
    const pb::DataConfig& data, const Tokenizer& tokenizer) {
  const TokenizeOptions options = OptionsOf(data);
  return ReadExamples<SftExample>(
      data,
      [&](const std::vector<pb::Record>& records)
          -> absl::StatusOr<Tokenized<SftExample>> {
        const bool prompts = !records.empty() && (records[0].has_prompt() ||
                                                  records[0].has_preference());
        if (!prompts) return TokenizeTextOrSft(records, tokenizer, options);
        ALIGN_ASSIGN_OR_RETURN(Tokenized<PromptExample> tokenized,
                               TokenizePrompts(records, tokenizer, options));
        Tokenized<SftExample> result{.counts = std::move(tokenized.counts)};
        for (PromptExample& example : tokenized.examples) {
          result.examples.push_back({.prompt = std::move(example.prompt),
                                     .id = std::move(example.id)});
        }
        return result;
      });
}

absl::StatusOr<std::vector<PairExample>> ReadPairExamples(
    const pb::DataConfig& data, const Tokenizer& tokenizer) {
  ALIGN_ASSIGN_OR_RETURN(const TokenizeOptions options,
                         OptionsWithoutReplies(data));
  return ReadExamples<PairExample>(
      data, [&](const std::vector<pb::Record>& records) {
        return TokenizePairs(records, tokenizer, options);
      });
}

absl::StatusOr<std::vector<UnpairedExample>> ReadUnpairedExamples(
    const pb::DataConfig& data, const Tokenizer& tokenizer) {
  ALIGN_ASSIGN_OR_RETURN(const TokenizeOptions options,
                         OptionsWithoutReplies(data));
  return ReadExamples<UnpairedExample>(
      data, [&](const std::vector<pb::Record>& records) {
        return TokenizeUnpaired(records, tokenizer, options);
      });
}

absl::StatusOr<std::vector<PromptExample>> ReadPromptExamples(
    const pb::DataConfig& data, const Tokenizer& tokenizer) {
  ALIGN_ASSIGN_OR_RETURN(const TokenizeOptions options,
                         OptionsWithoutReplies(data));
  return ReadExamples<PromptExample>(
      data, [&](const std::vector<pb::Record>& records) {
        return TokenizePrompts(records, tokenizer, options);
      });
}

}  // namespace align
