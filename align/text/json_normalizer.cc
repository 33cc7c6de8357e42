#include "align/text/json_normalizer.h"

#include <absl/strings/escaping.h>

#include <utility>

namespace align {
namespace {

constexpr std::string_view kExpected =
    "NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Replace, Prepend, "
    "Precompiled or Sequence";

std::string WithoutMarks(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character c = FirstCharacter(text);
    if (!IsMark(c.value)) out.append(text.data(), c.length);
    text.remove_prefix(c.length);
  }
  return out;
}

std::string Stripped(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const Character c = FirstCharacter(text);
    if (!IsWhiteSpace(c.value)) break;
    text.remove_prefix(c.length);
  }
  while (right && !text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (text[last] & 0xC0) == 0x80) --last;
    if (!IsWhiteSpace(FirstCharacter(text.substr(last)).value)) break;
    text = text.substr(0, last);
  }
  return std::string(text);
}

// A whole grapheme of up to 5 bytes is looked up first, then each character;
// the shortest entry counts. Unlike SentencePiece, and as tokenizers does.
std::string Precompiled(std::string_view text,
                        const SentencePieceNormalizer& charsmap) {
  constexpr size_t kLongestGrapheme = 5;
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    std::string_view grapheme = text.substr(0, GraphemeLength(text));
    text.remove_prefix(grapheme.size());
    if (grapheme.size() <= kLongestGrapheme) {
      if (const auto mapped = charsmap.ShortestMapping(grapheme)) {
        out.append(mapped->data(), mapped->size());
        continue;
      }
    }
    while (!grapheme.empty()) {
      const size_t length = FirstCharacter(grapheme).length;
      const std::string_view character = grapheme.substr(0, length);
      const std::string_view mapped =
          charsmap.ShortestMapping(character).value_or(character);
      out.append(mapped.data(), mapped.size());
      grapheme.remove_prefix(length);
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<JsonNormalizer> JsonNormalizer::Parse(const JsonNode& node) {
  JsonNormalizer normalizer;
  ALIGN_RETURN_IF_ERROR(normalizer.Add(node));
  return normalizer;
}

absl::Status JsonNormalizer::Add(const JsonNode& node) {
  ALIGN_ASSIGN_OR_RETURN(const std::string type, StringMember(node, "type"));
  if (type == "Sequence") {
    ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type", "normalizers"}));
    ALIGN_ASSIGN_OR_RETURN(const JsonNode list, Member(node, "normalizers"));
    ALIGN_ASSIGN_OR_RETURN(const auto items, Elements(list));
    for (const JsonNode& item : items) ALIGN_RETURN_IF_ERROR(Add(item));
    return absl::OkStatus();
  }
  if (type == "Replace") return AddReplace(node);
  if (type == "Strip") return AddStrip(node);
  if (type == "Precompiled") return AddPrecompiled(node);
  if (type == "Prepend") {
    ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type", "prepend"}));
    Step step{.kind = Kind::kPrepend};
    ALIGN_ASSIGN_OR_RETURN(step.text, StringMember(node, "prepend"));
    steps_.push_back(std::move(step));
    return absl::OkStatus();
  }
  constexpr std::pair<std::string_view, UnicodeForm> kForms[] = {
      {"NFC", UnicodeForm::kNfc},
      {"NFD", UnicodeForm::kNfd},
      {"NFKC", UnicodeForm::kNfkc},
      {"NFKD", UnicodeForm::kNfkd}};
  Step step{.kind = Kind::kForm};
  bool known = false;
  for (const auto& [name, form] : kForms) {
    if (type != name) continue;
    step.form = form;
    known = true;
  }
  if (type == "Lowercase" || type == "StripAccents") {
    step.kind = type == "Lowercase" ? Kind::kLowercase : Kind::kStripAccents;
    known = true;
  }
  if (!known) return UnsupportedType(node, type, kExpected);
  ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type"}));
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status JsonNormalizer::AddReplace(const JsonNode& node) {
  ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type", "pattern", "content"}));
  Step step{.kind = Kind::kReplace};
  ALIGN_ASSIGN_OR_RETURN(const JsonNode pattern, Member(node, "pattern"));
  ALIGN_ASSIGN_OR_RETURN(step.pattern, JsonPattern::Parse(pattern));
  ALIGN_ASSIGN_OR_RETURN(step.text, StringMember(node, "content"));
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status JsonNormalizer::AddStrip(const JsonNode& node) {
  ALIGN_RETURN_IF_ERROR(
      CheckMembers(node, {"type", "strip_left", "strip_right"}));
  Step step{.kind = Kind::kStrip};
  ALIGN_ASSIGN_OR_RETURN(step.left, BoolMember(node, "strip_left", false));
  ALIGN_ASSIGN_OR_RETURN(step.right, BoolMember(node, "strip_right", false));
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status JsonNormalizer::AddPrecompiled(const JsonNode& node) {
  ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type", "precompiled_charsmap"}));
  ALIGN_ASSIGN_OR_RETURN(const std::string encoded,
                         StringMember(node, "precompiled_charsmap"));
  std::string charsmap;
  if (!absl::Base64Unescape(encoded, &charsmap) || charsmap.empty()) {
    return InvalidArgument(node.where +
                           ".precompiled_charsmap: base64 expected");
  }
  auto made = SentencePieceNormalizer::Make({.charsmap = std::move(charsmap)});
  if (!made.ok()) return Annotate(made.status(), node.where);
  Step step{.kind = Kind::kPrecompiled};
  step.charsmap = std::move(*made);
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

std::string JsonNormalizer::Run(const Step& step, std::string_view text) {
  switch (step.kind) {
    case Kind::kForm:
      return NormalizeUnicode(text, step.form);
    case Kind::kLowercase:
      return Lowercase(text);
    case Kind::kStripAccents:
      return WithoutMarks(text);
    case Kind::kStrip:
      return Stripped(text, step.left, step.right);
    case Kind::kReplace:
      return step.pattern->ReplaceAll(text, step.text);
    case Kind::kPrepend:
      return text.empty() ? std::string() : step.text + std::string(text);
    case Kind::kPrecompiled:
      return Precompiled(text, *step.charsmap);
  }
  return std::string(text);
}

std::string_view JsonNormalizer::Apply(std::string_view text,
                                       TextPosition position,
                                       std::string& buffer) const {
  for (const Step& step : steps_) {
    if (step.kind == Kind::kPrepend &&
        position == TextPosition::kContinuation) {
      continue;
    }
    buffer = Run(step, text);
    text = buffer;
  }
  return text;
}

}  // namespace align
