#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "align/base/precision.h"
#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/data/loader.h"
#include "align/models/model.h"
#include "align/text/tokenizer.h"
#include "align/train/reward_function.h"
#include "align/train/run_loop.h"
#include "proto/compare.pb.h"
#include "proto/config.pb.h"
#include "samplers/generate.h"

namespace align {

// What every stage of one compare job works with. Stages run one at a time, on
// one thread; `config` and `stop` must outlive it.
class CompareContext {
 public:
  // Loads tokenizer and judge. Errors are those of the files and the config.
  static absl::StatusOr<std::unique_ptr<CompareContext>> Create(
      const pb::CompareConfig& config, std::string out, std::string stage,
      std::function<bool()> stop);

  const pb::CompareConfig& config() const { return config_; }
  const std::string& out() const { return out_; }
  const std::string& stage() const { return stage_; }
  std::string directory() const;
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const samplers::SamplingOptions& sampling() const { return sampling_; }
  Precision precision() const { return precision_; }
  Rng rng() const { return Rng(config_.seed()).Fork(stage_); }
  pb::StageRecord& record() { return record_; }
  const std::function<bool()>& stop() const { return stop_; }

  // The judge's rewards of replies to prompts, one finite number each.
  absl::StatusOr<std::vector<double>> Judge(
      std::span<const std::vector<int32_t>> prompts,
      std::span<const std::vector<int32_t>> replies) const;

  // The model of a directory, or the base with adapters on `base`, which
  // multiplies in the job's precision. Errors are those of LoadModel.
  absl::StatusOr<std::unique_ptr<Model>> Load(
      const std::string& directory, const std::string& base = "") const;
  // The policy that SFT left.
  absl::StatusOr<std::unique_ptr<Model>> LoadSft() const;
  // What the stage reward_model left.
  absl::StatusOr<std::unique_ptr<Model>> LoadTrainedRewardModel() const;

  // `count` replies to every prompt, judged; random streams are
  // rng.Fork(number).Fork(k). Counts the tokens.
  absl::StatusOr<pb::Samples> Sample(const Model& policy,
                                     const pb::Samples& prompts, int64_t count,
                                     const Rng& rng);

  absl::StatusOr<pb::Samples> ReadSamples(const std::string& stage,
                                          const std::string& file) const;
  absl::Status Write(const std::string& file,
                     const google::protobuf::Message& message) const;

  // Trains `stores` on micro-steps by a stage's settings, with progress lines,
  // and metrics.jsonl and a TensorBoard event file in the stage's directory.
  absl::Status Train(const pb::StageTraining& training,
                     const train::MicroSteps& steps,
                     std::vector<ParamStore*> stores,
                     train::Observer check = nullptr);

 private:
  CompareContext(const pb::CompareConfig& config, std::string out,
                 std::string stage, std::function<bool()> stop);

  const pb::CompareConfig& config_;
  std::string out_;
  std::string stage_;
  std::function<bool()> stop_;
  std::unique_ptr<Tokenizer> tokenizer_;
  samplers::SamplingOptions sampling_;
  Precision precision_ = Precision::kF32;
  std::unique_ptr<Model> gold_model_;
  train::RewardFunction judge_;
  pb::StageRecord record_;
};

std::vector<int32_t> Ids(
    const google::protobuf::RepeatedField<int32_t>& tokens);

}  // namespace align
