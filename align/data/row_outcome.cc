#include "align/data/row_outcome.h"

namespace align {

std::string_view ShapeName(RowShape shape) {
  switch (shape) {
    case RowShape::kPreference:
      return "prompt, chosen, rejected";
    case RowShape::kTranscripts:
      return "chosen and rejected transcripts";
    case RowShape::kShareGptPair:
      return "conversations, chosen, rejected";
    case RowShape::kPromptCompletion:
      return "prompt, completion";
    case RowShape::kMessages:
      return "messages";
    case RowShape::kShareGpt:
      return "conversations";
    case RowShape::kAlpaca:
      return "instruction, output";
    case RowShape::kText:
      return "text";
    case RowShape::kPrompt:
      return "prompt";
    case RowShape::kLabelled:
      return "prompt, completion, label";
    case RowShape::kLabelledMessages:
      return "messages, label";
    case RowShape::kQuestion:
      return "question, answer";
  }
  return "";
}

std::string_view DropReasonName(DropReason reason) {
  switch (reason) {
    case DropReason::kBadJson:
      return "bad JSON";
    case DropReason::kNotUtf8:
      return "not UTF-8";
    case DropReason::kTooLong:
      return "row too long";
    case DropReason::kUnknownShape:
      return "unknown shape";
    case DropReason::kBadField:
      return "bad field";
    case DropReason::kNoCommonPrompt:
      return "no common prompt";
    case DropReason::kFurtherTurn:
      return "a further turn inside a reply";
    case DropReason::kEmptyPrompt:
      return "empty prompt";
    case DropReason::kEmptyReply:
      return "empty reply";
    case DropReason::kEmptyText:
      return "empty text";
    case DropReason::kIdentical:
      return "chosen equals rejected";
    case DropReason::kNoReply:
      return "no assistant turn";
  }
  return "";
}

}  // namespace align
