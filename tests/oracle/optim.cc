// golden/optim: AdamW, clipping by norm and learning-rate schedules.

#include <cmath>

#include "align/nn/param_store.h"
#include "align/train/adamw_update.h"
#include "align/train/schedule.h"
#include "tests/oracle/handlers.h"

namespace align::oracle {
namespace {

// The parameters of a step one after the other: AdamW is element by element.
template <typename T>
std::vector<T> Flat(Json parameters) {
  const std::vector<double> numbers = Numbers(parameters);
  return {numbers.begin(), numbers.end()};
}

template <typename T>
absl::Status CheckAdamW(Json one, Tolerance tolerance, Case& result) {
  const Json params = one["params"];
  const std::vector<double> betas = Numbers(params["betas"]);
  const train::AdamWOptions options = {
      .learning_rate = Number(params["lr"]),
      .beta1 = betas.at(0),
      .beta2 = betas.at(1),
      .epsilon = Number(params["eps"]),
      .weight_decay = NumberOr(params, "weight_decay", 0)};
  std::vector<T> values = Flat<T>(one["initial_params"]);
  std::vector<T> first(values.size()), second(values.size());
  int64_t step = 0;
  for (Json golden : Items(one["steps"])) {
    std::vector<T> grads = Flat<T>(golden["grads"]);
    const auto scalars =
        train::MakeAdamWScalars<T>(options, options.learning_rate, ++step, 1.0);
    train::AdamWUpdate(scalars, scalars.keep,
                       static_cast<int64_t>(values.size()), values.data(),
                       grads.data(), first.data(), second.data());
    result.Near("parameters after step " + std::to_string(step),
                std::vector<double>(values.begin(), values.end()),
                Numbers(golden["params_after"]), tolerance);
  }
  const Json state = one["final_state_param0"];
  const std::vector<double> moments = Numbers(state["exp_avg"]);
  result.Near(
      "first moment",
      std::vector<double>(first.begin(), first.begin() + moments.size()),
      moments, tolerance);
  result.Near(
      "second moment",
      std::vector<double>(second.begin(), second.begin() + moments.size()),
      Numbers(state["exp_avg_sq"]), tolerance);
  return absl::OkStatus();
}

absl::Status CheckClip(Json one, Case& result) {
  const Json outputs = one["outputs"];
  const std::vector<float> grads = Flat<float>(one["inputs"]["grads"]);
  ParamStore store(
      {{.name = "all", .shape = {static_cast<int64_t>(grads.size())}}});
  store.EnableGradients();
  std::copy(grads.begin(), grads.end(), store.grads(0).begin());
  const double norm = train::GradientNorm({&store});
  // The gradients were rounded to f32.
  result.Near("norm", norm, Number(outputs["total_norm"]), {.relative = 1e-7});
  const double scale =
      train::ClipScale(norm, Number(one["params"]["max_norm"]));
  std::vector<double> clipped;
  for (float grad : grads) clipped.push_back(grad * scale);
  result.Near("clipped gradients", clipped, Numbers(outputs["clipped"]),
              {.relative = 2e-7});
  return absl::OkStatus();
}

absl::Status CheckSchedule(Json one, const std::string& kind, Case& result) {
  const Json params = one["params"];
  ALIGN_ASSIGN_OR_RETURN(const train::ScheduleKind parsed,
                         train::ParseScheduleKind(kind));
  ALIGN_ASSIGN_OR_RETURN(
      const train::LearningRateFactor factor,
      train::MakeSchedule(
          {.kind = parsed,
           .warmup_steps =
               static_cast<int64_t>(NumberOr(params, "num_warmup_steps", 0)),
           .total_steps =
               static_cast<int64_t>(NumberOr(params, "num_training_steps", 0)),
           .cosine_cycles = NumberOr(params, "num_cycles", 0.5)}));
  const double base = Number(params["base_lr"]);
  std::vector<double> rates;
  const std::vector<double> wanted = Numbers(one["lr_used_at_step"]);
  for (size_t step = 0; step < wanted.size(); ++step) {
    rates.push_back(base * factor(static_cast<int64_t>(step)));
  }
  result.Near("learning rate", rates, wanted,
              {.absolute = 1e-15 * base, .relative = 1e-13});
  return absl::OkStatus();
}

}  // namespace

void CheckOptimizers(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const std::string name = Text(one["optimizer"]);
    if (name != "AdamW") {
      reporter.Skip("optimizer " + name);
    } else if (FlagOr(one["params"], "amsgrad", false)) {
      reporter.Skip("optimizer AdamW with amsgrad");
    } else if (Text(one["dtype"]) == "float64") {
      reporter.Run("double", name, [&](Case& result) {
        return CheckAdamW<double>(one, {.absolute = 1e-13, .relative = 1e-13},
                                  result);
      });
    } else {
      reporter.Run("f32", name, [&](Case& result) {
        // Ten steps of a few roundings each.
        return CheckAdamW<float>(one, {.absolute = 1e-6, .relative = 1e-6},
                                 result);
      });
    }
  }
}

void CheckClipping(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const Json type = one["params"]["norm_type"];
    if (type.is_string() || Number(type) != 2) {
      reporter.Skip("clipping by another norm than the Euclidean one");
      continue;
    }
    reporter.Run("f32", "clip",
                 [&](Case& result) { return CheckClip(one, result); });
  }
}

void CheckSchedules(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    std::string kind = Text(one["schedule"]);
    if (kind == "constant_with_warmup") kind = "constant";
    if (kind != "constant" && kind != "linear" && kind != "cosine") {
      reporter.Skip("schedule " + kind);
      continue;
    }
    reporter.Run("double", kind, [&](Case& result) {
      return CheckSchedule(one, kind, result);
    });
  }
}

}  // namespace align::oracle
