#include "align/config/bench_data.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "align/base/files.h"
#include "align/base/rng.h"
#include "align/data/examples.h"
#include "align/data/records.h"
#include "align/text/tokenizer.h"
#include "proto/compare.pb.h"
#include "proto/records.pb.h"
#include "samplers/generate.h"

namespace align::bench {
namespace {

using google::protobuf::RepeatedField;

void AddTokens(const Tokens& tokens, RepeatedField<int32_t>* field) {
  field->Add(tokens.begin(), tokens.end());
}
Tokens ToTokens(const RepeatedField<int32_t>& field) {
  return {field.begin(), field.end()};
}

std::string PromptsPath(const Settings& s) { return s.work + "/prompts.binpb"; }
std::string HeldOutPath(const Settings& s) {
  return s.work + "/held_out.binpb";
}

absl::Status TooFew(const Settings& settings, size_t found, int64_t expected) {
  return InvalidArgument(settings.data + ": " + std::to_string(found) +
                         " prompts; expected at least " +
                         std::to_string(expected));
}

// How records become tokens: a prompt leaves room for a reply.
absl::StatusOr<TokenizeOptions> Lengths(const Settings& settings,
                                        const ModelConfig& config) {
  const int64_t length = std::min(static_cast<int64_t>(settings.max_length),
                                  config.max_position_embeddings);
  const auto reply = static_cast<int64_t>(settings.reply_tokens);
  if (reply >= length) {
    return InvalidArgument("--reply-tokens " + std::to_string(reply) +
                           ": expected less than the " +
                           std::to_string(length) +
                           " tokens of a prompt and its reply");
  }
  return TokenizeOptions{.max_length = length,
                         .max_prompt_length = length - reply};
}

absl::Status SaveTokens(const std::string& path,
                        std::span<const Tokens> prompts) {
  pb::Samples saved;
  for (const Tokens& prompt : prompts) {
    AddTokens(prompt, saved.add_prompts()->mutable_prompt());
  }
  return WriteFileAtomically(path, saved.SerializeAsString());
}

absl::StatusOr<std::vector<Tokens>> LoadTokens(const std::string& path) {
  ALIGN_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  pb::Samples samples;
  if (!samples.ParseFromString(bytes)) return DataLoss(path);
  std::vector<Tokens> prompts;
  for (const pb::SampledPrompt& prompt : samples.prompts()) {
    prompts.push_back(ToTokens(prompt.prompt()));
  }
  return prompts;
}

absl::StatusOr<std::vector<Tokens>> RecordPrompts(const Settings& settings,
                                                  const ModelConfig& config,
                                                  int64_t count) {
  ALIGN_ASSIGN_OR_RETURN(const std::vector<pb::Record> records,
                         ReadRecords(settings.data));
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                         LoadTokenizer(settings.model));
  ALIGN_ASSIGN_OR_RETURN(const TokenizeOptions lengths,
                         Lengths(settings, config));
  ALIGN_ASSIGN_OR_RETURN(auto read,
                         TokenizePrompts(records, *tokenizer, lengths));
  std::vector<Tokens> prompts;
  for (PromptExample& example : read.examples) {
    prompts.push_back(std::move(example.prompt));
  }
  if (std::ssize(prompts) < count) {
    return TooFew(settings, prompts.size(), count);
  }
  return prompts;
}

absl::StatusOr<std::vector<Tokens>> Openings(const Settings& settings,
                                             const Model& policy,
                                             int64_t count) {
  const Tokens start = {policy.config().bos_token_id.value_or(0)};
  ALIGN_ASSIGN_OR_RETURN(
      const std::vector<samplers::Completion> openings,
      samplers::Generate(
          policy, {&start, 1}, count,
          {.max_new_tokens = static_cast<int64_t>(settings.prompt_tokens)},
          Rng(static_cast<uint64_t>(settings.seed)).Fork("openings"), {},
          settings.stop));
  std::vector<Tokens> prompts;
  for (const samplers::Completion& opening : openings) {
    prompts.push_back(start);
    prompts.back().insert(prompts.back().end(), opening.tokens.begin(),
                          opening.tokens.end());
  }
  return prompts;
}

}  // namespace

