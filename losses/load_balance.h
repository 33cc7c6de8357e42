#pragma once

// The auxiliary loss that keeps the experts of a mixture busy alike.

#include <Eigen/Core>
#include <utility>
#include <vector>

namespace align::losses {

// How a router's logits become a token's distribution over the experts: softmax
// (Mixtral, DeepSeek-V2), or sigmoids over their sum (DeepSeek-V3).
enum class RouterScore { kSoftmax, kSigmoid };

// What routers said of N rows. A group holds ranges [begin, end) of rows; a row
// in several ranges counts as often, such as a prompt's that several replies
// share.
struct LoadBalanceInputs {
  using Rows = std::vector<std::pair<Eigen::Index, Eigen::Index>>;

  Eigen::ArrayXXd logits;   // [N, E]
  Eigen::ArrayXXi experts;  // [N, k] chosen
  std::vector<Rows> groups;
};

struct LoadBalanceOptions {
  RouterScore score = RouterScore::kSoftmax;
  bool per_choice = false;  // also divide by k
};

struct LoadBalanceResult {
  double loss = 0;
  Eigen::ArrayXXd d_logits;  // [N, E]
};

namespace load_balance {

// Rows of p [N, E] that sum to one, and of s with p = s / sum(s).
inline Eigen::ArrayXXd Scores(const Eigen::ArrayXXd& logits,
                              RouterScore score) {
  if (score == RouterScore::kSigmoid) return 1 / (1 + (-logits).exp());
  return (logits.colwise() - logits.rowwise().maxCoeff()).exp();
}

// d(loss) / d(logits) from d(loss) / d(p).
inline Eigen::ArrayXXd ThroughScores(const Eigen::ArrayXXd& s,
                                     const Eigen::ArrayXXd& p,
                                     const Eigen::ArrayXXd& dp,
                                     RouterScore score) {
  const Eigen::ArrayXXd centred = dp.colwise() - (dp * p).rowwise().sum();
  if (score == RouterScore::kSoftmax) return p * centred;
  return centred.colwise() / s.rowwise().sum() * s * (1 - s);
}

}  // namespace load_balance

// E sum_e f_e P_e, meant over the groups: f_e is how many of a group's tokens
// chose expert e and P_e the mean of their p_e, over as many tokens. With one
// group of all tokens in all layers it is Fedus et al. 2021 (arXiv 2101.03961,
// eq. 4 to 6) for k choices, as transformers' load_balancing_loss_func has it;
// per_choice and a group a sequence make it DeepSeek-V2's expert-level loss
// (arXiv 2405.04434, eq. 23 to 25, seq_aux in its code) and V3's sequence-wise
// one (arXiv 2412.19437, eq. 17 to 20, by the experts that were chosen). f gets
// no gradient. 1, or k without per_choice, when all are alike; no tokens: 0.
inline LoadBalanceResult LoadBalanceLoss(const LoadBalanceInputs& in,
                                         const LoadBalanceOptions& options) {
  const Eigen::Index rows = in.logits.rows(), count = in.logits.cols();
  const Eigen::ArrayXXd s = load_balance::Scores(in.logits, options.score);
  const Eigen::ArrayXXd p = s.colwise() / s.rowwise().sum();
  const double scale =
      static_cast<double>(count) /
      (options.per_choice ? static_cast<double>(in.experts.cols()) : 1.0);
  LoadBalanceResult out;
  Eigen::ArrayXXd dp = Eigen::ArrayXXd::Zero(rows, count);
  double groups = 0;
  for (const LoadBalanceInputs::Rows& group : in.groups) {
    Eigen::ArrayXd load = Eigen::ArrayXd::Zero(count);
    Eigen::ArrayXd mean = Eigen::ArrayXd::Zero(count);
    double tokens = 0;
    for (const auto& [begin, end] : group) {
      tokens += static_cast<double>(end - begin);
      for (Eigen::Index t = begin; t < end; ++t) {
        for (const int e : in.experts.row(t)) ++load[e];
        mean += p.row(t).transpose();
      }
    }
    if (tokens == 0) continue;
    ++groups;
    load /= tokens;
    out.loss += scale * (load * mean).sum() / tokens;
    for (const auto& [begin, end] : group) {
      dp.middleRows(begin, end - begin).rowwise() +=
          (scale / tokens * load).transpose();
    }
  }
  if (groups > 0) {
    out.loss /= groups;
    dp /= groups;
  }
  out.d_logits = load_balance::ThroughScores(s, p, dp, options.score);
  return out;
}

}  // namespace align::losses
