#include "align/models/model_cache.h"

#include "align/base/check.h"

namespace align {

std::string_view CacheModeName(CacheMode mode) {
  return mode == CacheMode::kExact ? "exact" : "absorbed";
}

absl::Status CheckCacheMode(const ModelConfig& config, CacheMode mode) {
  if (mode == CacheMode::kExact || config.latent.kv_rank > 0) {
    return absl::OkStatus();
  }
  return InvalidArgument("cache mode absorbed: " +
                         std::string(ArchitectureName(config.architecture)) +
                         " has no latent attention; expected exact");
}

KvCache CacheOf(const ModelConfig& config, CacheMode mode) {
  ALIGN_CHECK(CheckCacheMode(config, mode).ok())
      << "[CacheOf] " << CacheModeName(mode);
  const LatentConfig& latent = config.latent;
  if (mode == CacheMode::kAbsorbed) {
    return KvCache(config.num_hidden_layers, latent.kv_rank + latent.rope_dim,
                   0);
  }
  const int64_t value_dim =
      latent.value_dim > 0 ? latent.value_dim : config.head_dim;
  return KvCache(config.num_hidden_layers,
                 config.num_key_value_heads * config.head_dim,
                 config.num_key_value_heads * value_dim);
}

std::string DescribeCache(const ModelConfig& config, CacheMode mode) {
  const auto bytes = [&](CacheMode of) {
    return std::to_string(CacheOf(config, of).bytes_per_token());
  };
  std::string text = std::string(CacheModeName(mode)) +
                     " cache: " + bytes(mode) + " bytes a token in " +
                     std::to_string(config.num_hidden_layers) + " layers";
  if (mode == CacheMode::kAbsorbed) {
    text += ", of " + bytes(CacheMode::kExact) + " exact";
  }
  return text;
}

}  // namespace align
