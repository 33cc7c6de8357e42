#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/nn/param_store.h"
#include "align/train/optimizer.h"
#include "losses/running_moments.h"

namespace align::train {

// All that a run needs besides weights and moments to continue to the bit.
struct CheckpointState {
  int64_t step = 0;                           // of the loop
  std::string config_hash;                    // of the resolved config
  std::map<std::string, int64_t> positions;   // of data sources
  std::map<std::string, Rng::State> streams;  // random streams
  std::map<std::string, double> values;  // KL coefficient, running moments, ...
};

// Keeps a loss's running moments among `state`'s values, and takes them back:
// kFailedPrecondition when one is missing.
void SaveMoments(const losses::RunningMoments& moments, CheckpointState& state);
absl::Status RestoreMoments(const CheckpointState& state,
                            losses::RunningMoments& moments);

// A store under the name of its files: "policy", "critic".
struct NamedStore {
  std::string name;
  ParamStore* store = nullptr;
};

// The checkpoints of one run: directories step-000120 below `root`, each with
// the values of every store (NAME.safetensors), the optimizer's moments
// (NAME.moments.safetensors) and a manifest with the content hash of each file,
// itself under a hash. A directory appears under its name only when it is
// complete and on disk. `stores`, in the optimizer's order, and `optimizer`
// must outlive it. Used by one thread.
class Checkpoints {
 public:
  // Keeps the `keep` newest checkpoints; at least 1.
  Checkpoints(std::string root, int64_t keep, std::vector<NamedStore> stores,
              Optimizer& optimizer);

  // Writes step-NNNNNN of state.step, replacing one of the same step, and then
  // deletes the oldest beyond `keep`.
  absl::Status Save(const CheckpointState& state);

  // Puts the newest checkpoint that verifies back into stores and optimizer and
  // returns its state; nullopt when there is none. One that does not verify is
  // passed over with a warning. kFailedPrecondition, and nothing is changed,
  // when the newest good one was made by another config than `config_hash` or
  // holds other tensors than the stores.
  absl::StatusOr<std::optional<CheckpointState>> RestoreLatest(
      const std::string& config_hash);

 private:
  std::vector<std::string> StoreFiles() const;
  absl::Status WriteFiles(const std::string& directory,
                          const CheckpointState& state);
  absl::Status Load(const std::string& directory, int64_t optimizer_steps);

  std::string root_;
  int64_t keep_;
  std::vector<NamedStore> stores_;
  Optimizer& optimizer_;
};

}  // namespace align::train
