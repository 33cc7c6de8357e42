#include "align/base/json_document.h"

#include <algorithm>

namespace align {

absl::StatusOr<simdjson::dom::object> ParseJsonObject(
    simdjson::dom::parser& parser, std::string_view text,
    const std::string& where, size_t max_depth) {
  constexpr size_t kSmallestCapacity = 64;
  auto error =
      parser.allocate(std::max(text.size(), kSmallestCapacity), max_depth);
  simdjson::dom::object object;
  if (error == simdjson::SUCCESS) {
    // The parser copies the text into a buffer with the padding it needs.
    error = parser.parse(text.data(), text.size(), true).get(object);
  }
  if (error == simdjson::INCORRECT_TYPE) {
    return InvalidArgument(where + ": a JSON object expected at the top");
  }
  if (error != simdjson::SUCCESS) {
    return InvalidArgument(
        where + ": not valid JSON: " + simdjson::error_message(error));
  }
  return object;
}

}  // namespace align
