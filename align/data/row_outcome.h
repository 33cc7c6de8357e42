#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace align {

// What a row's fields say it is.
enum class RowShape {
  kPreference,        // prompt, chosen, rejected: texts or lists of messages
  kTranscripts,       // chosen, rejected: whole conversations, as in HH-RLHF
  kShareGptPair,      // conversations, chosen, rejected
  kPromptCompletion,  // prompt, completion
  kMessages,          // messages
  kShareGpt,          // conversations
  kAlpaca,            // instruction, output, with input and system if present
  kText,              // text
  kPrompt,            // prompt
  kLabelled,          // prompt, completion, label
  kLabelledMessages,  // messages or conversations, label
  kQuestion,          // question, answer
};
inline constexpr int kRowShapes = 12;
std::string_view ShapeName(RowShape shape);

// Why a row is not taken.
enum class DropReason {
  kBadJson,
  kNotUtf8,
  kTooLong,
  kUnknownShape,
  kBadField,
  kNoCommonPrompt,
  kFurtherTurn,
  kEmptyPrompt,
  kEmptyReply,
  kEmptyText,
  kIdentical,
  kNoReply,
};
inline constexpr int kDropReasons = 12;
std::string_view DropReasonName(DropReason reason);

// A row that is not taken.
struct Drop {
  DropReason reason;
  std::string detail;  // what exactly, where the reason alone does not say
};

}  // namespace align
