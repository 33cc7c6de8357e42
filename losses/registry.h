#pragma once

// Every loss on tokens, of reward models, on pairs, on single replies, on
// sampled completions and on a teacher's distributions and every estimator of
// advantages by name, and the machinery that registries share.

#include "losses/advantage_registry.h"
#include "losses/distillation_registry.h"
#include "losses/pair_mix.h"
#include "losses/pair_registry.h"
#include "losses/policy_registry.h"
#include "losses/registry_entry.h"
#include "losses/reward_registry.h"
#include "losses/token_registry.h"
#include "losses/unpaired_registry.h"
