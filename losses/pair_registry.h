#pragma once

// The losses on pairs by name. Adding one is one header and one line in
// PairLosses(); configs, `align list losses`, tables and tests follow from it.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "losses/aot.h"
#include "losses/apo.h"
#include "losses/bco_pair.h"
#include "losses/chosen_nll.h"
#include "losses/cpo.h"
#include "losses/discopop.h"
#include "losses/exo.h"
#include "losses/hinge.h"
#include "losses/ipo.h"
#include "losses/kto_pair.h"
#include "losses/nca.h"
#include "losses/orpo.h"
#include "losses/pair.h"
#include "losses/pair_modifiers.h"
#include "losses/registry_entry.h"
#include "losses/robust.h"
#include "losses/rpo.h"
#include "losses/rso.h"
#include "losses/sigmoid.h"
#include "losses/slic.h"
#include "losses/sppo.h"
#include "losses/xpo.h"

namespace align::losses {

// A loss ready to be called, or `error` saying what was wrong with its name or
// options and what is allowed. `error` is empty exactly when `loss` is set.
struct PairLossOrError {
  PairLoss loss;
  PairNeeds needs;  // with these options
  double beta = 0;  // what implicit rewards are scaled by
  // If needs.coupled: what the loss should be given at a time.
  Coupling coupling = Coupling::kGlobal;
  std::string error;
  bool ok() const { return error.empty(); }
};

struct PairLossEntry {
  std::string name;
  std::string paper;
  std::string summary;
  PairNeeds needs;                               // with default options
  std::function<std::vector<Option>()> options;  // its own; do not set
  // Takes its own options and those of PairModifiers.
  std::function<PairLossOrError(const OptionValues&)> create;
};

// Whether row i of a loss moves other pairs than i, which no weight of pairs
// can undo: its options struct says kMixesRows.
template <typename Options>
constexpr bool MixesRows() {
  if constexpr (requires { Options::kMixesRows; }) return Options::kMixesRows;
  return false;
}

// An entry from a loss function, whose options struct has Describe(), Needs()
// and beta.
template <typename Options>
PairLossEntry MakePairEntry(std::string name, std::string paper,
                            std::string summary,
                            PairLossResult (*loss)(const PairInputs&,
                                                   const Options&)) {
  auto create = [name, loss](const OptionValues& values) {
    Options options;
    PairModifiers modifiers;
    OptionList list;
    options.Describe(list);
    modifiers.Describe(list);
    PairLossOrError out;
    out.error = SetOptions(name, list, values);
    if (modifiers.use_weighting && MixesRows<Options>()) {
      out.error = "loss " + name +
                  ": use_weighting = true; expected false, because this loss "
                  "does not belong to single pairs";
    }
    if (!out.ok()) return out;
    out.needs = modifiers.With(options.Needs());
    out.beta = options.beta;
    out.coupling = modifiers.coupling;
    out.loss = [loss, options, modifiers](const PairInputs& in) {
      return ModifiedLoss(
          in, modifiers, [&](const PairInputs& x) { return loss(x, options); });
    };
    return out;
  };
  return {name,
          std::move(paper),
          std::move(summary),
          Options().Needs(),
          ListOptions<Options>,
          create};
}

// Every loss on pairs, in the order they are listed.
inline std::vector<PairLossEntry> PairLosses() {
  return {
      MakePairEntry("sigmoid", "Rafailov et al. 2023, arXiv 2305.18290, eq. 7",
                    "DPO: logistic loss on the margin of log-ratios",
                    &SigmoidPairLoss),
      MakePairEntry("robust", "Chowdhury et al. 2024, arXiv 2403.00409, eq. 12",
                    "DPO made unbiased under wrong labels", &RobustPairLoss),
      MakePairEntry("hinge", "Liu et al. 2023, arXiv 2309.06657, eq. 10",
                    "RSO hinge-norm: hinge on the margin of log-ratios",
                    &HingePairLoss),
      MakePairEntry("ipo", "Azar et al. 2023, arXiv 2310.12036, eq. 17",
                    "squared distance of the margin to 1 / (2 beta)",
                    &IpoPairLoss),
      MakePairEntry("exo_pair", "Ji et al. 2024, arXiv 2402.00856, eq. 16",
                    "EXO: reverse KL to the smoothed label", &ExoPairLoss),
      MakePairEntry("nca_pair", "Chen et al. 2024, arXiv 2402.05369, eq. 8",
                    "NCA: noise contrast that keeps the chosen likely",
                    &NcaPairLoss),
      MakePairEntry("bco_pair",
                    "Jung et al. 2024, arXiv 2404.04656, eq. 9 and 10",
                    "BCO: each reply classified against a running mean reward",
                    &BcoPairLoss),
      MakePairEntry("sppo_hard", "Wu et al. 2024, arXiv 2405.00675, eq. 4.9",
                    "SPPO: log-ratios regress on +-1 / (2 beta)",
                    &SppoHardPairLoss),
      MakePairEntry("aot", "Melnyk et al. 2024, arXiv 2406.05882, eq. 7",
                    "AOT: sorted margins of policy against reference",
                    &AotPairLoss),
      MakePairEntry("aot_unpaired",
                    "Melnyk et al. 2024, arXiv 2406.05882, eq. 8",
                    "AOT: sorted log-ratios of chosen against rejected",
                    &AotUnpairedLoss),
      MakePairEntry("apo_zero",
                    "D'Oosterlinck et al. 2024, arXiv 2408.06266, eq. 5",
                    "APO: chosen up, rejected down", &ApoZeroPairLoss),
      MakePairEntry("apo_down",
                    "D'Oosterlinck et al. 2024, arXiv 2408.06266, eq. 6",
                    "APO: both down, the rejected more", &ApoDownPairLoss),
      MakePairEntry("discopop", "Lu et al. 2024, arXiv 2406.08414, eq. 6",
                    "logistic and exponential loss blended by the margin",
                    &DiscopopPairLoss),
      MakePairEntry("sft", "Wang et al. 2024, arXiv 2411.10442, eq. 6",
                    "NLL of the chosen replies", &SftPairLoss),
      MakePairEntry("sigmoid_norm",
                    "Lambert et al. 2024, arXiv 2411.15124, eq. 6",
                    "DPO on log-ratios per token (TRL's name, not RSO's)",
                    &SigmoidNormPairLoss),
      MakePairEntry("kto_pair",
                    "Ethayarajh et al. 2024, arXiv 2402.01306, eq. 8",
                    "KTO with the KL of the batch's other class", &KtoPairLoss),
      MakePairEntry("rpo_bwd_kl", "Sun et al. 2025, arXiv 2502.00203, eq. 5",
                    "RPO: implicit margin to a given one by backward KL",
                    &RpoBackwardKlLoss),
      MakePairEntry("rpo_fwd_kl", "Sun et al. 2025, arXiv 2502.00203, eq. 5",
                    "RPO: implicit margin to a given one by forward KL",
                    &RpoForwardKlLoss),
      MakePairEntry("rpo_sq", "Sun et al. 2025, arXiv 2502.00203, eq. 5",
                    "RPO: implicit margin to a given one by squares",
                    &RpoSquareLoss),
      MakePairEntry(
          "rso_sigmoid_norm", "Liu et al. 2023, arXiv 2309.06657, eq. 8",
          "RSO's sigmoid-norm: sigmoid with beta = gamma", &RsoSigmoidNormLoss),
      MakePairEntry("rso_hinge", "Liu et al. 2023, arXiv 2309.06657, eq. 9",
                    "RSO's hinge, without a reference", &RsoHingeLoss),
      MakePairEntry(
          "rso_hinge_norm", "Liu et al. 2023, arXiv 2309.06657, eq. 10",
          "RSO's hinge-norm: TRL's hinge with beta = gamma", &RsoHingeNormLoss),
      MakePairEntry("slic", "Zhao et al. 2023, arXiv 2305.10425, eq. 1",
                    "SLiC: hinge on log-probs and NLL of the chosen",
                    &SlicPairLoss),
      MakePairEntry("cpo", "Xu et al. 2024, arXiv 2401.08417, eq. 3 and 4",
                    "DPO without reference, and NLL of the chosen",
                    &CpoPairLoss),
      MakePairEntry("simpo", "Meng et al. 2024, arXiv 2405.14734, eq. 6",
                    "logistic loss on mean log-probs and a margin",
                    &SimpoPairLoss),
      MakePairEntry("alphapo", "Gupta et al. 2025, arXiv 2501.03884, eq. 8",
                    "SimPO with a bent reward", &AlphaPoPairLoss),
      MakePairEntry("orpo", "Hong et al. 2024, arXiv 2403.07691, eq. 6 and 7",
                    "NLL of the chosen, and odds against the rejected",
                    &OrpoPairLoss),
      MakePairEntry("xpo", "Xie et al. 2024, arXiv 2405.21046, algorithm 1",
                    "DPO on samples of policy and reference, and exploration",
                    &XpoPairLoss),
  };
}

// The loss `name` with `values` set over its defaults, or an error text.
inline PairLossOrError MakePairLoss(const std::string& name,
                                    const OptionValues& values = {}) {
  std::vector<std::string> known;
  for (const PairLossEntry& entry : PairLosses()) {
    if (entry.name == name) return entry.create(values);
    known.push_back(entry.name);
  }
  PairLossOrError out;
  out.error = UnknownName("loss", name, known);
  return out;
}

}  // namespace align::losses
