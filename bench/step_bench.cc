// One training step, from packed tokens to stepped weights: SFT, reward model,
// DPO with a frozen reference, and PPO on a rollout that is already there.
// `tokens` are distinct tokens through the policy, `FLOP` the useful work of
// ForwardFlops: 3 forward passes of what is trained and 1 of the reference.
// With --profile it says instead where the time of each step goes; --precision
// auto|f32|bf16 is that of all models.

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "align/base/profile.h"
#include "align/data/batches.h"
#include "align/dnnl/machine_rates.h"
#include "align/dnnl/precision.h"
#include "align/train/optimizer.h"
#include "align/train/ppo_objective.h"
#include "align/train/preference_objective.h"
#include "align/train/reference.h"
#include "align/train/reward_objective.h"
#include "align/train/run_loop.h"
#include "align/train/sft_objective.h"
#include "bench/bench_main.h"
#include "bench/bench_model.h"

namespace align::bench {
namespace {

// All that one method's step needs. Models are made when a bench starts and
// end with it, so that only one method's are held at a time.
struct Method {
  std::vector<std::shared_ptr<Model>> trained;
  std::vector<std::shared_ptr<Model>> frozen;
  std::function<absl::StatusOr<train::MicroStep>()> step;
  double tokens = 0;
  double flops = 0;
};
// What a method's models are.
struct Setting {
  std::string model;
  Precision precision = Precision::kF32;
};
using MakeMethod = absl::StatusOr<Method> (*)(const Setting& setting);

// Takes steps of one method.
class Stepper {
 public:
  explicit Stepper(Method method)
      : method_(std::move(method)),
        stores_(Stores(method_)),
        // The rate does not change the work; this one leaves the models as they
        // are.
        optimizer_({.learning_rate = 1e-9}, {}, stores_) {}

  absl::Status Step() {
    const train::MicroSteps steps =
        [this]() -> absl::StatusOr<std::optional<train::MicroStep>> {
      ALIGN_ASSIGN_OR_RETURN(train::MicroStep step, method_.step());
      return std::optional<train::MicroStep>(std::move(step));
    };
    return train::RunLoop({.max_steps = 1}, steps, stores_, optimizer_, {})
        .status();
  }
  const Method& method() const { return method_; }

 private:
  static std::vector<ParamStore*> Stores(const Method& method) {
    std::vector<ParamStore*> stores;
    for (const auto& model : method.trained) stores.push_back(&model->params());
    return stores;
  }

