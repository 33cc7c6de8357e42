#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/text/tokenizer.h"

// Records as token ids, ready to be batched. The rules, the same for all kinds:
//
// - Prompt and reply are encoded apart and joined as ids: the prompt by Encode,
//   the reply by Tokenizer::EncodeContinuation, so that no token spans the
//   boundary and a prompt has the same ids whatever follows it.
// - BOS stands once, before the prompt, if the tokenizer has one.
// - EOS ends each reply (append_eos), if the tokenizer has one.
// - Conversations are rendered by the chat format. A prompt of messages ends in
//   the assistant's header, and its replies get the format's reply prefix.
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
  std::string chat_format = "hh";  // see ChatFormat::Named
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
  // ones; 1: not estimated.
  double density_ratio = 1;
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
// kInvalidArgument names the record: a kind other than the expected one, or a
// role that the chat format does not know; also options out of range.
// kNotFound: no such chat format.

// Preference pairs.
absl::StatusOr<Tokenized<PairExample>> TokenizePairs(
    std::span<const pb::Record> records, const Tokenizer& tokenizer,
    const TokenizeOptions& options);

// SFT examples. With messages, the context before the first reply is the
// prompt; every reply is scored and what stands between replies is not. EOS
// follows the last reply, and what follows that is left out.
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
