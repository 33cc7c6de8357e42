#pragma once

#include <cstdint>
#include <vector>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/data/examples.h"
#include "align/models/model.h"

namespace align::train {

struct PromptDensityOptions {
  // Prompts of each label that the classifier is fitted to, drawn without
  // replacement; TRL's prompt_sample_size.
  int64_t sample_size = 1024;
  int64_t max_tokens = 4096;  // of one batch of prompts, unless one has more
};

// Gives every undesirable example that has none its density_ratio: that of a
// logistic classifier (losses/density_ratio.h, with TRL's settings) which tells
// prompts of desirable examples from those of undesirable ones by the means of
// their final hidden rows under `embedder`. The classifier and its weights are
// BCO's (Jung et al. 2024, arXiv 2404.04656, version 1); what stands for a
// prompt is ours, where TRL asks for a function. Ratios are not clipped: the
// loss does that. kInvalidArgument: one of the labels does not occur, or ids
// that the model does not have.
absl::Status EstimateDensityRatios(const Model& embedder, const Rng& rng,
                                   const PromptDensityOptions& options,
                                   std::vector<UnpairedExample>& examples);

}  // namespace align::train
