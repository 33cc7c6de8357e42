#include "align/text/json_decoder.h"

#include <cctype>
#include <utility>

#include "align/text/byte_level.h"
#include "align/text/unicode.h"

namespace align {
namespace {

constexpr std::string_view kExpected =
    "ByteLevel, Metaspace, ByteFallback, Replace, Fuse, Strip or Sequence";

// The byte that "<0x0A>" names.
std::optional<char> NamedByte(std::string_view name) {
  if (name.size() != 6 || !name.starts_with("<0x") || name[5] != '>') {
    return std::nullopt;
  }
  int value = 0;
  for (const char c : name.substr(3, 2)) {
    if (!std::isxdigit(static_cast<unsigned char>(c))) return std::nullopt;
    const int digit = std::isdigit(static_cast<unsigned char>(c))
                          ? c - '0'
                          : (c | 0x20) - 'a' + 10;
    value = value * 16 + digit;
  }
  return static_cast<char>(value);
}

}  // namespace

absl::StatusOr<JsonDecoder> JsonDecoder::Parse(const JsonNode& node) {
  JsonDecoder decoder;
  ALIGN_RETURN_IF_ERROR(decoder.Add(node));
  return decoder;
}

absl::Status JsonDecoder::Add(const JsonNode& node) {
  ALIGN_ASSIGN_OR_RETURN(const std::string type, StringMember(node, "type"));
  if (type == "Sequence") {
    ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type", "decoders"}));
    ALIGN_ASSIGN_OR_RETURN(const JsonNode list, Member(node, "decoders"));
    ALIGN_ASSIGN_OR_RETURN(const auto items, Elements(list));
    for (const JsonNode& item : items) ALIGN_RETURN_IF_ERROR(Add(item));
    return absl::OkStatus();
  }
  if (type == "Strip") return AddStrip(node);
  if (type == "Fuse") {
    ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type"}));
    fused_ = true;
    return absl::OkStatus();
  }
  if (fused_ ||
      (!steps_.empty() && steps_.back().kind == Kind::kByteFallback)) {
    return Unimplemented(node.where + ": " + type.substr(0, 60) +
                         " after ByteFallback or Fuse is not supported");
  }
  if (type == "Metaspace") return AddMetaspace(node);
  if (type == "Replace") return AddReplace(node);
  if (type == "ByteLevel") {
    ALIGN_RETURN_IF_ERROR(CheckMembers(
        node, {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
    steps_.push_back({.kind = Kind::kByteLevel});
    return absl::OkStatus();
  }
  if (type == "ByteFallback") {
    ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type"}));
    steps_.push_back({.kind = Kind::kByteFallback});
    return absl::OkStatus();
  }
  return UnsupportedType(node, type, kExpected);
}

absl::Status JsonDecoder::AddMetaspace(const JsonNode& node) {
  ALIGN_RETURN_IF_ERROR(
      CheckMembers(node, {"type", "replacement", "add_prefix_space",
                          "prepend_scheme", "split", "str_rep"}));
  Step step{.kind = Kind::kMetaspace};
  ALIGN_ASSIGN_OR_RETURN(std::string mark, StringMember(node, "replacement"));
  if (mark.empty()) {
    return InvalidArgument(node.where + ".replacement: one character expected");
  }
  step.pattern = JsonPattern::OfLiteral(std::move(mark));
  ALIGN_ASSIGN_OR_RETURN(step.drops_first,
                         BoolMember(node, "add_prefix_space", true));
  if (FindMember(node, "prepend_scheme")) {
    ALIGN_ASSIGN_OR_RETURN(const std::string scheme,
                           StringMember(node, "prepend_scheme"));
    step.drops_first = scheme != "never";
  }
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status JsonDecoder::AddReplace(const JsonNode& node) {
  ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type", "pattern", "content"}));
  Step step{.kind = Kind::kReplace};
  ALIGN_ASSIGN_OR_RETURN(const JsonNode pattern, Member(node, "pattern"));
  ALIGN_ASSIGN_OR_RETURN(step.pattern, JsonPattern::Parse(pattern));
  ALIGN_ASSIGN_OR_RETURN(step.text, StringMember(node, "content"));
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status JsonDecoder::AddStrip(const JsonNode& node) {
  ALIGN_RETURN_IF_ERROR(
      CheckMembers(node, {"type", "content", "start", "stop"}));
  if (!fused_ || strip_count_ > 0) {
    return Unimplemented(node.where +
                         ": Strip is supported once, and after Fuse");
  }
  ALIGN_ASSIGN_OR_RETURN(strip_, StringMember(node, "content"));
  ALIGN_ASSIGN_OR_RETURN(strip_count_, IntegerMember(node, "start"));
  ALIGN_ASSIGN_OR_RETURN(const int64_t stop, IntegerMember(node, "stop"));
  if (strip_.empty() || strip_count_ < 0) {
    return InvalidArgument(node.where +
                           ": a character and a count from 0 expected");
  }
  if (stop != 0) {
    return Unimplemented(node.where +
                         ".stop: stripping at the end is not supported");
  }
  return absl::OkStatus();
}

std::string JsonDecoder::Run(std::string text, bool first) const {
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::kByteLevel:
        if (auto bytes = ByteLevelToBytes(text)) text = *std::move(bytes);
        break;
      case Kind::kByteFallback:
        // It need not be UTF-8: no other step follows.
        if (const auto byte = NamedByte(text)) text.assign(1, *byte);
        break;
      case Kind::kReplace:
        text = step.pattern->ReplaceAll(text, step.text);
        break;
      case Kind::kMetaspace:
        text = step.pattern->ReplaceAll(text,
                                        first && step.drops_first ? "" : " ");
        break;
    }
  }
  return text;
}

std::string JsonDecoder::Piece(const std::string& name) const {
  return Run(name, /*first=*/false);
}

std::string JsonDecoder::FirstPiece(const std::string& name) const {
  return Run(name, /*first=*/true);
}

size_t JsonDecoder::StripLength(std::string_view text) const {
  size_t length = 0;
  for (int64_t i = 0; i < strip_count_; ++i) {
    if (!text.substr(length).starts_with(strip_)) break;
    length += strip_.size();
  }
  return length;
}

}  // namespace align
