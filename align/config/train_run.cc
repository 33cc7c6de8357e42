#include "align/config/train_run.h"

#include <cmath>

#include "align/base/memory.h"
#include "align/models/peft.h"
#include "proto/config.pb.h"

namespace align {

std::string TokenizerOf(const pb::TrainConfig& config) {
  return config.model().has_tokenizer()
             ? config.model().tokenizer()
             : DirectoryOfTokenizer(config.model().path(),
                                    config.model().base());
}

WeightFormat WeightFormatOf(const pb::TrainConfig& config) {
  return ParseWeightFormat(config.weight_format()).value_or(WeightFormat::kF32);
}

std::string DescribeMemory(const std::vector<HeldModel>& held) {
  const auto megabytes = [](double bytes) {
    return std::to_string(static_cast<int64_t>(std::ceil(bytes / 1e6))) + " MB";
  };
  std::string text;
  double total = 0;
  for (const HeldModel& model : held) {
    const auto bytes = static_cast<double>(model.parameters * model.copies) *
                       static_cast<double>(sizeof(float));
    const auto packed = static_cast<double>(model.packed_bytes);
    total += bytes + packed;
    text +=
        model.role + ": " + std::to_string(model.parameters) + " parameters, " +
        megabytes(bytes) + " for weights" +
        (model.copies > 1 ? ", gradients and moments" : "") +
        (packed > 0 ? ", " + megabytes(packed) + " for packed copies" : "") +
        "\n";
  }
  return text + "in all: " + megabytes(total) + " (available: " +
         megabytes(static_cast<double>(AvailableMemoryBytes())) + ")\n";
}

}  // namespace align