  Method method_;
  std::vector<ParamStore*> stores_;
  train::Optimizer optimizer_;
};

void Step(benchmark::State& state, MakeMethod make, const Setting& setting) {
  absl::StatusOr<Method> method = make(setting);
  if (!method.ok()) {
    return state.SkipWithError(Message(method.status()).c_str());
  }
  Stepper stepper(*std::move(method));
  for (auto _ : state) {
    const absl::Status status = stepper.Step();
    if (!status.ok()) return state.SkipWithError(Message(status).c_str());
  }
  state.counters["tokens"] = Rate(stepper.method().tokens);
  state.counters["FLOP"] = Rate(stepper.method().flops);
}

absl::StatusOr<std::shared_ptr<Model>> Trained(
    absl::StatusOr<std::unique_ptr<Model>> model, Precision precision,
    Method& method) {
  if (!model.ok()) return model.status();
  (*model)->params().SetPrecision(precision);
  (*model)->params().EnableGradients();
  method.trained.push_back(*std::move(model));
  return method.trained.back();
}

// Binds `objective` to `batch` for good and counts its work.
template <class Batch>
void Finish(const train::Objective<Batch>& objective, Batch batch,
            Method& method) {
  method.tokens = static_cast<double>(batch.packed.rows());
  for (const auto& model : method.trained) {
    method.flops += 3 * ForwardFlops(model->config(), batch.packed);
  }
  for (const auto& model : method.frozen) {
    method.flops += ForwardFlops(model->config(), batch.packed);
  }
  method.step = [objective, batch = std::move(batch)] {
    return objective(batch);
  };
}

absl::StatusOr<Method> Sft(const Setting& setting) {
  Method method;
  ALIGN_ASSIGN_OR_RETURN(const auto policy, Trained(BenchModel(setting.model),
                                                    setting.precision, method));
  Finish<SftBatch>(
      train::SftObjective(*policy),
      {.packed = RandomBatch({}, policy->config().vocab_size), .ids = {}},
      method);
  return method;
}

PreferenceBatch RandomPairs(int64_t vocab) {
  return {.packed = RandomBatch({.prompts = 5, .replies = 2}, vocab),
          .ids = {},
          .margins = std::vector<double>(5, 0.0)};
}

absl::StatusOr<Method> RewardModel(const Setting& setting) {
  Method method;
  ALIGN_ASSIGN_OR_RETURN(
      const auto model,
      Trained(BenchRewardModel(setting.model), setting.precision, method));
  PreferenceBatch pairs = RandomPairs(model->config().vocab_size);
  pairs.packed.scored.clear();
  Finish<PreferenceBatch>(train::RewardObjective(*model, train::BradleyTerry()),
                          std::move(pairs), method);
  return method;
}

absl::StatusOr<Method> Dpo(const Setting& setting) {
  Method method;
  ALIGN_ASSIGN_OR_RETURN(const auto policy, Trained(BenchModel(setting.model),
                                                    setting.precision, method));
  method.frozen.push_back(CloneModel(*policy));
  method.frozen[0]->params().SetPrecision(setting.precision);
  ALIGN_ASSIGN_OR_RETURN(const train::NamedPairLoss loss,
                         train::MakePairLoss("sigmoid"));
  Finish<PreferenceBatch>(
      train::PerMicroBatch(train::PreferenceObjective(
          *policy, train::FrozenReference(*method.frozen[0]), loss)),
      RandomPairs(policy->config().vocab_size), method);
  return method;
}

absl::StatusOr<Method> Ppo(const Setting& setting) {
  Method method;
  ALIGN_ASSIGN_OR_RETURN(const auto policy, Trained(BenchModel(setting.model),
                                                    setting.precision, method));
  ALIGN_ASSIGN_OR_RETURN(
      const auto critic,
      Trained(BenchRewardModel(setting.model), setting.precision, method));
  train::PpoBatch batch;
  batch.packed = RandomBatch({}, policy->config().vocab_size);
  ALIGN_ASSIGN_OR_RETURN(const std::vector<float> log_probs,
                         train::FrozenReference (*policy)(batch.packed));
  batch.old_log_probs.assign(log_probs.begin(), log_probs.end());
  batch.old_values.assign(log_probs.size(), 0.0);
  for (size_t i = 0; i < log_probs.size(); ++i) {
    batch.advantages.push_back(i % 2 == 0 ? 1 : -1);
  }
  batch.returns = batch.advantages;
  Finish<train::PpoBatch>(train::PpoObjective(*policy, *critic),
                          std::move(batch), method);
  return method;
}

constexpr std::pair<const char*, MakeMethod> kMethods[] = {
    {"sft", Sft}, {"reward_model", RewardModel}, {"dpo", Dpo}, {"ppo", Ppo}};

absl::Status Add(const Setting& setting) {
  // A wrong name is an error of the call, not of each bench.
  ALIGN_RETURN_IF_ERROR(BenchConfig(setting.model).status());
  for (const auto& [method, make] : kMethods) {
    benchmark::RegisterBenchmark(("step/" + std::string(method)).c_str(), Step,
                                 make, setting)
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime();
  }
  return absl::OkStatus();
}

// The table of a few steps of every method; the first step is not in it.
absl::Status PrintProfiles(const Setting& setting) {
  constexpr int kSteps = 3;
  for (const auto& [method, make] : kMethods) {
    ALIGN_ASSIGN_OR_RETURN(Method made, make(setting));
    Stepper stepper(std::move(made));
    ALIGN_RETURN_IF_ERROR(stepper.Step());
    Profile profile;
    {
      const ProfileRun run(profile);
      for (int i = 0; i < kSteps; ++i) ALIGN_RETURN_IF_ERROR(stepper.Step());
    }
    std::printf(
        "step/%s, %s: %d steps of %.0f tokens and %.2f GFLOP of use\n\n%s\n",
        method, PrecisionName(setting.precision).c_str(), kSteps,
        stepper.method().tokens, stepper.method().flops / 1e9,
        profile.Table(MeasureBestRates(setting.precision)).c_str());
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace align::bench

int main(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  const absl::StatusOr<align::Precision> precision = align::ParsePrecision(
      align::bench::TakeFlag("precision", "f32", arguments));
  if (!precision.ok()) {
    std::fprintf(stderr, "%s\n", align::Message(precision.status()).c_str());
    return 2;
  }
  return align::bench::RunModelBenchmarks(
      arguments,
      [&](const std::string& model) {
        return align::bench::Add({model, *precision});
      },
      [&](const std::string& model) {
        return align::bench::PrintProfiles({model, *precision});
      });
}
