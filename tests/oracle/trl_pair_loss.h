#pragma once

#include <string>
#include <vector>

#include "align/base/status.h"
#include "losses/registry.h"
#include "tests/oracle/json_values.h"

namespace align::oracle {

// Up to 0.24 (dpo_loss, on log-probs), or from 1.0 (_compute_loss, on logits):
// one name can mean two things.
enum class TrlVersion { kUpTo024, kFrom1 };

// Our name and options of TRL's loss `name` with the parameters of a case.
losses::PairLossTerm FromTrl(const std::string& name, Json params,
                             TrlVersion version);

// The same for `loss_types` with their `loss_weights`, if there are any.
absl::StatusOr<std::vector<losses::PairLossTerm>> TermsFromTrl(
    Json params, TrlVersion version);

}  // namespace align::oracle
