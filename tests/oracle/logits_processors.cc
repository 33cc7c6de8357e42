// golden/generate/logits_processors.json: what a processor makes of logits. The
// name of an output says which one, and its setting.

#include "samplers/logits_processors.h"

#include <algorithm>
#include <limits>

#include "align/ops/token_scores.h"
#include "tests/oracle/handlers.h"

namespace align::oracle {
namespace {

using samplers::LogitsOptions;

// "top_p_0.3_min_keep_2" is a name and, behind it, numbers.
std::string_view CutSetting(std::string_view& text, std::string_view name) {
  if (!text.starts_with(name)) return {};
  text.remove_prefix(name.size());
  const std::string_view number = text.substr(0, text.find('_'));
  text.remove_prefix(number.size());
  return number;
}

absl::StatusOr<LogitsOptions> OptionsOf(std::string_view name) {
  LogitsOptions options;
  const auto number = [&](std::string_view key, double& value) {
    const std::string_view setting = CutSetting(name, key);
    if (!setting.empty()) value = std::stod(std::string(setting));
  };
  double top_k = 0, ngram = 0, min_keep = 1;
  number("top_k_", top_k);
  number("top_p_", options.top_p);
  number("min_p_", options.min_p);
  number("typical_p_", options.typical_p);
  number("epsilon_", options.epsilon_cutoff);
  number("repetition_penalty_", options.repetition_penalty);
  number("no_repeat_ngram_", ngram);
  number("_min_keep_", min_keep);
  if (!name.empty()) {
    return Unimplemented("no processor of logits for " + std::string(name));
  }
  options.top_k = static_cast<int64_t>(top_k);
  options.no_repeat_ngram_size = static_cast<int64_t>(ngram);
  options.min_tokens_to_keep = static_cast<int64_t>(min_keep);
  return options;
}

// The fused head divides by the temperature: an identity for a head shows it.
std::vector<double> Tempered(const std::vector<double>& logits,
                             double temperature) {
  const auto vocab = static_cast<int64_t>(logits.size());
  std::vector<float> head(vocab * vocab, 0.0f);
  for (int64_t i = 0; i < vocab; ++i) head[i * vocab + i] = 1;
  const HeadLogits result = ComputeHeadLogits(
      Tensor::From({1, vocab},
                   std::vector<float>(logits.begin(), logits.end())),
      Tensor::From({vocab, vocab}, head), temperature);
  return {result.logits.values().begin(), result.logits.values().end()};
}

std::vector<double> Processed(const LogitsOptions& options,
                              const std::vector<int32_t>& context,
                              std::vector<double> logits) {
  samplers::RepeatTokensLess(options, context, logits);
  std::vector<double> out(logits.size(),
                          -std::numeric_limits<double>::infinity());
  for (const int32_t id : samplers::KeptTokens(options, logits)) {
    out[id] = logits[id];
  }
  return out;
}

absl::Status CheckProcessor(Json inputs, std::string_view name, Json wanted,
                            Case& result) {
  const std::vector<Json> logits = Items(inputs["logits"]);
  const std::vector<Json> contexts = Items(inputs["input_ids"]);
  const std::vector<Json> outputs = Items(wanted);
  std::string_view rest = name;
  const std::string temperature(CutSetting(rest, "temperature_"));
  for (size_t i = 0; i < logits.size(); ++i) {
    const std::string what = "row " + std::to_string(i);
    if (!temperature.empty()) {
      result.Near(what, Tempered(Numbers(logits[i]), std::stod(temperature)),
                  Numbers(outputs[i]), kFloat);
      continue;
    }
    ALIGN_ASSIGN_OR_RETURN(const LogitsOptions options, OptionsOf(name));
    ALIGN_RETURN_IF_ERROR(samplers::CheckLogitsOptions(options));
    result.Near(what, Processed(options, Ints(contexts[i]), Numbers(logits[i])),
                Numbers(outputs[i]), kDouble);
  }
  return absl::OkStatus();
}

}  // namespace

void CheckLogitsProcessors(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const simdjson::dom::object outputs = one["outputs"];
    for (const auto& [name, wanted] : outputs) {
      reporter.Run(name.starts_with("temperature_") ? "f32 fused" : "double",
                   std::string(name), [&, key = name, value = wanted](Case& c) {
                     return CheckProcessor(one["inputs"], key, value, c);
                   });
    }
  }
}

}  // namespace align::oracle
