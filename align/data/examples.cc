#include "align/data/examples.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>

#include "proto/records.pb.h"

namespace align {
namespace {

using Ids = std::vector<int32_t>;

constexpr char kEmptyPrompt[] = "empty prompt";
constexpr char kEmptyReply[] = "empty reply";
constexpr char kEmptyText[] = "empty text";
constexpr char kNoReply[] = "no reply in the messages";
constexpr char kPromptTooLong[] = "prompt leaves no room for the reply";

std::string_view KindName(pb::Record::KindCase kind) {
  switch (kind) {
    case pb::Record::kPreference:
      return "preference pair";
    case pb::Record::kSft:
      return "SFT example";
    case pb::Record::kPrompt:
      return "prompt";
    case pb::Record::kText:
      return "free text";
    case pb::Record::kUnpaired:
      return "labelled reply";
    case pb::Record::KIND_NOT_SET:
      break;
  }
  return "record without a kind";
}

template <class Message>
std::string NameOf(const Message& message, size_t index) {
  if (!message.id().empty()) return message.id();
  if (!message.source().empty()) return message.source();
  std::string name = "#";
  name += std::to_string(index);
  return name;
}

absl::Status WrongKind(const pb::Record& record, size_t index,
                       std::string_view expected) {
  return InvalidArgument("record #" + std::to_string(index) + ": a " +
                         std::string(KindName(record.kind_case())) + "; a " +
                         std::string(expected) + " expected");
}

// `source` is a prompt or an SFT example.
template <class Source>
Conversation ConversationOf(const Source& source) {
  Conversation conversation;
  conversation.tools = source.tools();
  for (const pb::Message& message : source.messages()) {
    conversation.messages.push_back({.role = message.role(),
                                     .content = message.content(),
                                     .fields = message.fields()});
  }
  return conversation;
}

// A prompt's ids, and the conversation that it is if it is one.
struct PromptIds {
  Ids ids;
  std::optional<Conversation> conversation;
};

// Applies the rules of the header with one tokenizer and one set of options,
// and counts what it cut.
class RecordTokenizer {
 public:
  static absl::StatusOr<RecordTokenizer> Create(
      const Tokenizer& tokenizer, const TokenizeOptions& options) {
    if (options.max_length < 2 || options.block_length < 2 ||
        options.max_prompt_length < 0) {
      return InvalidArgument(
          "tokenize options: max_length " + std::to_string(options.max_length) +
          ", block_length " + std::to_string(options.block_length) +
          ", max_prompt_length " + std::to_string(options.max_prompt_length) +
          "; at least 2, 2 and 0 expected");
    }
    return RecordTokenizer(tokenizer, options);
  }

  TokenizeCounts& counts() { return counts_; }
  void Drop(const char* reason) { ++counts_.dropped[reason]; }

  // Ids are empty when the prompt is and there is no BOS.
  absl::StatusOr<PromptIds> Prompt(const pb::Prompt& prompt) {
    PromptIds result;
    if (prompt.messages().empty()) {
      result.ids = Context(prompt.text());
      return result;
    }
    result.conversation = ConversationOf(prompt);
    ALIGN_ASSIGN_OR_RETURN(const ChatTemplate* chat, Chat());
    ALIGN_ASSIGN_OR_RETURN(
        const MarkedText text,
        chat->Render(*result.conversation, {.add_generation_prompt = true,
                                            .time = options_.chat_time}));
    result.ids = EncodeChat(tokenizer_, text).ids;
    TruncateContext(&result.ids);
    return result;
  }

  // The reply's ids with the end of its turn or EOS, before truncation.
  absl::StatusOr<Ids> Reply(const PromptIds& prompt, const std::string& reply) {
    if (!prompt.conversation) {
      Ids ids = tokenizer_.EncodeContinuation(reply);
      AppendEos(&ids);
      return ids;
    }
    ALIGN_ASSIGN_OR_RETURN(const ChatTemplate* chat, Chat());
    ALIGN_ASSIGN_OR_RETURN(
        const MarkedText text,
        RenderReply(*chat, *prompt.conversation, reply, options_.chat_time));
    return tokenizer_.EncodeMarked(text, Tokenizer::Place::kInside);
  }

