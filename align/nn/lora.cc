#include "align/nn/lora.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "align/base/check.h"
#include "align/ops/adapters.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

constexpr char kA[] = ".lora_A.weight";
constexpr char kB[] = ".lora_B.weight";
constexpr char kMagnitude[] = ".lora_magnitude_vector";

std::vector<ParamSpec> SpecsOf(const LoraOptions& options,
                               const std::vector<LoraSite>& sites,
                               const std::vector<ParamSpec>& whole) {
  std::vector<ParamSpec> specs;
  for (const LoraSite& site : sites) {
    const std::string name = LoraAdapters::ArenaName(site.module);
    specs.push_back({.name = name + kA, .shape = {options.rank, site.inputs}});
    specs.push_back({.name = name + kB, .shape = {site.outputs, options.rank}});
    if (options.use_dora) {
      specs.push_back({.name = name + kMagnitude, .shape = {site.outputs}});
    }
  }
  for (const ParamSpec& spec : whole) {
    specs.push_back(
        {.name = LoraAdapters::ArenaName(spec.name), .shape = spec.shape});
  }
  return specs;
}

}  // namespace

double LoraOptions::Scale() const {
  const auto r = static_cast<double>(rank);
  return alpha / (use_rslora ? std::sqrt(r) : r);
}

std::string LoraAdapters::ArenaName(const std::string& tensor) {
  return "base_model.model." + tensor;
}

LoraAdapters::LoraAdapters(const LoraOptions& options,
                           std::vector<LoraSite> sites,
                           std::vector<ParamSpec> whole)
    : options_(options),
      sites_(std::move(sites)),
      whole_(std::move(whole)),
      params_(SpecsOf(options_, sites_, whole_)) {
  ALIGN_CHECK(options_.rank > 0 && options_.dropout >= 0 &&
              options_.dropout < 1)
      << "[LoraAdapters] rank " << options_.rank << ", dropout "
      << options_.dropout;
  for (size_t i = 0; i < sites_.size(); ++i) index_[sites_[i].module] = i;
}

const Tensor& LoraAdapters::A(const LoraSite& site) const {
  return params_.Get(ArenaName(site.module) + kA);
}
const Tensor& LoraAdapters::B(const LoraSite& site) const {
  return params_.Get(ArenaName(site.module) + kB);
}
const Tensor& LoraAdapters::Magnitude(const LoraSite& site) const {
  return params_.Get(ArenaName(site.module) + kMagnitude);
}

void LoraAdapters::Start(const ParamStore& base, const Rng& rng) {
  const std::span<float> values = params_.values();
  std::fill(values.begin(), values.end(), 0.0f);
  const auto fill = [](Tensor into, std::span<const float> from) {
    std::copy(from.begin(), from.end(), into.data());
  };
  for (const LoraSite& site : sites_) {
    // kaiming_uniform_ with a = sqrt(5), as torch's Linear.
    const double bound = 1 / std::sqrt(static_cast<double>(site.inputs));
    Rng stream = rng.Fork(ArenaName(site.module) + kA);
    Tensor a = A(site);
    for (float& v : a.values()) {
      v = static_cast<float>(bound * (2 * stream.Uniform() - 1));
    }
    if (!options_.use_dora) continue;
    fill(Magnitude(site),
         AdaptedNorms(base.Get(site.module + ".weight"), site.layout, A(site),
                      B(site), options_.Scale()));
  }
  for (const ParamSpec& spec : whole_) {
    fill(*Whole(spec.name), base.Get(spec.name).values());
  }
}

std::unique_ptr<LoraAdapters> LoraAdapters::Copy() const {
  auto copy = std::make_unique<LoraAdapters>(options_, sites_, whole_);
  copy->params_.CopyValuesFrom(params_);
  return copy;
}

const Tensor* LoraAdapters::Whole(const std::string& name) const {
  const std::string arena_name = ArenaName(name);
  return params_.Has(arena_name) ? &params_.Get(arena_name) : nullptr;
}

Tensor LoraAdapters::Project(const Tensor& x, const std::string& module,
                             const Tensor& weight, const Tensor& bias) const {
  const LoraSite& site = sites_[index_.at(module)];
  ALIGN_CHECK(!weight.requires_grad() && !bias.requires_grad())
      << "[LoraAdapters] the weights below " << module << " are not frozen";
  Tensor dropped = x;
  if (options_.dropout > 0 && dropout_.has_value() && GradEnabled()) {
    dropped = Dropout(x, options_.dropout, dropout_->Fork(module));
  }
  if (options_.use_dora) return ProjectDora(x, dropped, site, weight, bias);
  const Tensor h =
      Scale(Linear(dropped, A(site)), static_cast<float>(options_.Scale()));
  return AddProduct(Linear(x, weight, bias, site.layout), h, B(site));
}

// g (W x' + scale B A x') + W (x - x') + bias, g a row's learned length over
// the length that it has: what PEFT computes, x' being x after dropout.
Tensor LoraAdapters::ProjectDora(const Tensor& x, const Tensor& dropped,
                                 const LoraSite& site, const Tensor& weight,
                                 const Tensor& bias) const {
  const Tensor h =
      Scale(Linear(dropped, A(site)), static_cast<float>(options_.Scale()));
  const Tensor adapted =
      AddProduct(Linear(dropped, weight, {}, site.layout), h, B(site));
  std::vector<float> norms =
      AdaptedNorms(weight, site.layout, A(site), B(site), options_.Scale());
  const Tensor scaled =
      ScaleColumns(adapted, Magnitude(site), std::move(norms), bias);
  if (dropped.data() == x.data()) return scaled;
  return Add(scaled,
             Linear(Add(x, Scale(dropped, -1)), weight, {}, site.layout));
}

void LoraAdapters::MergeInto(ParamStore& base) const {
  for (const LoraSite& site : sites_) {
    Tensor weight = base.Writable(site.module + ".weight");
    std::vector<float> factors;
    if (options_.use_dora) {
      factors =
          AdaptedNorms(weight, site.layout, A(site), B(site), options_.Scale());
      for (size_t i = 0; i < factors.size(); ++i) {
        factors[i] = Magnitude(site).data()[i] / factors[i];
      }
    }
    MergeProduct(A(site), B(site), options_.Scale(), factors, site.layout,
                 weight);
  }
  for (const ParamSpec& spec : whole_) {
    const std::span<const float> from = Whole(spec.name)->values();
    Tensor into = base.Writable(spec.name);
    std::copy(from.begin(), from.end(), into.data());
  }
}

DropoutScope::DropoutScope(LoraAdapters& adapters, const Rng& rng)
    : adapters_(adapters) {
  adapters_.dropout_ = rng;
}

DropoutScope::~DropoutScope() { adapters_.dropout_.reset(); }

}  // namespace align
