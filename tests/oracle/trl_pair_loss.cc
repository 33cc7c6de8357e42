#include "tests/oracle/trl_pair_loss.h"

#include <algorithm>
#include <set>
#include <vector>

namespace align::oracle {
namespace {

// exp ends here in double, four digits down: where TRL <= 0.24 stops the
// exponents of the alpha divergence.
constexpr double kLargestExponent = 709.7827;

// Whether `loss` has the option; an unknown loss has none.
bool Has(const std::string& loss, const std::string& option) {
  for (const losses::PairLossEntry& entry : losses::PairLosses()) {
    if (entry.name != loss) continue;
    const std::vector<losses::Option> options = entry.options();
    return std::any_of(
        options.begin(), options.end(),
        [&](const losses::Option& o) { return o.name == option; });
  }
  return false;
}

void AddDivergence(Json params, TrlVersion version, losses::PairLossTerm& out) {
  const std::string type = TextOr(params, "f_divergence_type", "reverse_kl");
  const std::string suffix = "_divergence";  // of js and alpha, not of the KLs
  const std::string ours = type.ends_with(suffix)
                               ? type.substr(0, type.size() - suffix.size())
                               : type;
  out.values.emplace_back("f_divergence", ours);
  if (ours != "alpha") return;
  const bool old = version == TrlVersion::kUpTo024;
  const double coefficient =
      NumberOr(params, "f_alpha_divergence_coef", old ? 1.0 : 0.5);
  out.values.emplace_back("f_alpha",
                          ExactText(old ? 1 - coefficient : coefficient));
  if (old) {
    out.values.emplace_back("f_max_exponent", ExactText(kLargestExponent));
  }
}

// Options of the loss that one of the versions lacks.
void AddOld(Json params, losses::PairLossTerm& out) {
  const double asked = NumberOr(params, "label_smoothing", 0);
  const double smoothing = NumberOr(params, "label_smoothing_after_call",
                                    asked == 0 && out.name == "exo_pair"
                                        ? losses::ExoOptions().label_smoothing
                                        : asked);
  if (Has(out.name, "label_smoothing")) {
    out.values.emplace_back("label_smoothing", ExactText(smoothing));
  }
  if (out.name == "ipo") out.values.emplace_back("reduction", "sum");
  if (out.name == "bco_pair") {
    out.values.emplace_back("shift", "running_mean");
  }
  if (FlagOr(params, "reference_free", false) &&
      Has(out.name, "reference_free")) {
    out.values.emplace_back("reference_free", "true");
  }
}

void AddNew(Json params, losses::PairLossTerm& out) {
  const auto smoothing = Find(params, "label_smoothing");
  // TRL's sigmoid ignores it since 1.0.
  if (smoothing && out.name != "sigmoid" && Has(out.name, "label_smoothing")) {
    out.values.emplace_back("label_smoothing", ExactText(Number(*smoothing)));
  }
  if (out.name == "ipo") out.values.emplace_back("reduction", "mean");
  if (out.name == "bco_pair") out.values.emplace_back("shift", "none");
  if (const auto alpha = Find(params, "ld_alpha")) {
    out.values.emplace_back("ld_alpha", ExactText(Number(*alpha)));
    // The files give the reference's sums as they entered the loss.
    out.values.emplace_back("ld_reference", "false");
  }
  if (FlagOr(params, "use_weighting", false)) {
    out.values.emplace_back("use_weighting", "true");
  }
}

}  // namespace

losses::PairLossTerm FromTrl(const std::string& name, Json params,
                             TrlVersion version) {
  const bool old = version == TrlVersion::kUpTo024;
  losses::PairLossTerm out;
  out.name = name == "aot_pair" ? "aot_unpaired" : name;
  out.values = {{"beta", ExactText(Number(params["beta"]))}};
  if (old) {
    AddOld(params, out);
  } else {
    AddNew(params, out);
  }
  const auto tau = Find(params, "discopop_tau");
  if (tau && Has(out.name, "tau")) {
    out.values.emplace_back("tau", ExactText(Number(*tau)));
  }
  // Losses on separate scores followed the divergence from 1.0 on only.
  static const std::set<std::string> separate = {"apo_down", "bco_pair",
                                                 "nca_pair", "sppo_hard"};
  if (Has(out.name, "f_divergence") && !(old && separate.contains(name))) {
    AddDivergence(params, version, out);
  }
  return out;
}

absl::StatusOr<std::vector<losses::PairLossTerm>> TermsFromTrl(
    Json params, TrlVersion version) {
  std::vector<losses::PairLossTerm> terms;
  for (Json name : Items(params["loss_types"])) {
    terms.push_back(FromTrl(Text(name), params, version));
  }
  const auto weights = Find(params, "loss_weights");
  if (!weights) return terms;
  const std::vector<double> values = Numbers(*weights);
  if (values.size() != terms.size()) {
    return InvalidArgument("loss_weights: " + std::to_string(values.size()) +
                           " values; expected one a loss");
  }
  for (size_t i = 0; i < terms.size(); ++i) terms[i].weight = values[i];
  return terms;
}

}  // namespace align::oracle
