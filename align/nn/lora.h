#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "align/base/rng.h"
#include "align/nn/param_store.h"
#include "align/ops/ops.h"
#include "align/tensor/tensor.h"

namespace align {

// LoRA (Hu et al. 2021, arXiv 2106.09685, eq. 3): a linear layer of frozen
// weight W becomes x -> W x + scale B A x; with rsLoRA the scale is alpha /
// sqrt(rank) instead of alpha / rank (Kalajdzievski 2023, arXiv 2312.03732),
// and with DoRA every row of W + scale B A is brought to a learned length (Liu
// et al. 2024, arXiv 2402.09353, eq. 5).
struct LoraOptions {
  int64_t rank = 8;
  double alpha = 16;
  double dropout = 0;  // of the adapters' inputs, in [0, 1)
  bool use_rslora = false;
  bool use_dora = false;
  // Which layers: by the last parts of their names, or all of them, or by a
  // regular expression for the whole name. Kept for adapter_config.json.
  std::vector<std::string> targets = {"all-linear"};
  std::string target_regex;  // not empty: instead of targets

  double Scale() const;
};

// A linear layer with an adapter: the parameter MODULE.weight.
struct LoraSite {
  std::string module;  // "model.layers.0.self_attn.q_proj"
  int64_t inputs = 0;
  int64_t outputs = 0;
  WeightLayout layout = WeightLayout::kOutIn;
};

// The adapters of one model: a second arena of parameters beside the frozen
// ones, by PEFT's names, "base_model.model.MODULE.lora_A.weight" [rank,
// inputs], "...lora_B.weight" [outputs, rank] and, with DoRA,
// "...lora_magnitude_vector" [outputs]. Parameters that are trained whole, a
// new score head, are in it too. Owns what it holds. Const calls may run
// concurrently as long as no gradients are recorded.
class LoraAdapters {
 public:
  // All zeros. `whole` are parameters of the model by their own names.
  LoraAdapters(const LoraOptions& options, std::vector<LoraSite> sites,
               std::vector<ParamSpec> whole = {});

  const LoraOptions& options() const { return options_; }
  const std::vector<LoraSite>& sites() const { return sites_; }
  const std::vector<ParamSpec>& whole() const { return whole_; }
  ParamStore& params() { return params_; }
  const ParamStore& params() const { return params_; }

  // Adapters that change nothing, as PEFT starts them: A uniform in +-1 /
  // sqrt(inputs), drawn from `rng` by name, B 0, lengths those of the rows of
  // `base`; what is trained whole is copied from there.
  void Start(const ParamStore& base, const Rng& rng);
  // The same values in adapters of their own, without gradients.
  std::unique_ptr<LoraAdapters> Copy() const;

  bool Has(const std::string& module) const { return index_.contains(module); }
  // The layer with its adapter: x [N, inputs] -> [N, outputs]. `weight` and
  // `bias` (or an undefined tensor), those of `module`, get no gradient. A
  // row's bits depend on that row alone, unless it drops.
  Tensor Project(const Tensor& x, const std::string& module,
                 const Tensor& weight, const Tensor& bias) const;
  // The parameter `name` of the model if it is trained whole, else null.
  const Tensor* Whole(const std::string& name) const;

  // Puts what the adapters do into the weights of `base`.
  void MergeInto(ParamStore& base) const;

  // The name that `tensor` of the model has in this arena and in PEFT's files.
  static std::string ArenaName(const std::string& tensor);

 private:
  friend class DropoutScope;
  Tensor ProjectDora(const Tensor& x, const Tensor& dropped,
                     const LoraSite& site, const Tensor& weight,
                     const Tensor& bias) const;
  const Tensor& A(const LoraSite& site) const;
  const Tensor& B(const LoraSite& site) const;
  const Tensor& Magnitude(const LoraSite& site) const;

  LoraOptions options_;
  std::vector<LoraSite> sites_;
  std::vector<ParamSpec> whole_;
  std::map<std::string, size_t> index_;  // module -> site
  ParamStore params_;
  std::optional<Rng> dropout_;
};

// While one lives, recorded passes through the adapters drop inputs, as drawn
// from `rng` by module; scoring and sampling, which record nothing, never do. A
// module's mask is the same in every pass of one scope: one scope a micro-step.
class DropoutScope {
 public:
  // `adapters` must outlive it.
  DropoutScope(LoraAdapters& adapters, const Rng& rng);
  ~DropoutScope();
  DropoutScope(const DropoutScope&) = delete;
  DropoutScope& operator=(const DropoutScope&) = delete;

 private:
  LoraAdapters& adapters_;
};

}  // namespace align
