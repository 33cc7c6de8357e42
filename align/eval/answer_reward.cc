#include "align/eval/answer_reward.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>
#include <vector>

namespace align {
namespace {

constexpr std::string_view kBlanks = " \t\r\n\f\v";
constexpr std::string_view kEndOfThought = "</think>";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsWord(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

size_t Count(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != text.npos;
       at = text.find(part, at + part.size())) {
    ++count;
  }
  return count;
}

std::string_view AfterThought(std::string_view text) {
  const size_t end = text.rfind(kEndOfThought);
  return end == text.npos ? text : text.substr(end + kEndOfThought.size());
}

// What stands in the braces that open at `text[0]`; nullopt if they never
// close.
std::optional<std::string_view> Braced(std::string_view text) {
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth == 0) return text.substr(1, i - 1);
  }
  return std::nullopt;
}

void Remove(std::string_view part, std::string& text) {
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at)) {
    text.erase(at, part.size());
  }
}

// \NAME{a} as `a`, or with two arguments as a/b, for as long as there is one.
void Unwrap(std::string_view name, bool fraction, std::string& text) {
  for (size_t at = text.find(name); at != text.npos; at = text.find(name, at)) {
    const std::string_view rest = std::string_view(text).substr(at);
    const auto first = Braced(rest.substr(name.size() - 1));
    if (!first) return;
    std::string value(*first);
    size_t length = name.size() - 1 + first->size() + 2;
    if (fraction) {
      if (length >= rest.size() || rest[length] != '{') return;
      const auto second = Braced(rest.substr(length));
      if (!second) return;
      value += "/" + std::string(*second);
      length += second->size() + 2;
    }
    text.replace(at, length, value);
  }
}

// The decimal number that is all of `text`, in its shortest form.
std::optional<std::string> ShortNumber(std::string_view text) {
  std::string sign;
  if (text.starts_with('-')) sign = "-";
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  if (text.ends_with('%')) text.remove_suffix(1);
  std::string whole, decimals;
  bool point = false;
  for (const char c : text) {
    if (c == '.' && !point) {
      point = true;
    } else if (IsDigit(c)) {
      (point ? decimals : whole) += c;
    } else if (c != ',' || point || whole.empty()) {
      return std::nullopt;
    }
  }
  if (whole.empty() && decimals.empty()) return std::nullopt;
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size()));
  decimals.erase(decimals.find_last_not_of('0') + 1);
  if (whole.empty()) whole = "0";
  if (whole == "0" && decimals.empty()) sign.clear();
  return sign + whole + (decimals.empty() ? "" : "." + decimals);
}

// The last number of the text.
std::optional<std::string> LastNumber(std::string_view text) {
  size_t end = text.size();
  while (end > 0 && !IsDigit(text[end - 1])) --end;
  if (end == 0) return std::nullopt;
  size_t begin = end;
  while (begin > 0) {
    const char c = text[begin - 1];
    const bool inside = (c == ',' || c == '.') && begin > 1 &&
                        IsDigit(text[begin - 2]) && IsDigit(text[begin]);
    if (!IsDigit(c) && !inside) break;
    --begin;
  }
  // ".5" and "-3", but not the minus of "5-3".
  if (begin > 0 && text[begin - 1] == '.') --begin;
  if (begin > 0 && text[begin - 1] == '$') {
    if (begin > 1 && text[begin - 2] == '-') {
      return "-" + std::string(text.substr(begin, end - begin));
    }
    return std::string(text.substr(begin, end - begin));
  }
  if (begin > 0 && text[begin - 1] == '-' &&
      (begin == 1 || !(IsWord(text[begin - 2]) || text[begin - 2] == ')'))) {
    --begin;
  }
  return std::string(text.substr(begin, end - begin));
}

// A rule on the text of each reply.
train::RewardFunction TextReward(const Tokenizer& tokenizer,
                                 bool (*good)(std::string_view)) {
  return train::RewardByReply(
      [&tokenizer, good](const std::vector<int32_t>& reply) {
        return good(tokenizer.DecodeContinuation(reply)) ? 1.0 : 0.0;
      });
}