absl::StatusOr<SplitPairs> SplitByPrompt(std::vector<PairExample> pairs,
                                         const Settings& settings) {
  std::map<Tokens, int64_t> numbers;
  std::vector<Tokens> prompts;
  for (const PairExample& pair : pairs) {
    if (numbers.emplace(pair.prompt, std::ssize(prompts)).second) {
      prompts.push_back(pair.prompt);
    }
  }
  const auto held_out = static_cast<int64_t>(settings.eval_prompts);
  const bool judge = settings.gold.empty();
  const int64_t left = std::ssize(prompts) - held_out;
  if (left < (judge ? 2 : 1)) {
    return TooFew(settings, prompts.size(), held_out + (judge ? 2 : 1));
  }
  const int64_t train_from = held_out + (judge ? left / 2 : 0);
  SplitPairs split;
  std::vector<int64_t> place(prompts.size());  // of a prompt, in drawn order
  int64_t next = 0;
  for (const int64_t number :
       ExampleOrder(std::ssize(prompts), static_cast<uint64_t>(settings.seed),
                    /*epoch=*/0)) {
    place[number] = next++;
    if (place[number] < held_out) {
      split.prompts.held_out.push_back(std::move(prompts[number]));
    } else if (place[number] >= train_from) {
      split.prompts.train.push_back(std::move(prompts[number]));
    }
  }
  for (PairExample& pair : pairs) {
    const int64_t at = place[numbers.at(pair.prompt)];
    if (at < held_out) continue;
    (at < train_from ? split.judge : split.train).push_back(std::move(pair));
  }
  return split;
}

absl::StatusOr<bool> ReadDataPairs(const Settings& settings,
                                   const ModelConfig& config,
                                   std::vector<PairExample>& pairs) {
  if (settings.data.empty()) return false;
  ALIGN_ASSIGN_OR_RETURN(const std::vector<pb::Record> records,
                         ReadRecords(settings.data));
  if (records.empty() || !records[0].has_preference()) return false;
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                         LoadTokenizer(settings.model));
  ALIGN_ASSIGN_OR_RETURN(const TokenizeOptions lengths,
                         Lengths(settings, config));
  ALIGN_ASSIGN_OR_RETURN(auto read,
                         TokenizePairs(records, *tokenizer, lengths));
  pairs = std::move(read.examples);
  return true;
}

absl::StatusOr<SplitPrompts> ReadDataPrompts(const Settings& settings,
                                             const Model& policy) {
  const auto train = static_cast<int64_t>(settings.prompts);
  const int64_t count = train + static_cast<int64_t>(settings.eval_prompts);
  ALIGN_ASSIGN_OR_RETURN(const std::vector<Tokens> prompts,
                         settings.data.empty()
                             ? Openings(settings, policy, count)
                             : RecordPrompts(settings, policy.config(), count));
  const auto begin = prompts.begin();
  return SplitPrompts{.train = {begin, begin + train},
                      .held_out = {begin + train, begin + count}};
}

absl::Status SavePrompts(const Settings& settings,
                         const SplitPrompts& prompts) {
  ALIGN_RETURN_IF_ERROR(SaveTokens(PromptsPath(settings), prompts.train));
  return SaveTokens(HeldOutPath(settings), prompts.held_out);
}

absl::StatusOr<SplitPrompts> LoadPrompts(const Settings& settings) {
  SplitPrompts prompts;
  ALIGN_ASSIGN_OR_RETURN(prompts.train, LoadTokens(PromptsPath(settings)));
  ALIGN_ASSIGN_OR_RETURN(prompts.held_out, LoadTokens(HeldOutPath(settings)));
  return prompts;
}

absl::Status SavePairs(const Settings& settings, const std::string& name,
                       std::span<const PairExample> pairs) {
  pb::TokenPairs saved;
  for (const PairExample& pair : pairs) {
    pb::TokenPair* tokens = saved.add_pairs();
    AddTokens(pair.prompt, tokens->mutable_prompt());
    AddTokens(pair.chosen, tokens->mutable_chosen());
    AddTokens(pair.rejected, tokens->mutable_rejected());
  }
  return WriteFileAtomically(settings.work + "/" + name + ".binpb",
                             saved.SerializeAsString());
}

absl::StatusOr<PairLoader> LoadPairs(const Settings& settings,
                                     const std::string& name) {
  const std::string path = settings.work + "/" + name + ".binpb";
  ALIGN_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  pb::TokenPairs pairs;
  if (!pairs.ParseFromString(bytes)) return DataLoss(path);
  std::vector<PairExample> examples;
  for (const pb::TokenPair& pair : pairs.pairs()) {
    examples.push_back({.prompt = ToTokens(pair.prompt()),
                        .chosen = ToTokens(pair.chosen()),
                        .rejected = ToTokens(pair.rejected()),
                        .margin = 0,
                        .id = "#" + std::to_string(examples.size())});
  }
  return PairLoader::Create(
      std::move(examples),
      {.batch_size = static_cast<int64_t>(settings.batch_pairs),
       .epochs = 0,
       .seed = static_cast<uint64_t>(settings.seed)});
}

}  // namespace align::bench
