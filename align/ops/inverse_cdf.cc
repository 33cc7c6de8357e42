#include "align/ops/inverse_cdf.h"

#include "align/kernels/log_softmax.h"

namespace align {

int32_t InvertCumulative(std::span<const float> logits, float log_sum_exp,
                         double target) {
  return static_cast<int32_t>(kernels::InvertCumulative(
      logits.data(), static_cast<int64_t>(logits.size()), log_sum_exp, target));
}

}  // namespace align
