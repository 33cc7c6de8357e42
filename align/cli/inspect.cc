#include "align/cli/inspect.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <utility>

#include "align/base/files.h"
#include "align/base/log.h"
#include "align/config/settings.h"
#include "align/data/loader.h"
#include "align/data/records.h"
#include "align/data/show_batch.h"
#include "align/models/model.h"
#include "align/models/model_cache.h"
#include "align/models/peft.h"
#include "align/text/tokenizer.h"
#include "proto/records.pb.h"
#include "samplers/generate.h"

namespace align::cli {
namespace {

// Seconds since 1970.
int64_t Now() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

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
  samplers::LogitsOptions& logits = options.logits;
  ALIGN_ASSIGN_OR_RETURN(logits.top_k,
                         arguments.GetInteger("top-k", 0, 0, 1 << 20));
  ALIGN_ASSIGN_OR_RETURN(
      logits.no_repeat_ngram_size,
      arguments.GetInteger("no-repeat-ngram-size", 0, 0, 1 << 20));
  for (const auto& [flag, value] :
       {std::pair("repetition-penalty", &logits.repetition_penalty),
        {"top-p", &logits.top_p},
        {"min-p", &logits.min_p},
        {"typical-p", &logits.typical_p},
        {"epsilon-cutoff", &logits.epsilon_cutoff}}) {
    ALIGN_ASSIGN_OR_RETURN(*value, Number(arguments, flag, *value));
  }
  const std::string mode = arguments.Get("cache-mode", "exact");
  if (mode == CacheModeName(CacheMode::kAbsorbed)) {
    options.cache_mode = CacheMode::kAbsorbed;
  } else if (mode != CacheModeName(CacheMode::kExact)) {
    return InvalidArgument("--cache-mode " + mode +
                           ": expected exact or absorbed");
  }
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
    pb::Prompt* prompt =
        records.emplace_back().mutable_prompt()->mutable_prompt();
    const auto add = [&](const char* role, const char* flag) {
      if (!arguments.Has(flag)) return;
      pb::Message* message = prompt->add_messages();
      message->set_role(role);
      message->set_content(arguments.Get(flag, ""));
    };
    if (arguments.Has("chat")) {
      add("system", "system");
      add("user", "prompt");
    } else {
      prompt->set_text(arguments.Get("prompt", ""));
    }
  }
  TokenizeOptions options;
  options.chat_template = arguments.Get("chat-template", "");
  options.chat_time = Now();
  ALIGN_ASSIGN_OR_RETURN(Tokenized<PromptExample> prompts,
                         TokenizePrompts(records, tokenizer, options));
  return std::move(prompts.examples);
}

// Also ends replies where the chat template ends an assistant's turn.
absl::Status AddEndOfTurn(const Arguments& arguments,
                          const Tokenizer& tokenizer,
                          samplers::SamplingOptions& options) {
  if (!arguments.Has("chat")) {
    if (!arguments.Has("system")) return absl::OkStatus();
    return InvalidArgument("--system needs --chat");
  }
  ALIGN_ASSIGN_OR_RETURN(
      const ChatTemplate chat,
      MakeChatTemplate(tokenizer, arguments.Get("chat-template", "")));
  ALIGN_ASSIGN_OR_RETURN(
      const std::optional<int32_t> end,
      EndOfTurn(chat, {.messages = {{.role = "user", .content = "x"}}},
                tokenizer, Now()));
  if (end &&
      std::ranges::find(options.stop_ids, *end) == options.stop_ids.end()) {
    options.stop_ids.push_back(*end);
  }
  return absl::OkStatus();
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
  ALIGN_ASSIGN_OR_RETURN(const auto tokenizer,
                         LoadTokenizer(DirectoryOfTokenizer(
                             directory, arguments.Get("base", ""))));
  ALIGN_ASSIGN_OR_RETURN(const auto model,
                         LoadModel(directory, arguments.Get("base", "")));
  ALIGN_ASSIGN_OR_RETURN(samplers::SamplingOptions options,
                         SamplingFlags(arguments, *tokenizer));
  ALIGN_RETURN_IF_ERROR(AddEndOfTurn(arguments, *tokenizer, options));
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
  LogInfo(DescribeCache(model->config(), options.cache_mode,
                        model->params().precision()));
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
  ALIGN_ASSIGN_OR_RETURN(
      const auto tokenizer,
      LoadTokenizer(DirectoryOfTokenizer(arguments.positional[0])));
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