  // Cuts a reply to what max_length leaves after the prompt.
  void FitReply(const Ids& prompt, Ids* reply) {
    const int64_t room = std::max<int64_t>(
        options_.max_length - static_cast<int64_t>(prompt.size()), 0);
    if (static_cast<int64_t>(reply->size()) <= room) return;
    reply->resize(room);
    ++counts_.truncated_replies;
  }

  bool HasRoom(const Ids& prompt) const {
    return static_cast<int64_t>(prompt.size()) < options_.max_length;
  }

  // The conversation as one example; nullopt: dropped.
  absl::StatusOr<std::optional<SftExample>> Messages(
      const pb::SftExample& sft) {
    Conversation conversation = ConversationOf(sft);
    std::vector<ChatMessage>& messages = conversation.messages;
    while (!messages.empty() && messages.back().role != "assistant") {
      messages.pop_back();
    }
    if (messages.empty()) {
      Drop(kNoReply);
      return std::optional<SftExample>();
    }
    ALIGN_ASSIGN_OR_RETURN(const ChatTemplate* chat, Chat());
    ALIGN_ASSIGN_OR_RETURN(const MarkedText text,
                           RenderReplies(*chat, conversation, options_.replies,
                                         options_.chat_time));
    ChatTokens tokens = EncodeChat(tokenizer_, text);
    while (!tokens.ids.empty() && tokens.is_reply.back() == 0) {
      tokens.ids.pop_back();
      tokens.is_reply.pop_back();
    }
    if (tokens.ids.empty()) {
      Drop(kNoReply);
      return std::optional<SftExample>();
    }
    const auto first = std::ranges::find(tokens.is_reply, 1);
    const auto context = first - tokens.is_reply.begin();
    SftExample example;
    example.prompt.assign(tokens.ids.begin(), tokens.ids.begin() + context);
    TruncateContext(&example.prompt);
    example.completion.assign(tokens.ids.begin() + context, tokens.ids.end());
    example.mask.assign(first, tokens.is_reply.end());
    return Finish(std::move(example));
  }

  // `record` has a prompt and a completion.
  template <class Record>
  absl::StatusOr<std::optional<SftExample>> Completion(const Record& record) {
    ALIGN_ASSIGN_OR_RETURN(PromptIds prompt, Prompt(record.prompt()));
    SftExample example;
    ALIGN_ASSIGN_OR_RETURN(example.completion,
                           Reply(prompt, record.completion()));
    example.prompt = std::move(prompt.ids);
    return Finish(std::move(example));
  }

  // The pair without its id; nullopt: dropped.
  absl::StatusOr<std::optional<PairExample>> Pair(
      const pb::PreferencePair& pair) {
    ALIGN_ASSIGN_OR_RETURN(PromptIds prompt, Prompt(pair.prompt()));
    PairExample example;
    example.margin = pair.margin();
    ALIGN_ASSIGN_OR_RETURN(example.chosen, Reply(prompt, pair.chosen()));
    ALIGN_ASSIGN_OR_RETURN(example.rejected, Reply(prompt, pair.rejected()));
    example.prompt = std::move(prompt.ids);
    if (example.prompt.empty()) {
      Drop(kEmptyPrompt);
    } else if (example.chosen.empty() || example.rejected.empty()) {
      Drop(kEmptyReply);
    } else if (!HasRoom(example.prompt)) {
      Drop(kPromptTooLong);
    } else {
      FitReply(example.prompt, &example.chosen);
      FitReply(example.prompt, &example.rejected);
      return std::optional<PairExample>(std::move(example));
    }
    return std::optional<PairExample>();
  }

  // BOS, the text's tokens, EOS; empty when the text has no tokens.
  Ids Text(const std::string& text) const {
    const Ids body = tokenizer_.Encode(text);
    Ids ids;
    if (body.empty()) return ids;
    if (tokenizer_.bos_id()) ids.push_back(*tokenizer_.bos_id());
    ids.insert(ids.end(), body.begin(), body.end());
    AppendEos(&ids);
    return ids;
  }

 private:
  RecordTokenizer(const Tokenizer& tokenizer, const TokenizeOptions& options)
      : tokenizer_(tokenizer), options_(options) {}

  // The template, parsed when the first conversation needs it: records of
  // plain text do not depend on it.
  absl::StatusOr<const ChatTemplate*> Chat() {
    if (!chat_) {
      ALIGN_ASSIGN_OR_RETURN(
          chat_, MakeChatTemplate(tokenizer_, options_.chat_template));
    }
    return &*chat_;
  }

