#pragma once

// What any policy loss can be given besides its own options: how tokens are
// weighed and averaged, a KL penalty, an entropy bonus.

#include <cmath>

#include "losses/aggregation.h"
#include "losses/kl.h"
#include "losses/options.h"
#include "losses/policy.h"
#include "losses/sampler_correction.h"
#include "losses/token_filters.h"

namespace align::losses {

enum class EntropyAverage { kTokens, kLoss };
enum class BatchWeight { kGlobal, kMicro };

struct PolicyTerms {
  AggregationRule aggregation;
  double beta = 0;
  KlRule kl;
  bool use_bias_correction_kl = false;
  double entropy_coef = 0;
  EntropyAverage entropy_average = EntropyAverage::kTokens;
  double top_entropy_quantile = 1;
  double off_policy_mask_threshold = 0;
  SamplerCorrectionRule sampler;
  double max_log_ratio = kMaxExponent;
  BatchWeight batch_weight = BatchWeight::kGlobal;

  // Without `aggregation`, whose default depends on the loss.
  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0},
                "weight of the KL penalty, in the loss; 0 needs no reference "
                "(TRL's default; DeepSeekMath 0.04)");
    kl.Describe(list);
    list.Flag("use_bias_correction_kl", &use_bias_correction_kl,
              "the KL times the ratio pi / pi_old, differentiated too: "
              "unbiased off-policy (DeepSeek-V3.2, arXiv 2512.02556, eq. 7; "
              "TRL)");
    list.Number("entropy_coef", &entropy_coef, {},
                "weight of the entropy, which is taken off the loss");
    list.Choice(
        "entropy_average", &entropy_average,
        {{"tokens", EntropyAverage::kTokens}, {"loss", EntropyAverage::kLoss}},
        "the entropy is averaged over all tokens (tokens: TRL, "
        "OpenRLHF) or as the loss is (loss: verl)");
    list.Number("top_entropy_quantile", &top_entropy_quantile,
                {.low = 0, .high = 1, .open_low = true},
                "share of tokens, those of the highest entropy, that the "
                "policy loss learns from (TRL); 1 is all");
    list.Number("off_policy_mask_threshold", &off_policy_mask_threshold,
                {.low = 0},
                "sequences with a negative advantage from which the policy "
                "has drifted by more than this, in nats a token, are dropped "
                "(TRL; DeepSeek-V3.2); 0 is off");
    sampler.Describe(list);
    list.Number("max_log_ratio", &max_log_ratio,
                {.low = 0, .high = kMaxExponent, .open_low = true},
                "log pi / pi_old stays within +- this, gradient 0 beyond. verl "
                "and OpenRLHF 20 (verl's gspo 10, above); TRL none, which is "
                "what exp can hold");
    list.Choice(
        "batch_weight", &batch_weight,
        {{"global", BatchWeight::kGlobal}, {"micro", BatchWeight::kMicro}},
        "micro-batches weigh what they count in tokens or sequences "
        "(global: exact under accumulation) or all the same (micro: "
        "TRL's grpo, bnpo, dr_grpo, luspo and sapo)");
  }

  PolicyNeeds Needs() const {
    const bool other_mean = entropy_coef != 0 &&
                            entropy_average == EntropyAverage::kTokens &&
                            aggregation.aggregation != Aggregation::kTokenMean;
    return {.reference = beta != 0,
            .sampler = sampler.active(),
            .entropy = entropy_coef != 0 || top_entropy_quantile < 1,
            .max_completion_length = aggregation.NeedsMaxLength(),
            .coupled = aggregation.coupled() || other_mean ||
                       top_entropy_quantile < 1};
  }
};

// What the policy loss of each token is multiplied by, a constant, [N]; empty
// where nothing is switched on. `sampler_weights` may be empty.
inline Eigen::ArrayXd TokenWeights(const PolicyInputs& in,
                                   const PolicyTerms& terms,
                                   const Eigen::ArrayXd& sampler_weights) {
  Eigen::ArrayXd out = sampler_weights;
  const auto multiply = [&out](const Eigen::ArrayXd& keep) {
    out = out.size() == 0 ? keep : Eigen::ArrayXd(out * keep);
  };
  if (terms.off_policy_mask_threshold > 0) {
    multiply(KeepOnPolicy(in, terms.off_policy_mask_threshold));
  }
  if (terms.top_entropy_quantile < 1) {
    multiply(KeepHighEntropy(in, terms.top_entropy_quantile));
  }
  return out;
}

}  // namespace align::losses
