#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "align/data/row_outcome.h"

namespace align {

namespace pb {
class Message;
class PreferencePair;
class Prompt;
}  // namespace pb

// How two replies to one prompt are told apart; see RowConverter for the rules.
// Each returns why the row is dropped, or nothing.

// Whole transcripts: split at the last "\n\nAssistant:" that both share.
std::optional<Drop> SplitTranscripts(std::string_view chosen,
                                     std::string_view rejected,
                                     pb::PreferencePair& pair);

// Message lists, each either the reply to `prompt` alone or the whole
// conversation again; an empty `prompt` means the latter.
std::optional<Drop> SplitConversations(const std::vector<pb::Message>& prompt,
                                       std::vector<pb::Message> chosen,
                                       std::vector<pb::Message> rejected,
                                       pb::PreferencePair& pair);

// Three texts. Where the prompt is a transcript, a reply must be one turn.
std::optional<Drop> JoinTexts(std::string_view prompt, std::string_view chosen,
                              std::string_view rejected,
                              pb::PreferencePair& pair);

// Drops blank replies, equal replies and what CheckPrompt drops.
std::optional<Drop> CheckPair(const pb::PreferencePair& pair);
// Drops a prompt of nothing but white space. An empty one says that there is no
// context: BOS will stand for it.
std::optional<Drop> CheckPrompt(const pb::Prompt& prompt);

bool IsBlank(std::string_view text);

}  // namespace align
