#include "align/ops/experts.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>

#include "align/base/check.h"
#include "align/kernels/lanes.h"
#include "align/ops/ops.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

using Score = RouterOptions::Score;

std::vector<double> Scores(const float* logits, int64_t count, Score kind) {
  std::vector<double> scores(logits, logits + count);
  if (kind == Score::kSigmoid) {
    for (double& s : scores) s = 1 / (1 + std::exp(-s));
    return scores;
  }
  const double most = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& s : scores) sum += s = std::exp(s - most);
  for (double& s : scores) s /= sum;
  return scores;
}

// Indices of the `count` highest values, lower indices first among equals.
std::vector<int32_t> Highest(const std::vector<double>& values, int64_t count) {
  std::vector<int32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return values[a] > values[b]; });
  order.resize(count);
  return order;
}

// Zero for experts of groups that were not chosen, as in DeepSeek's code.
void MaskGroups(const RouterOptions& options, std::vector<double>& choice) {
  const auto size = static_cast<int64_t>(choice.size()) / options.groups;
  std::vector<double> of_group;
  for (int64_t g = 0; g < options.groups; ++g) {
    std::vector<double> members(choice.begin() + g * size,
                                choice.begin() + (g + 1) * size);
    std::sort(members.begin(), members.end(), std::greater<>());
    of_group.push_back(std::accumulate(
        members.begin(), members.begin() + options.group_best, 0.0));
  }
  std::vector<uint8_t> open(options.groups, 0);
  for (const int32_t g : Highest(of_group, options.groups_chosen)) open[g] = 1;
  for (size_t e = 0; e < choice.size(); ++e) {
    if (open[static_cast<int64_t>(e) / size] == 0) choice[e] = 0;
  }
}

std::vector<int32_t> Choose(std::vector<double> choice, const Tensor& bias,
                            const RouterOptions& options) {
  if (bias.defined()) {
    for (size_t e = 0; e < choice.size(); ++e) choice[e] += bias.data()[e];
  }
  if (options.groups_chosen < options.groups) MaskGroups(options, choice);
  std::vector<int32_t> chosen = Highest(choice, options.chosen);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

// What turns one token's chosen scores into its weights, and back.
struct Weighing {
  const RouterOptions& options;
  const std::vector<double>& scores;
  std::span<const int32_t> chosen;

  double Sum() const {
    double sum = 0;
    for (const int32_t e : chosen) sum += scores[e];
    return sum + 1e-20;
  }
  void Weights(float* out) const {
    const double by = options.normalise ? options.scale / Sum() : options.scale;
    for (size_t i = 0; i < chosen.size(); ++i) {
      out[i] = static_cast<float>(by * scores[chosen[i]]);
    }
  }
  // Adds d(logits) for d(weights).
  void Backward(const float* grad, float* dlogits) const {
    const double sum = options.normalise ? Sum() : 1;
    double mean = 0;  // of the gradient, over normalised weights
    for (size_t i = 0; options.normalise && i < chosen.size(); ++i) {
      mean += grad[i] * scores[chosen[i]] / sum;
    }
    std::vector<double> dscores(chosen.size());
    double shared = 0;
    for (size_t i = 0; i < chosen.size(); ++i) {
      dscores[i] = options.scale / sum * (grad[i] - mean);
      shared += dscores[i] * scores[chosen[i]];
    }
    if (options.score == Score::kSoftmax) {
      for (size_t e = 0; e < scores.size(); ++e) {
        dlogits[e] -= static_cast<float>(shared * scores[e]);
      }
    }
    for (size_t i = 0; i < chosen.size(); ++i) {
      const double s = scores[chosen[i]];
      const double slope = options.score == Score::kSoftmax ? s : s * (1 - s);
      dlogits[chosen[i]] += static_cast<float>(dscores[i] * slope);
    }
  }
};

// The rows of each expert, in order.
std::vector<std::vector<int32_t>> RowsOfExperts(const Routing& routing,
                                                int64_t experts) {
  std::vector<std::vector<int32_t>> rows(experts);
  const int64_t k = routing.weights.dim(1);
  for (size_t i = 0; i < routing.experts.size(); ++i) {
    rows[routing.experts[i]].push_back(static_cast<int32_t>(i / k));
  }
  return rows;
}

// Rows of `outputs` by expert, weighed and added up in that order. Since a
// row's experts ascend, its slots are used one after the other.
Tensor Combine(std::vector<Tensor> outputs,
               std::vector<std::vector<int32_t>> rows, const Tensor& weights,
               int64_t width) {
  const int64_t n = weights.dim(0), k = weights.dim(1);
  // Calls body(expert, its row i, the token's row, the weight's place).
  const auto walk = [rows = std::move(rows), n, k](const auto& body) {
    std::vector<int64_t> used(n, 0);
    for (size_t e = 0; e < rows.size(); ++e) {
      for (size_t i = 0; i < rows[e].size(); ++i) {
        const int64_t row = rows[e][i];
        body(e, static_cast<int64_t>(i), row, row * k + used[row]++);
      }
    }
  };
  Tensor out = Tensor::Zeros({n, width});
  walk([&](size_t e, int64_t i, int64_t row, int64_t at) {
    kernels::Axpy(weights.data()[at], outputs[e].data() + i * width,
                  out.data() + row * width, width);
  });
  std::vector<Tensor> inputs = {weights};
  for (const Tensor& output : outputs) {
    if (output.defined()) inputs.push_back(output);
  }
  return Record(
      "MixExperts", out, std::move(inputs),
      [outputs = std::move(outputs), walk, weights, width](const float* grad) {
        walk([&](size_t e, int64_t i, int64_t row, int64_t at) {
          const float* dy = grad + row * width;
          if (weights.requires_grad()) {
            weights.grad()[at] +=
                kernels::Dot(outputs[e].data() + i * width, dy, width);
          }
          if (outputs[e].requires_grad()) {
            kernels::Axpy(weights.data()[at], dy, outputs[e].grad() + i * width,
                          width);
          }
        });
      });
}

}  // namespace

