#include "align/data/preference_split.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

#include "proto/records.pb.h"

namespace align {
namespace {

constexpr std::string_view kHuman = "\n\nHuman:";
constexpr std::string_view kAssistant = "\n\nAssistant:";

using Messages = std::vector<pb::Message>;

bool HasTurn(std::string_view text) {
  return text.find(kHuman) != std::string_view::npos ||
         text.find(kAssistant) != std::string_view::npos;
}

bool Same(const pb::Message& a, const pb::Message& b) {
  return a.role() == b.role() && a.content() == b.content();
}

bool StartsWith(const Messages& whole, const Messages& start) {
  return whole.size() >= start.size() &&
         std::equal(start.begin(), start.end(), whole.begin(), Same);
}

// Bytes that both start with, eight at a time: std::mismatch, a byte at a time,
// takes a tenth of an import of transcripts.
size_t CommonStart(std::string_view a, std::string_view b) {
  static_assert(std::endian::native == std::endian::little);
  const size_t size = std::min(a.size(), b.size());
  size_t i = 0;
  for (; i + sizeof(uint64_t) <= size; i += sizeof(uint64_t)) {
    uint64_t x, y;
    std::memcpy(&x, a.data() + i, sizeof x);
    std::memcpy(&y, b.data() + i, sizeof y);
    if (x != y) return i + std::countr_zero(x ^ y) / 8;
  }
  while (i < size && a[i] == b[i]) ++i;
  return i;
}

}  // namespace

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

std::optional<Drop> CheckPrompt(const pb::Prompt& prompt) {
  if (prompt.messages_size() == 0 && !prompt.text().empty() &&
      IsBlank(prompt.text())) {
    return Drop{DropReason::kEmptyPrompt, ""};
  }
  return std::nullopt;
}

std::optional<Drop> CheckPair(const pb::PreferencePair& pair) {
  for (const auto* side : {&pair.chosen(), &pair.rejected()}) {
    if (IsBlank(*side)) {
      return Drop{DropReason::kEmptyReply,
                  side == &pair.chosen() ? "chosen" : "rejected"};
    }
  }
  if (pair.chosen() == pair.rejected()) {
    return Drop{DropReason::kIdentical, ""};
  }
  return CheckPrompt(pair.prompt());
}

// Chosen and rejected as whole transcripts.
std::optional<Drop> SplitTranscripts(std::string_view chosen,
                                     std::string_view rejected,
                                     pb::PreferencePair& pair) {
  const size_t last =
      chosen.substr(0, CommonStart(chosen, rejected)).rfind(kAssistant);
  if (last == std::string_view::npos) {
    return Drop{DropReason::kNoCommonPrompt, ""};
  }
  const size_t split = last + kAssistant.size();
  if (HasTurn(chosen.substr(split)) || HasTurn(rejected.substr(split))) {
    return Drop{DropReason::kNoCommonPrompt,
                "a further turn after the last common one"};
  }
  pair.mutable_prompt()->set_text(std::string(chosen.substr(0, split)));
  pair.set_chosen(std::string(chosen.substr(split)));
  pair.set_rejected(std::string(rejected.substr(split)));
  return std::nullopt;
}

// Chosen and rejected as message lists, each either the reply to `prompt` alone
// or the whole conversation again.
std::optional<Drop> SplitConversations(const Messages& prompt, Messages chosen,
                                       Messages rejected,
                                       pb::PreferencePair& pair) {
  for (Messages* side : {&chosen, &rejected}) {
    if (!StartsWith(*side, prompt)) {
      side->insert(side->begin(), prompt.begin(), prompt.end());
    }
    if (side->size() <= prompt.size()) return Drop{DropReason::kEmptyReply, ""};
    if (side->back().role() != "assistant") {
      return Drop{DropReason::kNoReply, "the last turn is not an assistant's"};
    }
    if (!prompt.empty() && side->size() > prompt.size() + 1) {
      return Drop{DropReason::kFurtherTurn, ""};
    }
  }
  const size_t turns = chosen.size() - 1;
  if (rejected.size() != chosen.size() || turns == 0 ||
      !std::equal(chosen.begin(), chosen.end() - 1, rejected.begin(), Same)) {
    return Drop{DropReason::kNoCommonPrompt, ""};
  }
  for (size_t i = 0; i < turns; ++i) {
    *pair.mutable_prompt()->add_messages() = chosen[i];
  }
  pair.set_chosen(chosen.back().content());
  pair.set_rejected(rejected.back().content());
  return std::nullopt;
}

std::optional<Drop> JoinTexts(std::string_view prompt, std::string_view chosen,
                              std::string_view rejected,
                              pb::PreferencePair& pair) {
  if (prompt.ends_with(kAssistant) && (HasTurn(chosen) || HasTurn(rejected))) {
    return Drop{DropReason::kFurtherTurn, ""};
  }
  pair.mutable_prompt()->set_text(std::string(prompt));
  pair.set_chosen(std::string(chosen));
  pair.set_rejected(std::string(rejected));
  return std::nullopt;
}

}  // namespace align
