// models/sensitivity.json and models/cross_check_VERSION.json: how far logits
// move when a feature is switched off, and between versions of transformers.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>

#include "tests/oracle/golden_model.h"
#include "tests/oracle/handlers.h"

namespace align::oracle {
namespace {

// Of f32 logits to upstream's in double.
constexpr double kLogitError = 2e-5;
// A difference of two of them, and of the weights' products it stands for.
constexpr Tolerance kChange = {.absolute = 2 * kLogitError, .relative = 1e-5};
// Versions that differ by more compute something else.
constexpr double kSameLogits = 1e-5;

// A feature by the beginning of its name in the file; the number at the end of
// the name, if there is one, is its new setting.
struct Change {
  std::string_view name;
  void (*apply)(double setting, ModelConfig& config);
};

void NoGroups(double, ModelConfig& c) {
  c.experts.groups = c.experts.groups_chosen = 1;
}

constexpr Change kChanges[] = {
    {"no rope_scaling",
     [](double, ModelConfig& c) { c.rope_scaling = RopeScaling(); }},
    {"rope_theta ", [](double x, ModelConfig& c) { c.rope_theta = x; }},
    {"rope not interleaved",
     [](double, ModelConfig& c) { c.latent.interleaved = false; }},
    {"rotary_pct ", [](double x, ModelConfig& c) { c.rotary_share = x; }},
    {"no sliding",
     [](double, ModelConfig& c) {
       c.sliding_window = 0;
       c.sliding_layers.clear();
     }},
    {"sliding_window ",
     [](double x, ModelConfig& c) {
       c.sliding_window = static_cast<int64_t>(x);
     }},
    {"sequential residual",
     [](double, ModelConfig& c) { c.parallel_residual = false; }},
    {"gelu_new",
     [](double, ModelConfig& c) { c.activation = Activation::kGeluTanh; }},
    {"gelu exact",
     [](double, ModelConfig& c) { c.activation = Activation::kGelu; }},
    {"no attn softcap",
     [](double, ModelConfig& c) { c.attention_soft_cap = 0; }},
    {"no final softcap", [](double, ModelConfig& c) { c.logit_soft_cap = 0; }},
    {"query_pre_attn_scalar ",
     [](double x, ModelConfig& c) { c.query_scalar = x; }},
    {"routed_scaling ", [](double x, ModelConfig& c) { c.experts.scale = x; }},
    {"top-",
     [](double x, ModelConfig& c) {
       c.experts.chosen = static_cast<int64_t>(x);
     }},
    {"greedy instead of group-limited", NoGroups},
    {"no group limit", NoGroups},
    {"norm_topk_prob False",
     [](double, ModelConfig& c) { c.experts.normalise = false; }},
    {"zero e_score_correction_bias", [](double, ModelConfig&) {}},
    // What its name says is not what was done: the base became that of Llama 3.
    {"num_key_value_heads->rope_theta",
     [](double, ModelConfig& c) { c.rope_theta = 5e5; }},
};

// "rope_theta 1e4" -> 1e4, "top-1" -> 1.
double SettingOf(std::string_view name) {
  const std::string_view text = name.substr(name.find_last_of(" -") + 1);
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// The same weights under another config of the same tensors.
absl::StatusOr<std::unique_ptr<Model>> Changed(const Model& model,
                                               const ModelConfig& config) {
  ALIGN_ASSIGN_OR_RETURN(std::unique_ptr<Model> changed,
                         CreateModel(config, Rng(0)));
  changed->params().CopyValuesFrom(model.params());
  return changed;
}

void ZeroRouterBiases(Model& model) {
  for (size_t p = 0; p < model.params().specs().size(); ++p) {
    if (!model.params().specs()[p].name.ends_with("correction_bias")) continue;
    std::ranges::fill(model.params().values(p), 0.0f);
  }
}

double LargestDifference(const std::vector<double>& a,
                         const std::vector<double>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(a[i] - b[i]));
  }
  return largest;
}

absl::Status CheckChange(const std::string& directory, std::string_view name,
                         double wanted, Case& result) {
  ALIGN_ASSIGN_OR_RETURN(const GoldenModel loaded, LoadGoldenModel(directory));
  const auto change =
      std::find_if(std::begin(kChanges), std::end(kChanges),
                   [&](const Change& c) { return name.starts_with(c.name); });
  if (change == std::end(kChanges)) {
    return Unimplemented("sensitivity to '" + std::string(name) +
                         "': not known what was switched");
  }
  ModelConfig config = loaded.model->config();
  change->apply(SettingOf(name), config);
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> changed,
                         Changed(*loaded.model, config));
  if (name == "zero e_score_correction_bias") ZeroRouterBiases(*changed);
  ALIGN_ASSIGN_OR_RETURN(const std::vector<double> logits,
                         LogitsOf(*changed, loaded.golden));
  result.Near("largest change",
              LargestDifference(logits, GoldenLogits(loaded.golden)), wanted,
              kChange);
  return absl::OkStatus();
}

// Where another version gives the golden logits, so must we. The one that does
// not is older than YaRN's original_max_position_embeddings, and took
// max_position_embeddings for it.
absl::Status CheckVersion(const std::string& directory, double wanted,
                          Case& result) {
  ALIGN_ASSIGN_OR_RETURN(const GoldenModel loaded, LoadGoldenModel(directory));
  const std::vector<double> golden = GoldenLogits(loaded.golden);
  if (wanted <= kSameLogits) {
    ALIGN_ASSIGN_OR_RETURN(const std::vector<double> logits,
                           LogitsOf(*loaded.model, loaded.golden));
    result.Near("largest difference", LargestDifference(logits, golden), 0,
                {.absolute = kLogitError + wanted});
    return absl::OkStatus();
  }
  ModelConfig config = loaded.model->config();
  if (config.rope_scaling.kind != RopeKind::kYarn) {
    return Unimplemented("an older version differs in what is not YaRN");
  }
  config.rope_scaling.original_positions = config.max_position_embeddings;
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> older,
                         Changed(*loaded.model, config));
  ALIGN_ASSIGN_OR_RETURN(const std::vector<double> logits,
                         LogitsOf(*older, loaded.golden));
  result.Near("largest difference", LargestDifference(logits, golden), wanted,
              kChange);
  return absl::OkStatus();
}

std::string Beside(const OracleFile& file, std::string_view model) {
  return (std::filesystem::path(file.path).parent_path() / model).string();
}

}  // namespace

void CheckVersions(const OracleFile& file, Reporter& reporter) {
  const simdjson::dom::object models = file.root["max_abs_logit_diff_f64"];
  for (const auto& [name, value] : models) {
    // A text says that this version does not have the class: nothing to check.
    if (value.is_string()) continue;
    reporter.Run("f32", std::string(name),
                 [&, key = name, wanted = value](Case& result) {
                   return CheckVersion(Beside(file, key), Number(wanted),
                                       result);
                 });
  }
}

void CheckSensitivity(const OracleFile& file, Reporter& reporter) {
  const simdjson::dom::object models = file.root["results"];
  for (const auto& [model, changes] : models) {
    const simdjson::dom::object listed = changes;
    for (const auto& [name, value] : listed) {
      reporter.Run(
          "f32", std::string(model) + " " + std::string(name),
          [&, folder = model, key = name, wanted = value](Case& result) {
            return CheckChange(Beside(file, folder), key, Number(wanted),
                               result);
          });
    }
  }
}

}  // namespace align::oracle
