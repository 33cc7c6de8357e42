#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "align/base/rng.h"
#include "align/nn/param_store.h"
#include "align/train/run_loop.h"

namespace align::train {

// A store of a matrix and a vector, values drawn from `seed`.
inline std::unique_ptr<ParamStore> ToyStore(uint64_t seed) {
  auto store = std::make_unique<ParamStore>(
      std::vector<ParamSpec>{{"weight", {37, 1201}}, {"norm", {13}}});
  Rng rng(seed);
  for (size_t p = 0; p < store->specs().size(); ++p) {
    for (float& value : store->values(p)) {
      value = static_cast<float>(rng.Normal());
    }
  }
  store->EnableGradients();
  return store;
}

// Micro-steps of the quadratic 1/2 sum over examples of |w - target|^2, where
// the target of example i is drawn from i alone; `examples` a micro-batch,
// `position` counts them.
inline MicroSteps Quadratic(ParamStore& store, int64_t examples,
                            int64_t& position) {
  return [&store, examples,
          &position]() -> absl::StatusOr<std::optional<MicroStep>> {
    MicroStep step;
    for (int64_t e = 0; e < examples; ++e, ++position) {
      Rng rng = Rng(99).Fork(static_cast<uint64_t>(position));
      for (size_t p = 0; p < store.specs().size(); ++p) {
        const std::span<float> values = store.values(p);
        const std::span<float> grads = store.grads(p);
        for (size_t i = 0; i < values.size(); ++i) {
          const double error = values[i] - rng.Uniform();
          step.loss_sum += 0.5 * error * error;
          grads[i] += static_cast<float>(error);
        }
      }
      step.weight += 1;
      step.record_ids.push_back("row" + std::to_string(position));
    }
    step.metrics["examples"] = {step.weight, 1};
    return step;
  };
}

}  // namespace align::train