Routing Route(const Tensor& logits, const RouterOptions& options,
              const Tensor& bias) {
  const int64_t n = logits.dim(0), experts = logits.dim(1), k = options.chosen;
  ALIGN_CHECK(k > 0 && k <= experts && options.groups > 0 &&
              experts % options.groups == 0 &&
              options.group_best <= experts / options.groups &&
              options.groups_chosen > 0 &&
              (!bias.defined() || bias.size() == experts))
      << "[Route] " << k << " of " << experts << " experts in "
      << options.groups << " groups";
  Routing routing;
  routing.weights = Tensor::Empty({n, k});
  std::vector<std::vector<double>> scores;
  for (int64_t row = 0; row < n; ++row) {
    scores.push_back(
        Scores(logits.data() + row * experts, experts, options.score));
    const std::vector<int32_t> chosen = Choose(scores.back(), bias, options);
    routing.experts.insert(routing.experts.end(), chosen.begin(), chosen.end());
    Weighing{options, scores.back(), chosen}.Weights(routing.weights.data() +
                                                     row * k);
  }
  routing.weights =
      Record("Route", routing.weights, {logits},
             [logits, options, scores = std::move(scores),
              chosen = routing.experts](const float* grad) {
               const int64_t count = options.chosen, width = logits.dim(1);
               for (size_t row = 0; row < scores.size(); ++row) {
                 const auto at = static_cast<int64_t>(row);
                 Weighing{options, scores[row],
                          std::span(chosen).subspan(at * count, count)}
                     .Backward(grad + at * count, logits.grad() + at * width);
               }
             });
  return routing;
}

Tensor MixExperts(
    const Tensor& x, const Routing& routing, int64_t experts,
    const std::function<Tensor(int64_t expert, const Tensor& rows)>& run) {
  std::vector<std::vector<int32_t>> rows = RowsOfExperts(routing, experts);
  std::vector<Tensor> outputs(experts);
  for (int64_t e = 0; e < experts; ++e) {
    if (!rows[e].empty()) outputs[e] = run(e, GatherRows(x, rows[e]));
  }
  return Combine(std::move(outputs), std::move(rows), routing.weights,
                 x.dim(1));
}

}  // namespace align
