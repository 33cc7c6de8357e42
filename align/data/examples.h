#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/text/chat_replies.h"
#include "align/text/tokenizer.h"

// Records as token ids, ready to be batched. The rules, the same for all kinds:
//
// - Prompt and reply are encoded apart and joined as ids: the prompt by Encode,
//   the reply by Tokenizer::EncodeContinuation, so that no token spans the
//   boundary and a prompt has the same ids whatever follows it.
// - BOS stands once, before a prompt of plain text, if the tokenizer has one.
// - EOS ends each reply to a plain text (append_eos), if the tokenizer has one.
// - Conversations are rendered by the model's chat template, which alone says
//   where BOS and the marks of turns stand, and no message can forge these. A
//   prompt of messages ends in the assistant's header; a reply to it is what
//   the template then adds.
// - A prompt over max_prompt_length keeps its BOS and its *end*.
// - A reply that does not fit in max_length keeps its *start* and has no EOS.
// - An example is dropped, and counted, when nothing of a reply is left, or
//   when its prompt is empty and there is no BOS to stand for it.

namespace align::pb {
class Record;
}  // namespace align::pb

namespace align {

struct TokenizeOptions {
  int64_t max_length = 1024;      // tokens of prompt, reply and EOS; >= 2
  int64_t max_prompt_length = 0;  // tokens with BOS; 0: no limit of its own
  int64_t block_length = 256;     // tokens of a block of free text; >= 2
  bool append_eos = true;
  // See FindChatTemplate; empty: the tokenizer's own, or else "hh".
  std::string chat_template;
  ChatReplies replies = ChatReplies::kAll;  // of SFT conversations
  std::optional<int64_t> chat_time;         // see ChatRenderOptions
};

// Two replies to one prompt, the first preferred.
struct PairExample {
  std::vector<int32_t> prompt;  // not empty
  std::vector<int32_t> chosen;
  std::vector<int32_t> rejected;
  double margin = 0;  // in reward units; 0: none
  std::string id;
};

// Tokens to learn after a context.
struct SftExample {
  std::vector<int32_t> prompt;  // not empty, never scored
  std::vector<int32_t> completion;
  std::vector<uint8_t> mask;  // one a completion token; empty: all are scored
  std::string id;
};

// One reply to a prompt, judged on its own.
struct UnpairedExample {
  std::vector<int32_t> prompt;  // not empty
  std::vector<int32_t> completion;
  bool desirable = false;
  std::string id;
  // Density of the prompt among desirable examples over that among undesirable
  // ones; empty: not known. Of pairs taken apart it is 1: both have all
  // prompts.
  std::optional<double> density_ratio = {};
};

struct PromptExample {
  std::vector<int32_t> prompt = {};  // not empty
  std::string id = {};
  uint64_t number = 0;  // index of the record: names its random stream
  std::string answer;   // the right one; empty: not known
};

// What became of the records.
struct TokenizeCounts {
  std::map<std::string, int64_t> dropped;  // by reason
  int64_t truncated_prompts = 0;           // of dropped examples too
  int64_t truncated_replies = 0;
};

template <class Example>
struct Tokenized {
  std::vector<Example> examples;  // in record order
  TokenizeCounts counts;
};

// Each function returns one example a record that is kept, in order. An
// example's id is its record's id, else its source, else "#<index>".
// kInvalidArgument names the record: a kind other than the expected one, or
// messages that the chat template refuses; also options out of range. Errors of
// the template are ChatTemplate's and RenderReplies'.

// Preference pairs.
absl::StatusOr<Tokenized<PairExample>> TokenizePairs(
    std::span<const pb::Record> records, const Tokenizer& tokenizer,
    const TokenizeOptions& options);

// SFT examples. With messages, the context before the first reply is the
// prompt; every reply is scored (or the last one) and what stands between
// replies is not. What follows the last reply is left out.
absl::StatusOr<Tokenized<SftExample>> TokenizeSft(
    std::span<const pb::Record> records, const Tokenizer& tokenizer,
    const TokenizeOptions& options);

// Unpaired records, and preference pairs taken apart: the chosen reply stands
// where the pair does, and the rejected replies of all pairs follow at the end
// (TRL's order), so that neighbours are not replies to one prompt. The ids of a
// pair's two examples end in "/chosen" and "/rejected"; a pair either of whose
// replies is empty is dropped whole.
absl::StatusOr<Tokenized<UnpairedExample>> TokenizeUnpaired(
    std::span<const pb::Record> records, const Tokenizer& tokenizer,
    const TokenizeOptions& options);

// Prompts: prompt records, or the prompts of preference pairs. Only
// max_prompt_length bounds them.
absl::StatusOr<Tokenized<PromptExample>> TokenizePrompts(
    std::span<const pb::Record> records, const Tokenizer& tokenizer,
    const TokenizeOptions& options);

// Free text. BOS, tokens and EOS of each text in record order make one stream,
// which is cut every block_length tokens. A block's first token is its prompt
// and the others are scored. The last block may be short; a last block of one
// token scores nothing and is left out. A block's id is that of the record its
// first token comes from. A text without tokens is dropped and counted.
absl::StatusOr<Tokenized<SftExample>> TokenizeTextBlocks(
    std::span<const pb::Record> records, const Tokenizer& tokenizer,
    const TokenizeOptions& options);

}  // namespace align
