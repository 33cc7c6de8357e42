// Any bytes as adapter_config.json: a status, or options within their ranges.
#include <cmath>
#include <cstdint>
#include <string_view>

#include "align/base/check.h"
#include "align/models/peft.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = align::ParsePeftConfig(
      {reinterpret_cast<const char*>(data), size}, "adapter_config.json");
  if (!config.ok()) return 0;
  ALIGN_CHECK(config->lora.rank > 0 && config->lora.rank <= 1 << 16);
  ALIGN_CHECK(std::isfinite(config->lora.Scale()));
  ALIGN_CHECK(config->lora.dropout >= 0 && config->lora.dropout < 1);
  return 0;
}
