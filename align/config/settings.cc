#include "align/config/settings.h"

#include <string>

#include "proto/config.pb.h"

namespace align {
namespace {

// Overwrites `field` when the message has the value.
#define ALIGN_READ(message, name, field) \
  if ((message).has_##name()) (field) = (message).name()

absl::Status CheckRange(const char* key, double value, bool ok,
                        const char* expected) {
  if (ok) return absl::OkStatus();
  return InvalidArgument(std::string(key) + ": " + std::to_string(value) +
                         "; expected " + expected);
}

}  // namespace

absl::StatusOr<StepSettings> ReadOptimizer(const pb::OptimizerConfig& config,
                                           int64_t steps) {
  StepSettings settings;
  train::AdamWOptions& adamw = settings.optimizer;
  ALIGN_READ(config, learning_rate, adamw.learning_rate);
  ALIGN_READ(config, beta1, adamw.beta1);
  ALIGN_READ(config, beta2, adamw.beta2);
  ALIGN_READ(config, epsilon, adamw.epsilon);
  ALIGN_READ(config, weight_decay, adamw.weight_decay);
  ALIGN_READ(config, max_grad_norm, settings.max_grad_norm);
  ALIGN_RETURN_IF_ERROR(
      CheckRange("optimizer.learning_rate", adamw.learning_rate,
                 adamw.learning_rate >= 0 && adamw.learning_rate < 10,
                 "a number in [0, 10)"));
  for (const auto& [key, beta] : {std::pair("optimizer.beta1", adamw.beta1),
                                  std::pair("optimizer.beta2", adamw.beta2)}) {
    ALIGN_RETURN_IF_ERROR(
        CheckRange(key, beta, beta >= 0 && beta < 1, "a number in [0, 1)"));
  }
  ALIGN_RETURN_IF_ERROR(CheckRange("optimizer.epsilon", adamw.epsilon,
                                   adamw.epsilon > 0, "a number above 0"));
  ALIGN_RETURN_IF_ERROR(CheckRange("optimizer.weight_decay", adamw.weight_decay,
                                   adamw.weight_decay >= 0,
                                   "a number of at least 0"));
  ALIGN_RETURN_IF_ERROR(
      CheckRange("optimizer.max_grad_norm", settings.max_grad_norm,
                 settings.max_grad_norm >= 0, "0 (no clipping) or more"));
  if (config.has_schedule()) {
    ALIGN_ASSIGN_OR_RETURN(settings.schedule.kind,
                           train::ParseScheduleKind(config.schedule()));
  }
  ALIGN_READ(config, warmup_steps, settings.schedule.warmup_steps);
  settings.schedule.total_steps = steps;
  return settings;
}

absl::StatusOr<samplers::SamplingOptions> ReadSampling(
    const pb::SamplingConfig& config) {
  samplers::SamplingOptions options;
  ALIGN_READ(config, max_new_tokens, options.max_new_tokens);
  ALIGN_READ(config, temperature, options.temperature);
  ALIGN_READ(config, top_k, options.top_k);
  ALIGN_READ(config, top_p, options.top_p);
  ALIGN_READ(config, max_rows, options.max_rows);
  ALIGN_RETURN_IF_ERROR(CheckRange("sampling.max_new_tokens",
                                   static_cast<double>(options.max_new_tokens),
                                   options.max_new_tokens >= 1, "at least 1"));
  ALIGN_RETURN_IF_ERROR(CheckRange("sampling.temperature", options.temperature,
                                   options.temperature >= 0, "0 or more"));
  return options;
}

#undef ALIGN_READ

}  // namespace align
