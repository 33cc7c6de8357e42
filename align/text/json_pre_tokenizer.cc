#include "align/text/json_pre_tokenizer.h"

#include <utility>

#include "align/text/byte_level.h"
#include "align/text/unicode.h"

namespace align {
namespace {

constexpr std::string_view kExpected =
    "Split, ByteLevel, Metaspace, Digits, Punctuation, Whitespace, "
    "WhitespaceSplit, CharDelimiterSplit, BertPreTokenizer or Sequence";

// Radford et al. 2019, encoder.py.
constexpr char kGpt2Words[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
    "|\\s+(?!\\S)|\\s+";

// \w+|[^\w\s]+ with the \w of Rust's regex crate, which is not Oniguruma's.
constexpr char kWordsOrSigns[] =
    "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]+"
    "|[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}\\s]+";

}  // namespace

absl::StatusOr<JsonPreTokenizer> JsonPreTokenizer::Parse(const JsonNode& node) {
  JsonPreTokenizer pre_tokenizer;
  ALIGN_RETURN_IF_ERROR(pre_tokenizer.Add(node));
  return pre_tokenizer;
}

void JsonPreTokenizer::UseAlphabet() {
  if (ends_in_bytes_) steps_.push_back({.rewrite = Rewrite::kByteAlphabet});
  ends_in_bytes_ = false;
}

absl::StatusOr<JsonPreTokenizer::Behavior> JsonPreTokenizer::ParseBehavior(
    const JsonNode& node) {
  constexpr std::pair<std::string_view, Behavior> kNames[] = {
      {"Isolated", Behavior::kIsolated},
      {"Removed", Behavior::kRemoved},
      {"Contiguous", Behavior::kContiguous},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext}};
  ALIGN_ASSIGN_OR_RETURN(const std::string name,
                         StringMember(node, "behavior"));
  for (const auto& [known, behavior] : kNames) {
    if (name == known) return behavior;
  }
  return Unimplemented(node.where + ".behavior: \"" + name.substr(0, 60) +
                       "\" is not supported");
}

absl::Status JsonPreTokenizer::Add(const JsonNode& node) {
  ALIGN_ASSIGN_OR_RETURN(const std::string type, StringMember(node, "type"));
  if (type == "Sequence") {
    ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type", "pretokenizers"}));
    ALIGN_ASSIGN_OR_RETURN(const JsonNode list, Member(node, "pretokenizers"));
    ALIGN_ASSIGN_OR_RETURN(const auto items, Elements(list));
    for (const JsonNode& item : items) ALIGN_RETURN_IF_ERROR(Add(item));
    return absl::OkStatus();
  }
  UseAlphabet();  // the steps so far are not the last ones
  if (type == "Split") return AddSplit(node);
  if (type == "ByteLevel") return AddByteLevel(node);
  if (type == "Metaspace") return AddMetaspace(node);
  return AddCharacters(node, type);
}

absl::Status JsonPreTokenizer::AddSplit(const JsonNode& node) {
  ALIGN_RETURN_IF_ERROR(
      CheckMembers(node, {"type", "pattern", "behavior", "invert"}));
  Step step;
  ALIGN_ASSIGN_OR_RETURN(const JsonNode pattern, Member(node, "pattern"));
  ALIGN_ASSIGN_OR_RETURN(step.pattern, JsonPattern::Parse(pattern));
  ALIGN_ASSIGN_OR_RETURN(step.behavior, ParseBehavior(node));
  ALIGN_ASSIGN_OR_RETURN(step.invert, BoolMember(node, "invert", false));
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status JsonPreTokenizer::AddByteLevel(const JsonNode& node) {
  ALIGN_RETURN_IF_ERROR(CheckMembers(
      node, {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  ALIGN_ASSIGN_OR_RETURN(const bool prefix,
                         BoolMember(node, "add_prefix_space", true));
  ALIGN_ASSIGN_OR_RETURN(const bool use_regex,
                         BoolMember(node, "use_regex", true));
  Step step;
  if (prefix) step.rewrite = Rewrite::kPrefixSpace;
  if (use_regex) {
    ALIGN_ASSIGN_OR_RETURN(step.pattern, JsonPattern::OfRegex(kGpt2Words));
  }
  if (prefix || use_regex) steps_.push_back(std::move(step));
  ends_in_bytes_ = true;
  return absl::OkStatus();
}

absl::Status JsonPreTokenizer::AddMetaspace(const JsonNode& node) {
  ALIGN_RETURN_IF_ERROR(
      CheckMembers(node, {"type", "replacement", "add_prefix_space",
                          "prepend_scheme", "split", "str_rep"}));
  Step step{.rewrite = Rewrite::kMetaspace, .scheme = Scheme::kAlways};
  ALIGN_ASSIGN_OR_RETURN(step.mark, StringMember(node, "replacement"));
  ALIGN_ASSIGN_OR_RETURN(const bool prefix,
                         BoolMember(node, "add_prefix_space", true));
  if (!prefix) step.scheme = Scheme::kNever;
  if (FindMember(node, "prepend_scheme")) {
    ALIGN_ASSIGN_OR_RETURN(const std::string scheme,
                           StringMember(node, "prepend_scheme"));
    if (scheme != "always" && scheme != "first" && scheme != "never") {
      return Unimplemented(node.where + ".prepend_scheme: \"" +
                           scheme.substr(0, 60) + "\" is not supported");
    }
    step.scheme = scheme == "always"  ? Scheme::kAlways
                  : scheme == "first" ? Scheme::kFirst
                                      : Scheme::kNever;
  }
  ALIGN_ASSIGN_OR_RETURN(const bool split, BoolMember(node, "split", true));
  if (step.mark.empty() ||
      FirstCharacter(step.mark).length != step.mark.size()) {
    return InvalidArgument(node.where + ".replacement: one character expected");
  }
  if (split) {
    step.pattern = JsonPattern::OfLiteral(step.mark);
    step.behavior = Behavior::kMergedWithNext;
  }
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status JsonPreTokenizer::AddCharacters(const JsonNode& node,
                                             const std::string& type) {
  Step step;
  if (type == "Digits") {
    ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type", "individual_digits"}));
    ALIGN_ASSIGN_OR_RETURN(const bool individual,
                           BoolMember(node, "individual_digits", false));
    step.matches = IsNumeric;
    step.behavior = individual ? Behavior::kIsolated : Behavior::kContiguous;
  } else if (type == "Punctuation") {
    ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type", "behavior"}));
    step.matches = IsPunctuation;
    if (FindMember(node, "behavior")) {
      ALIGN_ASSIGN_OR_RETURN(step.behavior, ParseBehavior(node));
    }
  } else if (type == "Whitespace") {
    ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type"}));
    ALIGN_ASSIGN_OR_RETURN(step.pattern, JsonPattern::OfRegex(kWordsOrSigns));
    step.behavior = Behavior::kRemoved;
    step.invert = true;
  } else if (type == "WhitespaceSplit" || type == "BertPreTokenizer") {
    ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type"}));
    step.matches = IsWhiteSpace;
    step.behavior = Behavior::kRemoved;
  } else if (type == "CharDelimiterSplit") {
    ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type", "delimiter"}));
    ALIGN_ASSIGN_OR_RETURN(const JsonNode delimiter, Member(node, "delimiter"));
    ALIGN_ASSIGN_OR_RETURN(step.pattern, JsonPattern::Parse(delimiter));
    step.behavior = Behavior::kRemoved;
  } else {
    return UnsupportedType(node, type, kExpected);
  }
  steps_.push_back(std::move(step));
  if (type == "BertPreTokenizer") steps_.push_back({.matches = IsPunctuation});
  return absl::OkStatus();
}

JsonPreTokenizer::Cutter::Cutter(const JsonPreTokenizer& pre_tokenizer)
    : owner_(pre_tokenizer) {
  matchers_.reserve(owner_.steps_.size());
  for (const Step& step : owner_.steps_) {
    auto& matcher = matchers_.emplace_back();
    if (step.pattern) matcher.emplace(*step.pattern);
  }
}

void JsonPreTokenizer::Cutter::Cut(std::string_view text, TextPosition position,
                                   Emit emit) {
  Run(0, text, position, emit);
}

void JsonPreTokenizer::Cutter::Run(size_t index, std::string_view text,
                                   TextPosition position, Emit emit) {
  if (text.empty()) return;
  if (index == owner_.steps_.size()) return emit(text);
  const Step& step = owner_.steps_[index];
  std::string rewritten;
  const bool continues = position == TextPosition::kContinuation;
  switch (step.rewrite) {
    case Rewrite::kNone:
      break;
    case Rewrite::kPrefixSpace:
      if (continues || text.starts_with(' ')) break;
      rewritten = " " + std::string(text);
      text = rewritten;
      break;
    case Rewrite::kByteAlphabet:
      rewritten = BytesToByteLevel(text);
      text = rewritten;
      break;
    case Rewrite::kMetaspace: {
      const bool wanted = step.scheme == Scheme::kAlways
                              ? !continues
                              : step.scheme == Scheme::kFirst &&
                                    position == TextPosition::kStart;
      if (wanted && text[0] != ' ' && !text.starts_with(step.mark)) {
        rewritten = step.mark;
      }
      for (const char c : text) {
        if (c == ' ') {
          rewritten += step.mark;
        } else {
          rewritten += c;
        }
      }
      text = rewritten;
      break;
    }
  }
  if (!step.pattern && step.matches == nullptr) {
    return Run(index + 1, text, position, emit);
  }
  CutAt(index, text, position, emit);
}

// Matches and what lies between them form one row of ranges, which the
// behaviour joins: at most one range waits for the next.
void JsonPreTokenizer::Cutter::CutAt(size_t index, std::string_view text,
                                     TextPosition position, Emit emit) {
  const Step& step = owner_.steps_[index];
  const auto pass_on = [&](size_t begin, size_t end) {
    Run(index + 1, text.substr(begin, end - begin),
        begin == 0 ? position : TextPosition::kInside, emit);
  };
  bool waits = false, waiting_matched = false;
  size_t waiting_begin = 0, waiting_end = 0;
  const auto flush = [&] {
    if (waits) pass_on(waiting_begin, waiting_end);
    waits = false;
  };
  const auto take = [&](size_t begin, size_t end, bool matched) {
    if (begin == end) return;
    matched ^= step.invert;
    if (step.behavior == Behavior::kIsolated) return pass_on(begin, end);
    if (step.behavior == Behavior::kRemoved) {
      if (!matched) pass_on(begin, end);
      return;
    }
    const bool joins =
        waits &&
        (step.behavior == Behavior::kContiguous ? matched == waiting_matched
         : step.behavior == Behavior::kMergedWithPrevious
             ? matched && !waiting_matched
             : !matched && waiting_matched);
    if (!joins) {
      flush();
      waiting_begin = begin;
      waiting_matched = matched;
    } else if (step.behavior != Behavior::kContiguous) {
      waiting_end = end;
      return flush();
    }
    waiting_end = end;
    waits = true;
  };
  size_t done = 0, begin = 0, end = 0;
  if (step.pattern) {
    while (done < text.size() &&
           matchers_[index]->Find(text, done, &begin, &end)) {
      take(done, begin, false);
      take(begin, end, true);
      done = end;
    }
  } else {
    for (size_t at = 0; at < text.size(); at = end) {
      const Character c = FirstCharacter(text.substr(at));
      end = at + c.length;
      if (!step.matches(c.value)) continue;
      take(done, at, false);
      take(at, end, true);
      done = end;
    }
  }
  take(done, text.size(), false);
  flush();
}

}  // namespace align
