// golden/optim: update rules, clipping by norm and learning-rate schedules.

#include <cctype>
#include <cmath>

#include "align/nn/param_store.h"
#include "align/train/optimizer_update.h"
#include "align/train/schedule.h"
#include "tests/oracle/handlers.h"

namespace align::oracle {
namespace {

// The parameters of a step one after the other: rules are element by element.
template <typename T>
std::vector<T> Flat(Json parameters) {
  const std::vector<double> numbers = Numbers(parameters);
  return {numbers.begin(), numbers.end()};
}

absl::StatusOr<train::OptimizerOptions> OptionsOf(Json one) {
  const Json params = one["params"];
  std::string name = Text(one["optimizer"]);
  for (char& c : name) c = static_cast<char>(std::tolower(c));
  train::OptimizerOptions options = {
      .learning_rate = Number(params["lr"]),
      .amsgrad = FlagOr(params, "amsgrad", false),
      .momentum = NumberOr(params, "momentum", 0),
      .nesterov = FlagOr(params, "nesterov", false),
      .weight_decay = NumberOr(params, "weight_decay", 0)};
  ALIGN_ASSIGN_OR_RETURN(options.kind, train::ParseOptimizerKind(name));
  options.epsilon = NumberOr(params, "eps", options.epsilon);
  options.beta2 = NumberOr(params, "alpha", options.beta2);
  if (const std::optional<Json> found = Find(params, "betas")) {
    const std::vector<double> betas = Numbers(*found);
    options.beta1 = betas.at(0);
    options.beta2 = betas.at(1);
  }
  return options;
}

// PyTorch's names of the state that train::StateNames lists.
std::vector<const char*> TorchStateNames(
    const train::OptimizerOptions& options) {
  switch (options.kind) {
    case train::OptimizerKind::kAdamW:
    case train::OptimizerKind::kAdam:
      return {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"};
    case train::OptimizerKind::kSgd:
      return {"momentum_buffer"};
    case train::OptimizerKind::kRmsProp:
      return {"square_avg"};
    case train::OptimizerKind::kAdaGrad:
      return {"sum"};
  }
  return {};
}

template <typename T>
absl::Status CheckUpdateRule(Json one, Tolerance tolerance, Case& result) {
  ALIGN_ASSIGN_OR_RETURN(const train::OptimizerOptions options, OptionsOf(one));
  std::vector<T> values = Flat<T>(one["initial_params"]);
  std::vector<std::vector<T>> state(3, std::vector<T>(values.size()));
  int64_t step = 0;
  for (Json golden : Items(one["steps"])) {
    std::vector<T> grads = Flat<T>(golden["grads"]);
    const auto scalars = train::MakeUpdateScalars<T>(
        options, options.learning_rate, ++step, 1.0);
    train::UpdateParameters(
        options, scalars, /*decayed=*/true, static_cast<int64_t>(values.size()),
        values.data(), grads.data(),
        train::StatePointers<T>{state[0].data(), state[1].data(),
                                state[2].data()});
    result.Near("parameters after step " + std::to_string(step),
                std::vector<double>(values.begin(), values.end()),
                Numbers(golden["params_after"]), tolerance);
  }
  const Json final_state = one["final_state_param0"];
  const std::vector<const char*> names = TorchStateNames(options);
  for (size_t i = 0; i < train::StateNames(options).size(); ++i) {
    const std::optional<Json> moments = Find(final_state, names.at(i));
    if (!moments) continue;
    const std::vector<double> wanted = Numbers(*moments);
    result.Near(
        names[i],
        std::vector<double>(state[i].begin(), state[i].begin() + wanted.size()),
        wanted, tolerance);
  }
  return absl::OkStatus();
}

absl::Status CheckClip(Json one, Case& result) {
  const Json outputs = one["outputs"];
  const std::vector<float> grads = Flat<float>(one["inputs"]["grads"]);
  ParamStore store(
      {{.name = "all", .shape = {static_cast<int64_t>(grads.size())}}});
  store.EnableGradients();
  std::copy(grads.begin(), grads.end(), store.grads(0).begin());
  const Json type = one["params"]["norm_type"];
  ALIGN_ASSIGN_OR_RETURN(
      const train::NormKind kind,
      train::ParseNormKind(type.is_string()
                               ? Text(type)
                               : std::to_string(std::lround(Number(type)))));
  const double norm = train::GradientNorm({&store}, kind);
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

absl::Status CheckSchedule(Json one, const std::string& name, Case& result) {
  const Json params = one["params"];
  const auto steps = [&](const char* key) {
    return static_cast<int64_t>(NumberOr(params, key, 0));
  };
  const double base = Number(params["base_lr"]);
  ALIGN_ASSIGN_OR_RETURN(const train::ScheduleKind kind,
                         train::ParseScheduleKind(name));
  train::ScheduleOptions options = {
      .kind = kind,
      .warmup_steps = steps("num_warmup_steps"),
      .total_steps = steps("num_training_steps"),
      .cycles = NumberOr(params, "num_cycles",
                         name == "cosine_with_restarts" ? 1 : 0.5),
      .minimum =
          NumberOr(params, "min_lr_rate", NumberOr(params, "min_lr_ratio", 0)),
      .power = NumberOr(params, "power", 1),
      .end = NumberOr(params, "lr_end", 0) / base,
      .timescale = steps("timescale"),
      .decay_steps = steps("num_decay_steps")};
  if (kind == train::ScheduleKind::kWarmupStableDecay) {
    options.total_steps =
        options.warmup_steps + steps("num_stable_steps") + options.decay_steps;
  }
  ALIGN_ASSIGN_OR_RETURN(const train::LearningRateFactor factor,
                         train::MakeSchedule(options));
  std::vector<double> rates;
  const std::vector<double> wanted = Numbers(one["lr_used_at_step"]);
  for (size_t step = 0; step < wanted.size(); ++step) {
    rates.push_back(base * factor(static_cast<int64_t>(step)));
  }
  result.Near("learning rate", rates, wanted,
              {.absolute = 1e-15 * base, .relative = 1e-13});
  return absl::OkStatus();
}

// Shapes that transformers offers and no peer's default uses.
bool KnownShape(Json params) {
  return TextOr(params, "warmup_type", "linear") == "linear" &&
         TextOr(params, "decay_type", "cosine") == "cosine";
}

}  // namespace

void CheckOptimizers(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const std::string name = Text(one["optimizer"]);
    if (Text(one["dtype"]) == "float64") {
      reporter.Run("double", name, [&](Case& result) {
        return CheckUpdateRule<double>(
            one, {.absolute = 1e-13, .relative = 1e-13}, result);
      });
    } else {
      reporter.Run("f32", name, [&](Case& result) {
        // Ten steps of a few roundings each.
        return CheckUpdateRule<float>(one, {.absolute = 1e-6, .relative = 1e-6},
                                      result);
      });
    }
  }
}

void CheckClipping(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    reporter.Run("f32", "clip",
                 [&](Case& result) { return CheckClip(one, result); });
  }
}

void CheckSchedules(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const std::string name = Text(one["schedule"]);
    if (!KnownShape(one["params"])) {
      reporter.Skip(
          "warmup_stable_decay with another shape than linear, cosine");
      continue;
    }
    reporter.Run("double", name, [&](Case& result) {
      return CheckSchedule(one, name, result);
    });
  }
}

}  // namespace align::oracle
