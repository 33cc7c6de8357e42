#include "align/text/gguf_pre_tokenizer.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace align {
namespace {

// A pre-tokenizer's steps, one line each: a pattern whose matches are pieces of
// their own, or one of these.
constexpr char kDigit[] = "(each digit)";
constexpr char kBytes[] = "(bytes)";
constexpr char kWordsAndBytes[] = "(GPT-2's words, bytes)";

// Patterns are those of the models' own tokenizer.json; llama.cpp's are
// equivalent (llama-vocab.cpp, llm_tokenizer_bpe).
struct Known {
  std::string_view name;
  bool ignore_merges;
  std::vector<std::string_view> steps;
};

const std::vector<Known>& KnownPreTokenizers() {
  static const auto* const known = new std::vector<Known>{
      {"gpt-2", false, {kWordsAndBytes}},
      {"smollm", false, {kDigit, kWordsAndBytes}},
      {"llama-bpe",
       true,
       {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
        kBytes}},
      {"qwen2",
       false,
       {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
        kBytes}},
      {"tekken",
       true,
       {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
        kBytes}},
      {"deepseek-v3",
       false,
       {R"(\p{N}{1,3})", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
        kBytes}},
  };
  return *known;
}

absl::Status Unknown(const JsonNode& node) {
  std::string names;
  for (const Known& known : KnownPreTokenizers()) {
    names.append(names.empty() ? "" : ", ").append(known.name);
  }
  return Unimplemented(node.where +
                       ": GGUF: this pre-tokenizer is not supported; that of " +
                       names + " expected");
}

absl::Status AddSteps(const JsonNode& node, std::vector<std::string>& steps) {
  ALIGN_ASSIGN_OR_RETURN(const std::string type, StringMember(node, "type"));
  if (type == "Sequence") {
    ALIGN_ASSIGN_OR_RETURN(const JsonNode list, Member(node, "pretokenizers"));
    ALIGN_ASSIGN_OR_RETURN(const auto items, Elements(list));
    for (const JsonNode& item : items) {
      ALIGN_RETURN_IF_ERROR(AddSteps(item, steps));
    }
    return absl::OkStatus();
  }
  if (type == "ByteLevel") {
    ALIGN_ASSIGN_OR_RETURN(const bool prefix,
                           BoolMember(node, "add_prefix_space", true));
    ALIGN_ASSIGN_OR_RETURN(const bool words,
                           BoolMember(node, "use_regex", true));
    if (prefix) {
      return Unimplemented(node.where +
                           ".add_prefix_space: GGUF: true is not supported");
    }
    steps.emplace_back(words ? kWordsAndBytes : kBytes);
    return absl::OkStatus();
  }
  if (type == "Digits") {
    ALIGN_ASSIGN_OR_RETURN(const bool each,
                           BoolMember(node, "individual_digits", false));
    if (!each) return Unknown(node);
    steps.emplace_back(kDigit);
    return absl::OkStatus();
  }
  if (type != "Split") return Unknown(node);
  ALIGN_ASSIGN_OR_RETURN(const std::string behavior,
                         StringMember(node, "behavior"));
  ALIGN_ASSIGN_OR_RETURN(const bool invert, BoolMember(node, "invert", false));
  ALIGN_ASSIGN_OR_RETURN(const JsonNode pattern, Member(node, "pattern"));
  if (behavior != "Isolated" || invert || !FindMember(pattern, "Regex")) {
    return Unknown(node);
  }
  ALIGN_ASSIGN_OR_RETURN(const std::string regex,
                         StringMember(pattern, "Regex"));
  std::string step;  // some files have the characters that others escape
  for (const char c : regex) {
    if (c == '\r') {
      step += "\\r";
    } else if (c == '\n') {
      step += "\\n";
    } else {
      step += c;
    }
  }
  steps.push_back(std::move(step));
  return absl::OkStatus();
}

// NFC changes few texts, and llama.cpp's own converter passes it by.
absl::Status CheckNormalizer(const JsonNode& node) {
  ALIGN_ASSIGN_OR_RETURN(const std::string type, StringMember(node, "type"));
  if (type == "NFC") return absl::OkStatus();
  if (type == "Sequence") {
    ALIGN_ASSIGN_OR_RETURN(const JsonNode list, Member(node, "normalizers"));
    ALIGN_ASSIGN_OR_RETURN(const auto items, Elements(list));
    for (const JsonNode& item : items) {
      ALIGN_RETURN_IF_ERROR(CheckNormalizer(item));
    }
    return absl::OkStatus();
  }
  return Unimplemented(node.where + ": GGUF: " + type.substr(0, 60) +
                       " is not supported; none or NFC expected");
}

}  // namespace

absl::StatusOr<std::string> GgufPreTokenizer(const JsonNode& root) {
  ALIGN_ASSIGN_OR_RETURN(const JsonNode model, Member(root, "model"));
  if (!FindMember(model, "merges")) {
    return Unimplemented(model.where +
                         ": GGUF: only byte-level BPE is supported");
  }
  if (const auto node = FindMember(root, "normalizer")) {
    ALIGN_RETURN_IF_ERROR(CheckNormalizer(*node));
  }
  const auto node = FindMember(root, "pre_tokenizer");
  if (!node) {
    return Unimplemented(root.where +
                         ": GGUF: a tokenizer.json without a pre_tokenizer is "
                         "not supported; tokenizer.model beside it expected, "
                         "or byte-level BPE");
  }
  std::vector<std::string> steps;
  ALIGN_RETURN_IF_ERROR(AddSteps(*node, steps));
  ALIGN_ASSIGN_OR_RETURN(const bool ignore_merges,
                         BoolMember(model, "ignore_merges", false));
  for (const Known& known : KnownPreTokenizers()) {
    if (std::equal(known.steps.begin(), known.steps.end(), steps.begin(),
                   steps.end()) &&
        known.ignore_merges == ignore_merges) {
      return std::string(known.name);
    }
  }
  return Unknown(*node);
}

}  // namespace align
