#pragma once

// Every loss on pairs by name, and the machinery that other registries share.

#include "losses/pair_mix.h"
#include "losses/pair_registry.h"
#include "losses/registry_entry.h"
