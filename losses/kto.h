#pragma once

#include <algorithm>

#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/unpaired.h"

namespace align::losses {

// Where KTO's reference point z comes from.
enum class KtoKl { kMismatched, kGiven };

struct KtoOptions {
  double beta = 0.1;
  double desirable_weight = 1.0;
  double undesirable_weight = 1.0;
  KtoKl kl = KtoKl::kMismatched;
  double kl_value = 0.0;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "risk aversion: how soon the value saturates around z");
    list.Number("desirable_weight", &desirable_weight, {.low = 0},
                "the paper's lambda_D; it advises desirable_weight * desirable "
                "/ (undesirable_weight * undesirable) in [1, 4/3]");
    list.Number("undesirable_weight", &undesirable_weight, {.low = 0},
                "the paper's lambda_U");
    list.Choice("kl", &kl,
                {{"mismatched", KtoKl::kMismatched}, {"given", KtoKl::kGiven}},
                "z: the batch mean of the mismatched log-ratios, at least 0 "
                "(mismatched: the authors, TRL, LLaMA-Factory), or kl_value "
                "(given)");
    list.Number("kl_value", &kl_value, {.low = 0},
                "z if it is given, in nats; 0 is TRL's calculate_KL = False");
  }
};

// max(0, mean log pi/ref of the mismatched replies), in nats; 0 of none. The
// clamp is on the mean, not on each, so that noise around 0 cancels first.
// Ethayarajh et al. 2024 (arXiv 2402.01306), section 4.1, estimate of z_0.
inline double MismatchedKl(const Eigen::ArrayXd& policy,
                           const Eigen::ArrayXd& reference) {
  if (policy.size() == 0) return 0.0;
  return std::max(0.0, (policy - reference).mean());
}

// KTO. With the log-ratio r = log pi/ref and z, which has no gradient:
//   desirable:   lambda_D (1 - sigmoid(beta (r - z)))
//   undesirable: lambda_U (1 - sigmoid(beta (z - r)))
// Ethayarajh et al. 2024 (arXiv 2402.01306), eq. 8.
inline UnpairedResult KtoLoss(const UnpairedInputs& in,
                              const KtoOptions& options) {
  const double z =
      options.kl == KtoKl::kGiven
          ? options.kl_value
          : MismatchedKl(in.mismatched_policy, in.mismatched_reference);
  const Eigen::ArrayXd ratios = LogRatios(in);
  const Eigen::ArrayXd weight =
      ByLabel(in, options.desirable_weight, options.undesirable_weight);
  const Eigen::ArrayXd sign = ByLabel(in, 1.0, -1.0);
  const Eigen::ArrayXd x = options.beta * sign * (ratios - z);
  // 1 - sigmoid(x) as sigmoid(-x): the difference loses all digits of a reply
  // that is far on the right side.
  const Eigen::ArrayXd miss = Sigmoid(Eigen::ArrayXd(-x));
  return {weight * miss, -options.beta * weight * sign * miss * Sigmoid(x),
          options.beta * ratios, z};
}

}  // namespace align::losses
