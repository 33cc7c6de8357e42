#pragma once

#include <string>
#include <string_view>

#include "align/base/precision.h"
#include "align/base/status.h"
#include "align/models/model_config.h"
#include "align/nn/kv_cache.h"

namespace align {

// "exact" or "absorbed".
std::string_view CacheModeName(CacheMode mode);

// kInvalidArgument when models of `config` have no cache of this mode: an
// absorbed one needs multi-head latent attention.
absl::Status CheckCacheMode(const ModelConfig& config, CacheMode mode);

// An empty cache for models of `config` whose products are of `precision`, of a
// mode that CheckCacheMode allows.
// A layer stores of a token: exact, its keys and values, of all key/value
// heads; absorbed, DeepSeek's compressed vector and the rotated part of the
// key, which all heads share (arXiv 2405.04434, section 2.1 and table 1), in
// f32 whatever the precision.
KvCache CacheOf(const ModelConfig& config, CacheMode mode, Precision precision);

// "absorbed cache: 1824 bytes a token in 3 layers, of 7680 exact", for logs.
std::string DescribeCache(const ModelConfig& config, CacheMode mode,
                          Precision precision);

}  // namespace align
