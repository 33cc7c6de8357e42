#pragma once

#include <cmath>

#include "losses/token_nll.h"

namespace align::losses {

// -sg(p) log p of N tokens, un-reduced: SFT as the policy gradient of a reward
// that does not explode where the model finds a token unlikely. Wu et al. 2025
// (arXiv 2508.05629), eq. 8; TRL's loss_type = "dft". Divide as TokenNll.
inline TokenLossResult TokenDft(const Eigen::ArrayXd& log_prob) {
  const Eigen::ArrayXd p =
      log_prob.unaryExpr([](double v) { return std::exp(v); });
  return {-p * log_prob, -p};
}

}  // namespace align::losses
