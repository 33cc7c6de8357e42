#pragma once

// The losses of supervised fine-tuning by name: functions of the log-probs of
// the tokens to be learnt. Adding one is one header and one line in
// TokenLosses(); configs and tables follow from the entry.

#include <functional>
#include <string>
#include <vector>

#include "losses/dft.h"
#include "losses/options.h"
#include "losses/registry_entry.h"
#include "losses/token_nll.h"

namespace align::losses {

// Of log-probs [N], un-reduced.
using TokenLoss = TokenLossResult (*)(const Eigen::ArrayXd& log_prob);

// A loss ready to be called, or `error` saying what was wrong with a name or an
// option and what is allowed.
struct TokenLossOrError {
  TokenLoss loss = nullptr;
  std::string error;
  bool ok() const { return error.empty(); }
};

struct TokenNeeds {};

struct TokenLossEntry {
  std::string name;
  std::string paper;
  std::string summary;
  TokenLoss loss;
  TokenNeeds needs;
  std::function<std::vector<Option>()> options = [] {
    return std::vector<Option>();
  };
};

// Every loss on single tokens, in the order they are listed; the first is the
// default.
inline std::vector<TokenLossEntry> TokenLosses() {
  return {{.name = "nll",
           .paper = "Ouyang et al. 2022, arXiv 2203.02155, section 3.5",
           .summary = "SFT: negative log-likelihood, mean over tokens",
           .loss = &TokenNll},
          {.name = "dft",
           .paper = "Wu et al. 2025, arXiv 2508.05629, eq. 8",
           .summary = "NLL weighted by the token's probability: unlikely "
                      "tokens pull less",
           .loss = &TokenDft}};
}

// The loss `name`, which has no options, or an error text.
inline TokenLossOrError MakeTokenLoss(const std::string& name,
                                      const OptionValues& values = {}) {
  std::vector<std::string> known;
  for (const TokenLossEntry& entry : TokenLosses()) {
    known.push_back(entry.name);
    if (entry.name != name) continue;
    return {.loss = entry.loss, .error = SetOptions(name, {}, values)};
  }
  return {.error = UnknownName("loss", name, known)};
}

}  // namespace align::losses
