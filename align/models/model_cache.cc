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

KvCache CacheOf(const ModelConfig& config, CacheMode mode,
                Precision precision) {
  ALIGN_CHECK(CheckCacheMode(config, mode).ok())
      << "[CacheOf] " << CacheModeName(mode);
  const LatentConfig& latent = config.latent;
  if (mode == CacheMode::kAbsorbed) {
    return KvCache(
        config.num_hidden_layers,
        {.kv_heads = 1, .key_dim = latent.kv_rank + latent.rope_dim});
  }
  return KvCache(
      config.num_hidden_layers,
      {.kv_heads = config.num_key_value_heads,
       .key_dim = config.head_dim,
       .value_dim = latent.value_dim > 0 ? latent.value_dim : config.head_dim,
       .precision = precision});
}

std::string DescribeCache(const ModelConfig& config, CacheMode mode,
                          Precision precision) {
  const auto bytes = [&](CacheMode of) {
    return std::to_string(CacheOf(config, of, precision).bytes_per_token());
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
