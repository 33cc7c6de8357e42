#pragma once

#include "align/models/model.h"

namespace align {

// Whether recorded passes through `model` keep only the rows between its blocks
// and compute each block again on the way back (Chen et al. 2016, arXiv
// 1604.06174): gradients of the same bits for less memory and one more forward
// pass through the blocks. Off at first, and not copied with a model.
void SetRecomputeActivations(Model& model, bool on);

}  // namespace align
