// model_numbers MODEL_DIR COUNT ID...: what the toolkit computes for a prompt
// of token ids, as one line of JSON: the logits after it, and the COUNT tokens
// that follow greedily. For the scripts beside it, which compare both with what
// other programs say.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "align/base/json_writer.h"
#include "align/models/model.h"
#include "align/tensor/tape.h"
#include "samplers/generate.h"

namespace align {
namespace {

absl::StatusOr<std::vector<float>> NextLogits(
    const Model& model, const std::vector<int32_t>& prompt) {
  const NoGrad no_grad;
  Segments segments;
  segments.Append(static_cast<int64_t>(prompt.size()));
  ALIGN_RETURN_IF_ERROR(model.CheckTokens(prompt, segments));
  const HeadLogits head =
      ComputeHeadLogits(model.Hidden(prompt, segments), model.Head(), 1);
  const std::span<const float> last =
      head.logits.values().last(model.config().vocab_size);
  return std::vector<float>(last.begin(), last.end());
}

absl::StatusOr<std::string> Numbers(const std::string& directory, int64_t count,
                                    const std::vector<int32_t>& prompt) {
  ALIGN_ASSIGN_OR_RETURN(const auto model, LoadModel(directory));
  ALIGN_ASSIGN_OR_RETURN(const std::vector<float> logits,
                         NextLogits(*model, prompt));
  ALIGN_ASSIGN_OR_RETURN(
      const auto replies,
      samplers::Generate(*model, {{prompt}}, 1,
                         {.max_new_tokens = count, .temperature = 0}, Rng(0)));
  JsonWriter json({.indent = 0});
  json.BeginObject();
  json.Field("greedy", replies[0].tokens);
  json.Field("logits", std::vector<double>(logits.begin(), logits.end()));
  json.EndObject();
  return std::move(json).Finish();
}

}  // namespace
}  // namespace align

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s MODEL_DIR COUNT ID...\n", argv[0]);
    return 2;
  }
  std::vector<int32_t> prompt;
  for (int i = 3; i < argc; ++i) prompt.push_back(std::atoi(argv[i]));
  const auto line = align::Numbers(argv[1], std::atoi(argv[2]), prompt);
  if (!line.ok()) {
    std::fprintf(stderr, "%s\n", line.status().ToString().c_str());
    return 1;
  }
  std::printf("%s\n", line->c_str());
  return 0;
}
