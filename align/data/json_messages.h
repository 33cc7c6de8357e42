#pragma once

// Fields of JSON rows. For this folder's .cc files: the one header that shows
// simdjson.

#include <simdjson.h>

#include <optional>
#include <string_view>
#include <vector>

#include "align/data/row_outcome.h"

namespace align {

namespace pb {
class Message;
}  // namespace pb

// The field, unless it is missing or null.
std::optional<simdjson::dom::element> FindField(
    const simdjson::dom::object& row, std::string_view key);

// kBadField: "<key> is not <expected>".
Drop BadField(std::string_view key, std::string_view expected);

// Appends the messages of `value`, a message or a list of them:
// {"role", "content"} or ShareGPT's {"from", "value"}, whose text is a string
// or a list of {"type": "text", "text" or "value": string}; tool calls and what
// else templates know go to `fields`. `key` names the field in the reason.
std::optional<Drop> ReadMessages(std::string_view key,
                                 const simdjson::dom::element& value,
                                 std::vector<pb::Message>& out);

}  // namespace align
