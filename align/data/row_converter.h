#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "align/data/row_outcome.h"

namespace align {

namespace pb {
class Record;
}  // namespace pb

// The outcome of one row.
struct RowOutcome {
  RowShape shape = RowShape::kText;  // if taken
  std::optional<Drop> drop;          // if not
};

// Turns rows into records. Owns a parser that it uses again for every row; one
// thread at a time.
//
// Transcripts are split at the last "\n\nAssistant:" that both share, which
// ends the prompt; prompt and reply joined are the transcript again, to the
// byte. If what is left of either side holds a further turn ("\n\nHuman:" or
// "\n\nAssistant:"), the two do not answer the same last prompt:
// kNoCommonPrompt (16 rows of HH-RLHF's three base test files). Message lists
// likewise: all but the last message, an assistant's, must be the same on both
// sides.
//
// A reply that is blank, two equal replies, and conversations without an
// assistant's turn teach nothing and are dropped. An empty `prompt` beside
// replies is taken: they are texts from nothing.
//
// A `label` (true or false, 1 or 0; LLaMA-Factory's `kto_tag` too) beside a
// prompt and a completion, or beside messages that end with the assistant's,
// makes the row an unpaired example: half of those replies are to be avoided.
// A `density_ratio` (a number above 0) of its prompt is kept with it.
//
// An `answer` (a text or a number) beside a prompt alone is what replies are
// checked against. A `question` with an `answer`, as in GSM8K, is a user's
// turn and its answer.
class RowConverter {
 public:
  // Rows nested deeper than max_depth are bad JSON.
  explicit RowConverter(int max_depth);
  RowConverter(RowConverter&&) noexcept;
  RowConverter& operator=(RowConverter&&) noexcept;
  ~RowConverter();

  // Converts `text`, after which RowReader::kPaddingBytes may be read. Sets the
  // kind of `record`, and its id to the row's `id` (a text or an integer) if it
  // has one; `record` is unspecified if the row is not taken.
  RowOutcome Convert(std::string_view text, pb::Record& record);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace align
