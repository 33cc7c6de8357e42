#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "align/base/status.h"
#include "align/text/tokenizer.h"
#include "align/train/reward_function.h"

namespace align {

// How warm a text is, by a word list with one valence a word: s is the sum of
// the valences of its words and the reward s / sqrt(s^2 + 15), in (-1, 1)
// (VADER's normalisation, Hutto and Gilbert 2014, without its rules). Words are
// the maximal runs of [a-z'] in the text with ASCII letters lower-cased, looked
// up whole; every other byte separates. Immutable: any thread may call Score.
class LexiconReward {
 public:
  // Reads rows "word TAB valence [TAB anything]", as VADER's vader_lexicon.txt;
  // empty rows are skipped and the last row of a repeated word counts. Entries
  // that are no run of [a-z'], such as emoticons, never match. kInvalidArgument
  // names file:line of a row without a word or a finite valence, or a file
  // without a row; kNotFound or kInvalidArgument an unreadable file.
  static absl::StatusOr<LexiconReward> Load(const std::string& path);

  // In (-1, 1) up to rounding; 0 for a text without a listed word.
  double Score(std::string_view text) const;

  // Distinct entries.
  int64_t size() const { return static_cast<int64_t>(valences_.size()); }

 private:
  LexiconReward() = default;
  std::map<std::string, double, std::less<>> valences_;
};

// Scores the text of each reply, whatever its prompt. `tokenizer` must outlive
// the function.
train::RewardFunction LexiconRewardFunction(LexiconReward lexicon,
                                            const Tokenizer& tokenizer);

}  // namespace align
