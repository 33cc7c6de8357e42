// golden/reward and golden/rso.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "losses/reward.h"
#include "samplers/rejection.h"
#include "tests/oracle/handlers.h"

namespace align::oracle {
namespace {

using samplers::RejectionOptions;
using samplers::RejectionResult;

RejectionOptions OptionsOf(Json params) {
  return {.accept = static_cast<int64_t>(Number(params["num_samples"])),
          .beta = Number(params["beta"])};
}

// Indices as keys, or the texts that the case gives.
std::vector<std::string> KeysOf(Json inputs, size_t count) {
  std::vector<std::string> keys;
  if (const auto candidates = Find(inputs, "candidates")) {
    for (Json candidate : Items(*candidates)) keys.push_back(Text(candidate));
    return keys;
  }
  for (size_t i = 0; i < count; ++i) keys.push_back(std::to_string(i));
  return keys;
}

// The recorded uniforms must give the recorded candidates, in order.
absl::Status Replay(Json one, Case& result) {
  const Json inputs = one["inputs"], outputs = one["outputs"];
  const std::vector<double> rewards = Numbers(inputs["rewards"]);
  const std::vector<double> uniforms = Numbers(inputs["uniforms_in_order"]);
  const std::vector<std::string> keys = KeysOf(inputs, rewards.size());
  size_t used = 0;
  ALIGN_ASSIGN_OR_RETURN(
      const RejectionResult got,
      samplers::RejectionSample(keys, rewards, OptionsOf(one["params"]), [&] {
        return used < uniforms.size() ? uniforms[used++] : 0.0;
      }));
  if (const auto wanted = Find(outputs, "accepted")) {
    std::vector<std::string> accepted, texts;
    for (int64_t i : got.accepted) accepted.push_back(keys[i]);
    for (Json text : Items(*wanted)) texts.push_back(Text(text));
    result.True("the accepted candidates", accepted == texts);
    return absl::OkStatus();
  }
  result.Near("accepted",
              std::vector<double>(got.accepted.begin(), got.accepted.end()),
              Numbers(outputs["accepted_indices_in_order"]), {});
  result.Near("uniforms used", static_cast<double>(got.draws),
              Number(outputs["num_uniforms_consumed"]), {});
  return absl::OkStatus();
}

// Frequencies over as many trials as the file's own.
absl::Status MonteCarlo(Json one, Case& result) {
  const Json params = one["params"], outputs = one["outputs"];
  const std::vector<double> rewards = Numbers(one["inputs"]["rewards"]);
  const std::vector<std::string> keys = KeysOf(one["inputs"], rewards.size());
  const auto trials = static_cast<int64_t>(Number(params["trials"]));
  std::vector<double> included(rewards.size()), first(rewards.size());
  Rng rng(1);
  for (int64_t trial = 0; trial < trials; ++trial) {
    ALIGN_ASSIGN_OR_RETURN(
        const RejectionResult got,
        samplers::RejectionSample(keys, rewards, OptionsOf(params), rng));
    for (int64_t i : got.accepted) included[i] += 1.0 / trials;
    first[got.accepted.front()] += 1.0 / trials;
  }
  // Both sides are samples: four standard errors of the difference.
  const Tolerance tolerance = {
      .absolute = 4 * std::sqrt(2.0) * Number(outputs["standard_error_bound"])};
  result.Near("inclusion frequency", included,
              Numbers(outputs["inclusion_frequency"]), tolerance);
  result.Near("frequency of being first", first,
              Numbers(outputs["first_accepted_frequency"]), tolerance);
  return absl::OkStatus();
}

absl::Status CheckNeighbours(Json one, Case& result) {
  const Json inputs = one["inputs"], outputs = one["outputs"];
  const std::vector<double> rewards = Numbers(inputs["rewards"]);
  std::vector<int64_t> all(rewards.size());
  std::iota(all.begin(), all.end(), 0);
  const std::vector<samplers::RankedPair> pairs =
      samplers::NeighbourPairs(all, rewards);
  const std::vector<Json> names = Items(inputs["responses"]);
  const std::vector<Json> chosen = Items(outputs["chosen"]);
  const std::vector<Json> rejected = Items(outputs["rejected"]);
  result.Near("pairs", static_cast<double>(pairs.size()),
              static_cast<double>(chosen.size()), {});
  for (size_t i = 0; i < std::min(pairs.size(), chosen.size()); ++i) {
    const std::string pair = " of pair " + std::to_string(i);
    result.True("chosen" + pair,
                Text(names[pairs[i].chosen]) == Text(chosen[i]));
    result.True("rejected" + pair,
                Text(names[pairs[i].rejected]) == Text(rejected[i]));
  }
  return absl::OkStatus();
}

// What TRL reports of the rewards of both replies.
void CheckRewardMetrics(Json wanted, const Eigen::ArrayXd& chosen,
                        const Eigen::ArrayXd& rejected, Case& result) {
  result.Near("min_reward", std::min(chosen.minCoeff(), rejected.minCoeff()),
              Number(wanted["min_reward"]), kDouble);
  result.Near("mean_reward", (chosen.mean() + rejected.mean()) / 2,
              Number(wanted["mean_reward"]), kDouble);
  result.Near("max_reward", std::max(chosen.maxCoeff(), rejected.maxCoeff()),
              Number(wanted["max_reward"]), kDouble);
  // A mean of float32 ones and zeros there.
  result.Near("accuracy", (chosen > rejected).cast<double>().mean(),
              Number(wanted["accuracy"]), kFloat);
  result.Near("margin", (chosen - rejected).mean(), Number(wanted["margin"]),
              kDouble);
}

absl::Status CheckBradleyTerry(Json one, Case& result) {
  const Json inputs = one["inputs"], outputs = one["outputs"];
  const auto margin = Find(inputs, "margin");
  const Eigen::ArrayXd chosen = Array(inputs["rewards_chosen"]);
  const Eigen::ArrayXd rejected = Array(inputs["rewards_rejected"]);
  const losses::BradleyTerryResult got = losses::BradleyTerryLoss(
      chosen, rejected, margin ? Array(*margin) : Eigen::ArrayXd(),
      {.center_rewards_coefficient =
           NumberOr(one["params"], "center_rewards_coefficient", 0)});
  const auto count = static_cast<double>(got.loss.size());
  result.Near("loss", got.loss.mean(), Number(outputs["loss"]), kDouble);
  result.Near("gradient by chosen", got.d_chosen / count,
              Numbers(outputs["grad_rewards_chosen"]), kDouble);
  result.Near("gradient by rejected", got.d_rejected / count,
              Numbers(outputs["grad_rewards_rejected"]), kDouble);
  if (const auto metrics = Find(outputs, "metrics")) {
    CheckRewardMetrics(*metrics, chosen, rejected, result);
  }
  return absl::OkStatus();
}

}  // namespace

void CheckRewardLoss(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    reporter.Run("double", "Bradley-Terry",
                 [&](Case& result) { return CheckBradleyTerry(one, result); });
  }
}

void CheckRejection(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const std::string name = Text(one["fn"]);
    if (name.starts_with("replay")) {
      reporter.Run("double", name,
                   [&](Case& result) { return Replay(one, result); });
    } else if (name == "monte_carlo") {
      reporter.Run("double", name,
                   [&](Case& result) { return MonteCarlo(one, result); });
    } else if (name.starts_with("tournament_ranking")) {
      reporter.Run("double", name,
                   [&](Case& result) { return CheckNeighbours(one, result); });
    } else {
      reporter.Skip(name + ": no checker");
    }
  }
}

}  // namespace align::oracle
