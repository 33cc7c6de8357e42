// Any bytes as config.json: a status, or a config that lists its tensors.
#include <cstdint>
#include <string_view>

#include "align/base/check.h"
#include "align/models/model_config.h"
#include "align/models/tensor_spec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = align::ParseModelConfig(
      {reinterpret_cast<const char*>(data), size}, "config.json");
  if (!config.ok()) return 0;
  ALIGN_CHECK(align::ValidateConfig(*config).ok()) << "parsed, yet invalid";
  int64_t elements = 0;
  for (const align::TensorSpec& spec : align::ExpectedTensors(*config)) {
    int64_t count = 1;
    for (const int64_t extent : spec.shape) {
      ALIGN_CHECK(!__builtin_mul_overflow(count, extent, &count)) << spec.name;
    }
    ALIGN_CHECK(!__builtin_add_overflow(elements, count, &elements))
        << spec.name;
  }
  return 0;
}
