#include "align/data/row_converter.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "align/base/check.h"
#include "align/data/json_messages.h"
#include "align/data/preference_split.h"
#include "align/data/row_reader.h"
#include "proto/records.pb.h"

namespace align {
namespace {

using Outcome = std::optional<Drop>;
using Messages = std::vector<pb::Message>;
using simdjson::dom::element;
using simdjson::dom::object;

static_assert(RowReader::kPaddingBytes >= simdjson::SIMDJSON_PADDING);

void AddMessages(const Messages& turns, pb::Prompt& prompt) {
  for (const pb::Message& turn : turns) *prompt.add_messages() = turn;
}

// Alpaca's instruction with its input, as one user's turn.
Outcome ReadInstruction(const object& row, Messages& out) {
  const auto add = [&](const char* key, const char* role) -> Outcome {
    const auto value = FindField(row, key);
    std::string_view text;
    if (!value) return std::nullopt;
    if (value->get(text) != simdjson::SUCCESS) return BadField(key, "a text");
    if (IsBlank(text)) return std::nullopt;
    if (!out.empty() && out.back().role() == role) {
      out.back().mutable_content()->append("\n").append(text);
      return std::nullopt;
    }
    out.emplace_back().set_role(role);
    out.back().set_content(std::string(text));
    return std::nullopt;
  };
  for (const auto& [key, role] :
       {std::pair("system", "system"), std::pair("instruction", "user"),
        std::pair("input", "user")}) {
    if (auto drop = add(key, role)) return drop;
  }
  if (out.empty() || out.back().role() != "user") {
    return Drop{DropReason::kEmptyPrompt, ""};
  }
  return std::nullopt;
}

Outcome ReadPair(const object& row, RowShape& shape, pb::PreferencePair& pair) {
  const element chosen = *FindField(row, "chosen");
  const element rejected = *FindField(row, "rejected");
  std::string_view chosen_text, rejected_text, prompt_text;
  const bool texts = chosen.get(chosen_text) == simdjson::SUCCESS &&
                     rejected.get(rejected_text) == simdjson::SUCCESS;
  const auto conversations = FindField(row, "conversations");
  const auto prompt = FindField(row, "prompt");
  const bool alpaca =
      !conversations && !prompt && FindField(row, "instruction");
  shape = conversations ? RowShape::kShareGptPair : RowShape::kPreference;
  Messages turns;
  if (conversations) {
    if (auto drop = ReadMessages("conversations", *conversations, turns)) {
      return drop;
    }
  } else if (alpaca) {
    if (auto drop = ReadInstruction(row, turns)) return drop;
  } else if (!prompt) {
    shape = RowShape::kTranscripts;
    if (texts) return SplitTranscripts(chosen_text, rejected_text, pair);
  } else if (prompt->get(prompt_text) == simdjson::SUCCESS) {
    if (texts) {
      return JoinTexts(prompt_text, chosen_text, rejected_text, pair);
    }
    turns.emplace_back().set_role("user");
    turns.back().set_content(std::string(prompt_text));
  } else if (auto drop = ReadMessages("prompt", *prompt, turns)) {
    return drop;
  }
  const auto read = [&](const char* key, const element& value,
                        Messages& out) -> Outcome {
    std::string_view text;
    if (value.get(text) != simdjson::SUCCESS) {
      return ReadMessages(key, value, out);
    }
    out.emplace_back().set_role("assistant");
    out.back().set_content(std::string(text));
    return std::nullopt;
  };
  Messages chosen_turns, rejected_turns;
  if (auto drop = read("chosen", chosen, chosen_turns)) return drop;
  if (auto drop = read("rejected", rejected, rejected_turns)) return drop;
  return SplitConversations(turns, std::move(chosen_turns),
                            std::move(rejected_turns), pair);
}

// A plain text, or a list of messages.
Outcome ReadPrompt(const element& value, pb::Prompt& prompt) {
  std::string_view text;
  if (value.get(text) == simdjson::SUCCESS) {
    prompt.set_text(std::string(text));
  } else {
    Messages turns;
    if (auto drop = ReadMessages("prompt", value, turns)) return drop;
    AddMessages(turns, prompt);
  }
  return CheckPrompt(prompt);
}

Outcome ReadConversation(std::string_view key, const element& value,
                         pb::SftExample& example) {
  Messages turns;
  if (auto drop = ReadMessages(key, value, turns)) return drop;
  bool replies = false;
  for (const pb::Message& turn : turns) {
    if (turn.role() == "assistant") {
      replies = true;
      if (IsBlank(turn.content()) && turn.fields().empty()) {
        return Drop{DropReason::kEmptyReply, ""};
      }
    }
    *example.add_messages() = turn;
  }
  if (!replies) return Drop{DropReason::kNoReply, ""};
  return std::nullopt;
}

// `Example` has a completion.
template <class Example>
Outcome ReadCompletion(std::string_view key, const element& value,
                       Example& example) {
  std::string_view text;
  if (value.get(text) == simdjson::SUCCESS) {
    example.set_completion(std::string(text));
  } else {
    Messages turns;
    if (auto drop = ReadMessages(key, value, turns)) return drop;
    if (turns.empty()) return Drop{DropReason::kEmptyReply, ""};
    if (turns.size() > 1) return Drop{DropReason::kFurtherTurn, ""};
    if (turns[0].role() != "assistant") return Drop{DropReason::kNoReply, ""};
    example.set_completion(turns[0].content());
  }
  if (IsBlank(example.completion())) return Drop{DropReason::kEmptyReply, ""};
  return std::nullopt;
}

// The key of the row's label, if it has one.
const char* LabelKey(const object& row) {
  for (const char* key : {"label", "kto_tag"}) {
    if (FindField(row, key)) return key;
  }
  return nullptr;
}

// true or false, or 1 or 0.
Outcome ReadLabel(const char* key, const element& value,
                  pb::UnpairedExample& example) {
  bool flag = false;
  int64_t number = 0;
  if (value.get(flag) != simdjson::SUCCESS) {
    if (value.get(number) != simdjson::SUCCESS ||
        (number != 0 && number != 1)) {
      return BadField(key, "true or false");
    }
    flag = number == 1;
  }
  example.set_label(flag);
  return std::nullopt;
}

Outcome ReadDensityRatio(const object& row, pb::UnpairedExample& example) {
  const auto value = FindField(row, "density_ratio");
  double ratio = 0;
  if (!value) return std::nullopt;
  if (value->get(ratio) != simdjson::SUCCESS || !(ratio > 0)) {
    return BadField("density_ratio", "a number above 0");
  }
  example.set_density_ratio(ratio);
  return std::nullopt;
}

// All but the last message, an assistant's, are the prompt.
Outcome ReadLabelledMessages(std::string_view key, const element& value,
                             pb::UnpairedExample& example) {
  Messages turns;
  if (auto drop = ReadMessages(key, value, turns)) return drop;
  if (turns.empty() || turns.back().role() != "assistant") {
    return Drop{DropReason::kNoReply, ""};
  }
  example.set_completion(turns.back().content());
  turns.pop_back();
  if (turns.empty()) return Drop{DropReason::kEmptyPrompt, ""};
  AddMessages(turns, *example.mutable_prompt());
  return CheckPrompt(example.prompt());
}

// The text of an `id`, or of the number that it is.
std::string ReadId(const object& row) {
  const auto value = FindField(row, "id");
  if (!value) return "";
  std::string_view text;
  int64_t number = 0;
  if (value->get(text) == simdjson::SUCCESS) return std::string(text);
  if (value->get(number) == simdjson::SUCCESS) return std::to_string(number);
  return "";
}

Outcome ReadPreference(const object& row, RowShape& shape, pb::Record& record) {
  auto& pair = *record.mutable_preference();
  if (auto drop = ReadPair(row, shape, pair)) return drop;
  if (const auto tools = FindField(row, "tools"); tools && tools->is_array()) {
    pair.mutable_prompt()->set_tools(simdjson::minify(*tools));
  }
  double margin = 0;
  if (const auto value = FindField(row, "margin")) {
    if (value->get(margin) != simdjson::SUCCESS) {
      return BadField("margin", "a number");
    }
    pair.set_margin(margin);
  }
  pair.set_id(ReadId(row));
  return CheckPair(pair);
}

Outcome ReadSft(const object& row, RowShape& shape, pb::Record& record) {
  auto& example = *record.mutable_sft();
  example.set_id(ReadId(row));
  if (const auto tools = FindField(row, "tools"); tools && tools->is_array()) {
    example.set_tools(simdjson::minify(*tools));
  }
  if (const auto messages = FindField(row, "messages")) {
    shape = RowShape::kMessages;
    return ReadConversation("messages", *messages, example);
  }
  if (const auto turns = FindField(row, "conversations")) {
    shape = RowShape::kShareGpt;
    return ReadConversation("conversations", *turns, example);
  }
  if (const auto completion = FindField(row, "completion")) {
    shape = RowShape::kPromptCompletion;
    if (auto drop =
            ReadPrompt(*FindField(row, "prompt"), *example.mutable_prompt())) {
      return drop;
    }
    return ReadCompletion("completion", *completion, example);
  }
  shape = RowShape::kAlpaca;
  Messages turns;
  if (auto drop = ReadInstruction(row, turns)) return drop;
  AddMessages(turns, *example.mutable_prompt());
  return ReadCompletion("output", *FindField(row, "output"), example);
}

Outcome ReadUnpaired(const object& row, const char* label, RowShape& shape,
                     pb::Record& record) {
  auto& example = *record.mutable_unpaired();
  example.set_id(ReadId(row));
  if (auto drop = ReadLabel(label, *FindField(row, label), example)) {
    return drop;
  }
  Outcome drop = ReadDensityRatio(row, example);
  if (drop) return drop;
  if (const auto completion = FindField(row, "completion")) {
    shape = RowShape::kLabelled;
    drop = ReadPrompt(*FindField(row, "prompt"), *example.mutable_prompt());
    return drop ? drop : ReadCompletion("completion", *completion, example);
  }
  if (const auto output = FindField(row, "output")) {
    shape = RowShape::kLabelled;
    Messages turns;
    if ((drop = ReadInstruction(row, turns))) return drop;
    AddMessages(turns, *example.mutable_prompt());
    return ReadCompletion("output", *output, example);
  }
  shape = RowShape::kLabelledMessages;
  const char* key = FindField(row, "messages") ? "messages" : "conversations";
  drop = ReadLabelledMessages(key, *FindField(row, key), example);
  if (!drop && IsBlank(example.completion())) {
    return Drop{DropReason::kEmptyReply, ""};
  }
  return drop;
}

// A text, or a number as it is written shortest.
Outcome ReadAnswer(const element& value, std::string& answer) {
  std::string_view text;
  int64_t whole = 0;
  if (value.get(text) == simdjson::SUCCESS) {
    answer = std::string(text);
  } else if (value.get(whole) == simdjson::SUCCESS) {
    answer = std::to_string(whole);
  } else if (value.is_number()) {
    answer = simdjson::minify(value);
  } else {
    return BadField("answer", "a text or a number");
  }
  return std::nullopt;
}

Outcome ReadPromptAlone(const object& row, RowShape& shape,
                        pb::PromptRecord& record) {
  record.set_id(ReadId(row));
  pb::Prompt& prompt = *record.mutable_prompt();
  if (const auto answer = FindField(row, "answer")) {
    if (auto drop = ReadAnswer(*answer, *record.mutable_answer())) return drop;
  }
  if (const auto value = FindField(row, "prompt")) {
    shape = RowShape::kPrompt;
    if (auto drop = ReadPrompt(*value, prompt)) return drop;
    if (prompt.messages_size() > 0 || !prompt.text().empty()) {
      return std::nullopt;
    }
    return Drop{DropReason::kEmptyPrompt, ""};
  }
  shape = RowShape::kQuestion;
  std::string_view question;
  if (FindField(row, "question")->get(question) != simdjson::SUCCESS) {
    return BadField("question", "a text");
  }
  if (IsBlank(question)) return Drop{DropReason::kEmptyPrompt, ""};
  pb::Message& turn = *prompt.add_messages();
  turn.set_role("user");
  turn.set_content(std::string(question));
  return std::nullopt;
}

Drop UnknownShape(const object& row) {
  std::string keys;
  for (const auto field : row) {
    if (keys.size() > 80) {
      keys += ", ...";
      break;
    }
    if (!keys.empty()) keys.append(", ");
    keys.append(field.key.substr(0, 40));
  }
  return {DropReason::kUnknownShape, "fields: " + keys};
}

Outcome ReadRow(const object& row, RowShape& shape, pb::Record& record) {
  const auto has = [&](const char* key) {
    return FindField(row, key).has_value();
  };
  if (has("chosen") && has("rejected")) {
    return ReadPreference(row, shape, record);
  }
  const bool sft = has("messages") || has("conversations") ||
                   (has("prompt") && has("completion")) ||
                   (has("instruction") && has("output"));
  if (has("chosen") || has("rejected")) return UnknownShape(row);
  if (const char* label = LabelKey(row); sft && label != nullptr) {
    return ReadUnpaired(row, label, shape, record);
  }
  if (sft) return ReadSft(row, shape, record);
  if (has("prompt") || (has("question") && has("answer"))) {
    return ReadPromptAlone(row, shape, *record.mutable_prompt());
  }
  const auto value = FindField(row, "text");
  if (!value) return UnknownShape(row);
  shape = RowShape::kText;
  std::string_view text;
  if (value->get(text) != simdjson::SUCCESS) return BadField("text", "a text");
  if (IsBlank(text)) return Drop{DropReason::kEmptyText, ""};
  record.mutable_text()->set_id(ReadId(row));
  record.mutable_text()->set_text(std::string(text));
  return std::nullopt;
}

}  // namespace

struct RowConverter::State {
  simdjson::dom::parser parser;
};

RowConverter::RowConverter(int max_depth) : state_(std::make_unique<State>()) {
  const auto error = state_->parser.allocate(
      1 << 16, static_cast<size_t>(std::max(max_depth, 1)));
  ALIGN_CHECK(error == simdjson::SUCCESS) << "[RowConverter] out of memory";
}
RowConverter::RowConverter(RowConverter&&) noexcept = default;
RowConverter& RowConverter::operator=(RowConverter&&) noexcept = default;
RowConverter::~RowConverter() = default;

RowOutcome RowConverter::Convert(std::string_view text, pb::Record& record) {
  record.Clear();
  RowOutcome outcome;
  element root;
  const auto error =
      state_->parser
          .parse(text.data(), text.size(), /*realloc_if_needed=*/false)
          .get(root);
  object row;
  if (error != simdjson::SUCCESS) {
    outcome.drop =
        simdjson::validate_utf8(text.data(), text.size())
            ? Drop{DropReason::kBadJson, simdjson::error_message(error)}
            : Drop{DropReason::kNotUtf8, ""};
  } else if (root.get(row) != simdjson::SUCCESS) {
    outcome.drop = Drop{DropReason::kUnknownShape, "not an object"};
  } else {
    outcome.drop = ReadRow(row, outcome.shape, record);
  }
  return outcome;
}

}  // namespace align
