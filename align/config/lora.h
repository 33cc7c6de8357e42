#pragma once

// The adapters of a training run: model.lora.

#include <cstdint>
#include <memory>
#include <string>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/config/train_run.h"
#include "align/models/model.h"

namespace align {

// Fills in the defaults of model.lora and refuses by key what cannot be: the
// keys elsewhere, on a new model, dropout where a step is sampled or checks its
// ratios. With model.path a PEFT directory, whose adapters go on learning, keys
// that are not set stay so.
absl::Status ResolveLora(pb::TrainConfig& config);

// The model of model.path, a reward model for method `reward`, with the
// adapters of model.lora on it: new ones, drawn from `rng`, or those of a PEFT
// directory. Without model.lora a PEFT directory gives the merged model, all of
// which is trained.
absl::StatusOr<std::unique_ptr<Model>> LoadTrained(
    const pb::TrainConfig& config, const Rng& rng);

// The policy as it is now, frozen: a copy; of a model with adapters the same
// one with them off or, when they were learned before, with a copy of them.
// Holds no copy of the base then, and `policy` must outlive it.
std::unique_ptr<Model> FrozenStart(const pb::TrainConfig& config,
                                   const Model& policy);

// The parameters that are held for a run: what is frozen and what is trained
// of `model`, and the reference that FrozenStart makes of it, if it holds any.
std::vector<HeldModel> HeldTrained(const std::string& role, const Model& model,
                                   int64_t trained_copies);
HeldModel HeldStart(const pb::TrainConfig& config, const Model& policy);

// Drops inputs of the adapters in the micro-steps of `run`, which are all
// there, if lora.dropout says so: by the number of the micro-step, so that a
// run which was stopped goes on to the bit.
void AddDropout(const pb::TrainConfig& config, TrainRun& run);

// Writes what was trained: a model directory, or a PEFT directory on the base.
absl::Status SaveTrained(const pb::TrainConfig& config, const Model& model,
                         const std::string& directory);

}  // namespace align