  void AppendEos(Ids* ids) const {
    if (options_.append_eos && tokenizer_.eos_id()) {
      ids->push_back(*tokenizer_.eos_id());
    }
  }

  // BOS and the end of the text, within max_prompt_length.
  Ids Context(const std::string& text) {
    const Ids body = tokenizer_.Encode(text);
    Ids ids;
    if (tokenizer_.bos_id()) ids.push_back(*tokenizer_.bos_id());
    ids.insert(ids.end(), body.begin(), body.end());
    TruncateContext(&ids);
    return ids;
  }

  // Leaves BOS, if it stands first, and the end, within max_prompt_length.
  void TruncateContext(Ids* ids) {
    if (options_.max_prompt_length == 0) return;
    const size_t limit = options_.max_prompt_length;
    if (ids->size() <= limit) return;
    ++counts_.truncated_prompts;
    const int64_t kept =
        tokenizer_.bos_id() && (*ids)[0] == *tokenizer_.bos_id() ? 1 : 0;
    const auto skipped = static_cast<int64_t>(ids->size() - limit);
    ids->erase(ids->begin() + kept, ids->begin() + kept + skipped);
  }

  std::optional<SftExample> Finish(SftExample example) {
    if (example.prompt.empty()) {
      Drop(kEmptyPrompt);
    } else if (example.completion.empty()) {
      Drop(kEmptyReply);
    } else if (!HasRoom(example.prompt)) {
      Drop(kPromptTooLong);
    } else {
      FitReply(example.prompt, &example.completion);
      std::vector<uint8_t>& mask = example.mask;
      mask.resize(std::min(mask.size(), example.completion.size()));
      if (mask.empty() || std::count(mask.begin(), mask.end(), 1) > 0) {
        return example;
      }
      Drop(kPromptTooLong);
    }
    return std::nullopt;
  }