bool ThinksFirst(std::string_view text) {
  constexpr std::string_view kThought = "<think>";
  if (Count(text, kEndOfThought) != 1) return false;
  const size_t opened = Count(text, kThought);
  if (opened > 1 || (opened == 1 && !Trimmed(text).starts_with(kThought))) {
    return false;
  }
  return !Trimmed(AfterThought(text)).empty();
}

}  // namespace

std::optional<std::string> MarkedAnswer(std::string_view text) {
  constexpr std::string_view kOpen = "<answer>", kBoxed = "\\boxed{",
                             kHashes = "####";
  text = AfterThought(text);
  std::string_view found;
  if (const size_t at = text.rfind(kOpen); at != text.npos) {
    const size_t begin = at + kOpen.size();
    const size_t end = text.find("</answer>", begin);
    if (end != text.npos) found = text.substr(begin, end - begin);
  }
  if (const size_t at = text.rfind(kBoxed);
      Trimmed(found).empty() && at != text.npos) {
    found = Braced(text.substr(at + kBoxed.size() - 1)).value_or("");
  }
  if (const size_t at = text.rfind(kHashes);
      Trimmed(found).empty() && at != text.npos) {
    const size_t begin = at + kHashes.size();
    found = text.substr(begin, text.find('\n', begin) - begin);
  }
  found = Trimmed(found);
  if (found.empty()) return std::nullopt;
  return std::string(found);
}

std::optional<std::string> FinalAnswer(std::string_view text) {
  std::optional<std::string> marked = MarkedAnswer(text);
  return marked ? marked : LastNumber(AfterThought(text));
}

std::string NormalizedAnswer(std::string_view answer) {
  std::string text(answer);
  for (const char* part : {"\\left", "\\right", "\\!", "\\,", "\\$", "$"}) {
    Remove(part, text);
  }
  Unwrap("\\text{", false, text);
  for (const char* fraction : {"\\dfrac{", "\\tfrac{", "\\frac{"}) {
    Unwrap(fraction, true, text);
  }
  std::erase_if(text, [](char c) { return kBlanks.find(c) != kBlanks.npos; });
  if (text.ends_with('.')) text.pop_back();
  if (text.ends_with("\\%")) text.erase(text.size() - 2);
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return ShortNumber(text).value_or(text);
}

absl::StatusOr<train::RewardFunction> AnswerRewardFunction(
    const PromptBatch& prompts, const Tokenizer& tokenizer) {
  std::map<std::vector<int32_t>, std::string> answers;
  for (size_t p = 0; p < prompts.answers.size(); ++p) {
    const std::string& given = prompts.answers[p];
    if (given.empty()) continue;
    const std::string answer =
        NormalizedAnswer(MarkedAnswer(given).value_or(given));
    const auto [at, fresh] = answers.emplace(prompts.prompts[p], answer);
    if (fresh || at->second == answer) continue;
    return InvalidArgument(
        "answers: prompt " +
        (prompts.ids.empty() ? std::to_string(p) : prompts.ids[p]) +
        " has the answer '" + answer +
        "' and as tokens is another prompt with "
        "the answer '" +
        at->second + "'; expected one (is the prompt cut?)");
  }
  if (answers.empty()) {
    return InvalidArgument(
        "answers: no prompt has one; expected records with `answer`");
  }
  return train::RewardFunction(
      [answers = std::move(answers), &tokenizer](
          std::span<const std::vector<int32_t>> of,
          std::span<const std::vector<int32_t>> replies)
          -> absl::StatusOr<std::vector<double>> {
        std::vector<double> scores;
        for (size_t i = 0; i < replies.size(); ++i) {
          const auto expected = answers.find(of[i]);
          if (expected == answers.end()) {
            scores.push_back(std::numeric_limits<double>::quiet_NaN());
            continue;
          }
          const auto answer =
              FinalAnswer(tokenizer.DecodeContinuation(replies[i]));
          scores.push_back(
              answer && NormalizedAnswer(*answer) == expected->second ? 1 : 0);
        }
        return scores;
      });
}

train::RewardFunction AnswerFormatRewardFunction(const Tokenizer& tokenizer) {
  return TextReward(tokenizer, [](std::string_view text) {
    return MarkedAnswer(text).has_value();
  });
}

train::RewardFunction ThinkFormatRewardFunction(const Tokenizer& tokenizer) {
  return TextReward(tokenizer, ThinksFirst);
}

}  // namespace align
