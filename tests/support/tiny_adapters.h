#pragma once

#include <memory>
#include <string>
#include <vector>

#include "align/models/peft.h"
#include "tests/support/tiny_model.h"

namespace align {

// LoRA, rsLoRA and DoRA of rank 3.
inline std::vector<LoraOptions> LoraKinds() {
  const LoraOptions plain{.rank = 3, .alpha = 6};
  LoraOptions rslora = plain, dora = plain;
  rslora.use_rslora = true;
  dora.use_dora = true;
  return {plain, rslora, dora};
}

inline std::string KindName(const LoraOptions& options) {
  return options.use_dora ? "dora" : options.use_rslora ? "rslora" : "lora";
}

// Puts adapters on `model` that have learned something: none of their values
// is where it starts.
inline void AddLearnedAdapters(const LoraOptions& options, Model& model) {
  const absl::Status added = AddAdapters(options, Rng(7), model);
  ALIGN_CHECK(added.ok()) << added.ToString();
  ParamStore& params = model.adapters()->params();
  for (size_t i = 0; i < params.specs().size(); ++i) {
    Rng stream = Rng(8).Fork(i);
    for (float& v : params.values(i)) {
      v += static_cast<float>(0.1 * stream.Normal());
    }
  }
}

}  // namespace align
