#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "align/base/status.h"
#include "align/data/batches.h"
#include "align/text/tokenizer.h"
#include "align/train/reward_function.h"

namespace align {

// Rewards that can be checked: whether a reply's final answer is the record's,
// as RL on GSM8K (Cobbe et al. 2021, arXiv 2110.14168) and MATH has it, and
// whether it has the form that was asked for. What stands before the last
// "</think>" is never looked at.

// The final answer as the text marks it: between the last <answer> and its
// </answer>, else in the last \boxed{...}, else on the line after the last
// "####". Without outer blanks; nullopt where nothing is marked.
std::optional<std::string> MarkedAnswer(std::string_view text);

// MarkedAnswer, else the last number of the text: digits with thousands commas,
// a decimal point and a minus that follows no letter, digit or ')'.
std::optional<std::string> FinalAnswer(std::string_view text);

// An answer in the form in which answers are compared. Blanks, $, a final full
// stop and LaTeX's \left, \right, \!, \, and \text{} go; \frac{a}{b} becomes
// a/b, letters small; a number loses thousands commas, leading zeros, zeros
// after the decimal point, a plus and a final %.
std::string NormalizedAnswer(std::string_view answer);

// 1 if the final answer of a reply, normalised, equals that of its prompt's
// `answers` entry, else 0. An entry is the answer alone, or a solution that
// marks it. NaN for prompts without one. `tokenizer` must outlive the function.
// kInvalidArgument when no prompt has an answer, or when the same prompt has
// two.
absl::StatusOr<train::RewardFunction> AnswerRewardFunction(
    const PromptBatch& prompts, const Tokenizer& tokenizer);

// 1 for a reply that marks its answer, else 0.
train::RewardFunction AnswerFormatRewardFunction(const Tokenizer& tokenizer);

// 1 for a reply that thinks first, else 0: it may begin with <think>, which it
// then has once, and has </think> once with something after it. Guo et al. 2025
// (DeepSeek-R1, arXiv 2501.12948), section 2.2.2; a prompt may open the tag.
train::RewardFunction ThinkFormatRewardFunction(const Tokenizer& tokenizer);

}  // namespace align