  const Tokenizer& tokenizer_;
  TokenizeOptions options_;
  std::optional<ChatTemplate> chat_;
  TokenizeCounts counts_;
};

std::optional<double> DensityRatioOf(const pb::UnpairedExample& example) {
  if (!example.has_density_ratio()) return std::nullopt;
  return example.density_ratio();
}

absl::Status AtRecord(const absl::Status& status, const std::string& name) {
  return Annotate(status, "record " + name);
}

}  // namespace

absl::StatusOr<Tokenized<PairExample>> TokenizePairs(
    std::span<const pb::Record> records, const Tokenizer& tokenizer,
    const TokenizeOptions& options) {
  ALIGN_ASSIGN_OR_RETURN(RecordTokenizer rules,
                         RecordTokenizer::Create(tokenizer, options));
  Tokenized<PairExample> result;
  for (size_t i = 0; i < records.size(); ++i) {
    if (!records[i].has_preference()) {
      return WrongKind(records[i], i, "preference pair");
    }
    auto example = rules.Pair(records[i].preference());
    const std::string name = NameOf(records[i].preference(), i);
    if (!example.ok()) return AtRecord(example.status(), name);
    if (!example->has_value()) continue;
    (*example)->id = name;
    result.examples.push_back(**std::move(example));
  }
  result.counts = std::move(rules.counts());
  return result;
}

absl::StatusOr<Tokenized<UnpairedExample>> TokenizeUnpaired(
    std::span<const pb::Record> records, const Tokenizer& tokenizer,
    const TokenizeOptions& options) {
  ALIGN_ASSIGN_OR_RETURN(RecordTokenizer rules,
                         RecordTokenizer::Create(tokenizer, options));
  Tokenized<UnpairedExample> result;
  std::vector<UnpairedExample> rejected;
  for (size_t i = 0; i < records.size(); ++i) {
    const pb::Record& record = records[i];
    if (record.has_preference()) {
      const std::string name = NameOf(record.preference(), i);
      auto pair = rules.Pair(record.preference());
      if (!pair.ok()) return AtRecord(pair.status(), name);
      if (!pair->has_value()) continue;
      rejected.push_back({.prompt = (*pair)->prompt,
                          .completion = std::move((*pair)->rejected),
                          .desirable = false,
                          .id = name + "/rejected",
                          .density_ratio = 1});
      result.examples.push_back({.prompt = std::move((*pair)->prompt),
                                 .completion = std::move((*pair)->chosen),
                                 .desirable = true,
                                 .id = name + "/chosen",
                                 .density_ratio = 1});
    } else if (record.has_unpaired()) {
      const std::string name = NameOf(record.unpaired(), i);
      auto example = rules.Completion(record.unpaired());
      if (!example.ok()) return AtRecord(example.status(), name);
      if (!example->has_value()) continue;
      result.examples.push_back(
          {.prompt = std::move((*example)->prompt),
           .completion = std::move((*example)->completion),
           .desirable = record.unpaired().label(),
           .id = name,
           .density_ratio = DensityRatioOf(record.unpaired())});
    } else {
      return WrongKind(record, i, "labelled reply or preference pair");
    }
  }
  std::ranges::move(rejected, std::back_inserter(result.examples));
  result.counts = std::move(rules.counts());
  return result;
}

absl::StatusOr<Tokenized<SftExample>> TokenizeSft(
    std::span<const pb::Record> records, const Tokenizer& tokenizer,
    const TokenizeOptions& options) {
  ALIGN_ASSIGN_OR_RETURN(RecordTokenizer rules,
                         RecordTokenizer::Create(tokenizer, options));
  Tokenized<SftExample> result;
  for (size_t i = 0; i < records.size(); ++i) {
    if (!records[i].has_sft()) return WrongKind(records[i], i, "SFT example");
    const pb::SftExample& sft = records[i].sft();
    auto example =
        sft.messages().empty() ? rules.Completion(sft) : rules.Messages(sft);
    if (!example.ok()) return AtRecord(example.status(), NameOf(sft, i));
    if (!example->has_value()) continue;
    (*example)->id = NameOf(sft, i);
    result.examples.push_back(**std::move(example));
  }
  result.counts = std::move(rules.counts());
  return result;
}

absl::StatusOr<Tokenized<PromptExample>> TokenizePrompts(
    std::span<const pb::Record> records, const Tokenizer& tokenizer,
    const TokenizeOptions& options) {
  ALIGN_ASSIGN_OR_RETURN(RecordTokenizer rules,
                         RecordTokenizer::Create(tokenizer, options));
  Tokenized<PromptExample> result;
  for (size_t i = 0; i < records.size(); ++i) {
    const pb::Record& record = records[i];
    if (!record.has_prompt() && !record.has_preference()) {
      return WrongKind(record, i, "prompt or preference pair");
    }
    PromptExample example{.number = i, .answer = record.prompt().answer()};
    example.id = record.has_prompt() ? NameOf(record.prompt(), i)
                                     : NameOf(record.preference(), i);
    absl::StatusOr<PromptIds> prompt =
        rules.Prompt(record.has_prompt() ? record.prompt().prompt()
                                         : record.preference().prompt());
    if (!prompt.ok()) return AtRecord(prompt.status(), example.id);
    if (prompt->ids.empty()) {
      rules.Drop(kEmptyPrompt);
      continue;
    }
    example.prompt = std::move(prompt->ids);
    result.examples.push_back(std::move(example));
  }
  result.counts = std::move(rules.counts());
  return result;
}

absl::StatusOr<Tokenized<SftExample>> TokenizeTextBlocks(
    std::span<const pb::Record> records, const Tokenizer& tokenizer,
    const TokenizeOptions& options) {
  ALIGN_ASSIGN_OR_RETURN(RecordTokenizer rules,
                         RecordTokenizer::Create(tokenizer, options));
  Tokenized<SftExample> result;
  SftExample block;
  const auto finish = [&] {
    if (!block.completion.empty()) result.examples.push_back(std::move(block));
    block = {};
  };
  for (size_t i = 0; i < records.size(); ++i) {
    if (!records[i].has_text()) return WrongKind(records[i], i, "free text");
    const Ids ids = rules.Text(records[i].text().text());
    if (ids.empty()) rules.Drop(kEmptyText);
    for (const int32_t id : ids) {
      if (block.prompt.empty()) {
        block.prompt.push_back(id);
        block.id = NameOf(records[i].text(), i);
        continue;
      }
      block.completion.push_back(id);
      if (static_cast<int64_t>(block.completion.size()) + 1 ==
          options.block_length) {
        finish();
      }
    }
  }
  finish();
  result.counts = std::move(rules.counts());
  return result;
}

}  // namespace align
