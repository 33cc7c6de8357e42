#include "align/cli/inspect.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "align/base/files.h"
#include "align/config/settings.h"
#include "align/data/loader.h"
#include "align/data/records.h"
#include "align/data/show_batch.h"
#include "align/models/model.h"
#include "align/text/tokenizer.h"
#include "proto/records.pb.h"
#include "samplers/generate.h"

namespace align::cli {
namespace {

absl::StatusOr<double> Number(const Arguments& arguments,
                              const std::string& flag, double otherwise) {
  if (!arguments.Has(flag)) return otherwise;
  const std::string text = arguments.Get(flag, "");
  double value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return InvalidArgument("--" + flag + " " + text + ": expected a number");
  }
  return value;
}

absl::StatusOr<samplers::SamplingOptions> SamplingFlags(
    const Arguments& arguments, const Tokenizer& tokenizer) {
  samplers::SamplingOptions options;
  ALIGN_ASSIGN_OR_RETURN(
      options.max_new_tokens,
      arguments.GetInteger("max-new-tokens", 64, 1, 1 << 20));
  ALIGN_ASSIGN_OR_RETURN(options.temperature,
                         Number(arguments, "temperature", 1));
  ALIGN_ASSIGN_OR_RETURN(options.top_k,
                         arguments.GetInteger("top-k", 0, 0, 1 << 20));
  ALIGN_ASSIGN_OR_RETURN(options.top_p, Number(arguments, "top-p", 1));
  options.stop_ids = StopIds(tokenizer);
  return options;
}

absl::StatusOr<std::vector<PromptExample>> PromptFlags(
    const Arguments& arguments, const Tokenizer& tokenizer) {
  std::vector<pb::Record> records;
  if (arguments.Has("prompts") == arguments.Has("prompt")) {
    return InvalidArgument("expected one of --prompt and --prompts. Usage: " +
                           std::string(kSampleUsage));
  }
  if (arguments.Has("prompts")) {
    ALIGN_ASSIGN_OR_RETURN(records, ReadRecords(arguments.Get("prompts", "")));
  } else {
    records.emplace_back().mutable_prompt()->mutable_prompt()->set_text(
        arguments.Get("prompt", ""));
  }
  ALIGN_ASSIGN_OR_RETURN(Tokenized<PromptExample> prompts,
                         TokenizePrompts(records, tokenizer, {}));
  return std::move(prompts.examples);
}

// What a loader of these examples gives first.
template <class Batch, class Example>
absl::StatusOr<Batch> FirstBatch(absl::StatusOr<Tokenized<Example>> tokenized,
                                 const LoaderOptions& options) {
  if (!tokenized.ok()) return tokenized.status();
  ALIGN_ASSIGN_OR_RETURN(auto loader,
                         (Loader<Example, Batch>::Create(
                             std::move(tokenized->examples), options)));
  return *loader.Next();
}

}  // namespace

absl::Status SampleCommand(const Arguments& arguments) {
  if (arguments.positional.size() != 1) {
    return InvalidArgument(std::string("expected a model directory. Usage: ") +
                           kSampleUsage);
  }
  const std::string& directory = arguments.positional[0];
  ALIGN_ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(directory));
  ALIGN_ASSIGN_OR_RETURN(const auto model, LoadModel(directory));
  ALIGN_ASSIGN_OR_RETURN(const samplers::SamplingOptions options,
                         SamplingFlags(arguments, *tokenizer));
  ALIGN_ASSIGN_OR_RETURN(const std::vector<PromptExample> examples,
                         PromptFlags(arguments, *tokenizer));
  ALIGN_ASSIGN_OR_RETURN(const int64_t samples,
                         arguments.GetInteger("samples", 1, 1, 1 << 20));
  ALIGN_ASSIGN_OR_RETURN(const int64_t seed,
                         arguments.GetInteger("seed", 0, 0, int64_t{1} << 62));
  std::vector<std::vector<int32_t>> prompts;
  for (const PromptExample& example : examples) {
    prompts.push_back(example.prompt);
  }
  ALIGN_ASSIGN_OR_RETURN(
      const std::vector<samplers::Completion> replies,
      samplers::Generate(*model, prompts, samples, options,
                         Rng(static_cast<uint64_t>(seed)), {}, StopRequested));
  for (size_t i = 0; i < replies.size(); ++i) {
    const std::vector<int32_t>& prompt = prompts[i / samples];
    std::printf("%s%s\n%s", tokenizer->Decode(prompt).c_str(),
                tokenizer->DecodeContinuation(replies[i].tokens).c_str(),
                replies.size() > 1 ? "---\n" : "");
  }
  return absl::OkStatus();
}

absl::Status ShowBatchCommand(const Arguments& arguments) {
  ALIGN_RETURN_IF_ERROR(ExpectPositional(arguments, 2, kShowBatchUsage));
  ALIGN_ASSIGN_OR_RETURN(const auto tokenizer,
                         LoadTokenizer(arguments.positional[0]));
  ALIGN_ASSIGN_OR_RETURN(const std::vector<pb::Record> records,
                         ReadRecords(arguments.positional[1]));
  if (records.empty()) {
    return InvalidArgument(arguments.positional[1] + ": no records");
  }
  LoaderOptions options;
  ALIGN_ASSIGN_OR_RETURN(options.batch_size,
                         arguments.GetInteger("batch-size", 2, 1, 4096));
  PackedBatch packed;
  std::vector<std::string> notes;
  if (records[0].has_preference()) {
    ALIGN_ASSIGN_OR_RETURN(
        const PreferenceBatch batch,
        (FirstBatch<PreferenceBatch>(TokenizePairs(records, *tokenizer, {}),
                                     options)));
    packed = batch.packed;
  } else if (records[0].has_unpaired()) {
    ALIGN_ASSIGN_OR_RETURN(
        const UnpairedBatch batch,
        (FirstBatch<UnpairedBatch>(TokenizeUnpaired(records, *tokenizer, {}),
                                   options)));
    packed = batch.packed;
    for (const uint8_t desirable : batch.desirable) {
      notes.emplace_back(desirable != 0 ? "desirable" : "undesirable");
    }
  } else {
    ALIGN_ASSIGN_OR_RETURN(
        const SftBatch batch,
        (FirstBatch<SftBatch>(records[0].has_text()
                                  ? TokenizeTextBlocks(records, *tokenizer, {})
                                  : TokenizeSft(records, *tokenizer, {}),
                              options)));
    packed = batch.packed;
  }
  std::fputs(ShowBatch(packed, *tokenizer, notes).c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace align::cli
