#pragma once

#include "losses/options.h"

namespace align::losses {

// What a loss that couples the rows of a batch is given at a time.
enum class Coupling { kGlobal, kMicro };

inline void DescribeCoupling(OptionList& list, Coupling* coupling) {
  list.Choice("coupling", coupling,
              {{"global", Coupling::kGlobal}, {"micro", Coupling::kMicro}},
              "a loss that couples the rows of a batch sees all of a step "
              "(global: exact under accumulation) or a micro-batch at a time "
              "(micro: TRL)");
}

}  // namespace align::losses
