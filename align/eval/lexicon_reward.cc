#include "align/eval/lexicon_reward.h"

#include <charconv>
#include <cmath>
#include <cstddef>
#include <system_error>
#include <utility>
#include <vector>

#include "align/base/files.h"

namespace align {
namespace {

char LowerAscii(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool IsWordByte(char c) { return (c >= 'a' && c <= 'z') || c == '\''; }

// The whole of `text` as a finite number.
bool ParseValence(std::string_view text, double* valence) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *valence);
  return error == std::errc() && stop == end && std::isfinite(*valence);
}

}  // namespace

absl::StatusOr<LexiconReward> LexiconReward::Load(const std::string& path) {
  ALIGN_ASSIGN_OR_RETURN(const std::string contents, ReadFile(path));
  LexiconReward reward;
  std::string_view rest = contents;
  for (int64_t line = 1; !rest.empty(); ++line) {
    const size_t end = rest.find('\n');
    std::string_view row = rest.substr(0, end);
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    if (row.ends_with('\r')) row.remove_suffix(1);
    if (row.empty()) continue;
    const std::string where = path + ":" + std::to_string(line);
    const size_t tab = row.find('\t');
    if (tab == row.npos || tab == 0) {
      return InvalidArgument(where +
                             ": no word followed by a tab; expected "
                             "'word TAB valence'");
    }
    const std::string_view field =
        row.substr(tab + 1, row.find('\t', tab + 1) - (tab + 1));
    double valence = 0;
    if (!ParseValence(field, &valence)) {
      return InvalidArgument(where + ": valence '" + std::string(field) +
                             "'; expected a finite number");
    }
    reward.valences_.insert_or_assign(std::string(row.substr(0, tab)), valence);
  }
  if (reward.valences_.empty()) {
    return InvalidArgument(path +
                           ": no rows; expected 'word TAB valence' lines");
  }
  return reward;
}

double LexiconReward::Score(std::string_view text) const {
  double sum = 0;
  std::string word;
  for (size_t i = 0; i <= text.size(); ++i) {
    const char c = i < text.size() ? LowerAscii(text[i]) : '\0';
    if (IsWordByte(c)) {
      word += c;
      continue;
    }
    if (word.empty()) continue;
    if (const auto entry = valences_.find(word); entry != valences_.end()) {
      sum += entry->second;
    }
    word.clear();
  }
  return sum / std::sqrt(sum * sum + 15);
}

train::RewardFunction LexiconRewardFunction(LexiconReward lexicon,
                                            const Tokenizer& tokenizer) {
  return train::RewardByReply([lexicon = std::move(lexicon),
                               &tokenizer](const std::vector<int32_t>& reply) {
    return lexicon.Score(tokenizer.DecodeContinuation(reply));
  });
}

}  // namespace align
