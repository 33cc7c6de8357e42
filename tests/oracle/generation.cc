// golden/generate/ARCHITECTURE.json: greedy decoding of models/ARCHITECTURE.

#include <algorithm>
#include <filesystem>

#include "align/models/model.h"
#include "samplers/generate.h"
#include "tests/oracle/handlers.h"

namespace align::oracle {
namespace {

namespace fs = std::filesystem;

// A gap between the two best logits below this may be decided by rounding.
constexpr double kTie = 1e-4;

// models/NAME in a folder above the file; empty if there is none.
std::string ModelOf(const fs::path& file) {
  for (fs::path folder = file.parent_path(); folder.has_relative_path();
       folder = folder.parent_path()) {
    const fs::path model = folder / "models" / file.stem();
    if (fs::exists(model / "config.json")) return model.string();
  }
  return "";
}

absl::Status CheckGreedy(Json one, const Model& model, Case& result) {
  const std::vector<int32_t> wanted =
      Ints(one["greedy_20_full_forward_argmax_loop"]);
  const std::vector<std::vector<int32_t>> prompts = {Ints(one["prompt"])};
  samplers::SamplingOptions options;
  options.max_new_tokens = static_cast<int64_t>(wanted.size());
  options.temperature = 0;
  ALIGN_ASSIGN_OR_RETURN(
      const std::vector<samplers::Completion> completions,
      samplers::Generate(model, prompts, 1, options, Rng(0)));
  const samplers::Completion& got = completions.front();
  const std::vector<double> gaps = Numbers(one["top1_minus_top2_logit_gap"]);
  const std::vector<double> log_probs =
      Numbers(one["logprob_of_each_generated_token"]);
  result.Near("tokens", static_cast<double>(got.tokens.size()),
              static_cast<double>(wanted.size()), {});
  for (size_t i = 0; i < std::min(got.tokens.size(), wanted.size()); ++i) {
    // After a tie that went the other way the texts are different ones.
    if (gaps[i] < kTie && got.tokens[i] != wanted[i]) break;
    const std::string at = " " + std::to_string(i);
    result.Near("token" + at, got.tokens[i], wanted[i], {});
    result.Near("log-prob of token" + at, got.log_probs[i], log_probs[i],
                {.absolute = 2e-5});
  }
  return absl::OkStatus();
}

}  // namespace

void CheckGeneration(const OracleFile& file, Reporter& reporter) {
  const std::vector<Json> cases = Items(file.root["cases"]);
  const auto count = static_cast<int64_t>(cases.size());
  const std::string directory = ModelOf(file.path);
  if (directory.empty()) {
    reporter.Skip("generation without a model of the file's name", count);
    return;
  }
  const absl::Status supported = ReadModelConfig(directory).status();
  if (supported.code() == absl::StatusCode::kUnimplemented) {
    const std::string message = Message(supported);
    reporter.Skip(message.substr(message.find(": ") + 2), count);
    return;
  }
  for (Json one : cases) {
    reporter.Run("f32", "greedy decoding", [&](Case& result) -> absl::Status {
      ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                             LoadModel(directory));
      return CheckGreedy(one, *model, result);
    });
  }
}

}  // namespace align::oracle
