// Tokenizers on text, one thread: MB/s of encoding and of decoding, on English
// and on what makes a naive encoder quadratic.
//   tokenizer_bench [--tokenizer=tokenizer.json|tokenizer.model] [--text=FILE]
// Without flags: a byte-level BPE of the common English words, on text of these
// and of words that it lacks.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "align/base/files.h"
#include "align/base/rng.h"
#include "align/text/byte_level.h"
#include "align/text/huggingface_tokenizer.h"
#include "align/text/sentencepiece.h"

namespace align {
namespace {

constexpr size_t kTextBytes = 1 << 20;

constexpr const char* kWords[] = {
    "the",    "of",     "and",   "to",     "a",       "in",     "that",
    "is",     "was",    "he",    "for",    "it",      "with",   "as",
    "his",    "on",     "be",    "at",     "by",      "had",    "not",
    "are",    "but",    "from",  "or",     "have",    "an",     "they",
    "which",  "one",    "you",   "were",   "her",     "all",    "she",
    "there",  "would",  "their", "we",     "him",     "been",   "has",
    "when",   "who",    "will",  "more",   "no",      "if",     "out",
    "answer", "reward", "model", "prefer", "because", "policy", "sample"};
// Not in the vocabulary: made of smaller pieces.
constexpr const char* kRareWords[] = {"thereof",   "unmodelled",  "rewarding",
                                      "hereafter", "preferences", "wishes"};

std::string EnglishText() {
  Rng rng = Rng(1).Fork("english");
  std::string text;
  while (text.size() < kTextBytes) {
    text += rng.Below(12) == 0 ? kRareWords[rng.Below(std::size(kRareWords))]
                               : kWords[rng.Below(std::size(kWords))];
    const uint64_t end = rng.Below(20);
    text += end == 0 ? ".\n\n" : end == 1 ? ", " : end == 2 ? " 17 " : " ";
  }
  return text;
}

// Each word is its first letters and one more, with a space before or without.
std::string WordsJson() {
  std::vector<std::string> pieces;
  std::string merges;
  for (int byte = 0; byte < 256; ++byte) {
    pieces.push_back(BytesToByteLevel(std::string(1, static_cast<char>(byte))));
  }
  for (const char* word : kWords) {
    for (const std::string& text :
         {std::string(word), " " + std::string(word)}) {
      for (size_t length = 2; length <= text.size(); ++length) {
        const std::string piece = BytesToByteLevel(text.substr(0, length));
        if (std::find(pieces.begin(), pieces.end(), piece) != pieces.end()) {
          continue;
        }
        pieces.push_back(piece);
        merges += (merges.empty() ? "\"" : ", \"") +
                  BytesToByteLevel(text.substr(0, length - 1)) + " " +
                  BytesToByteLevel(text.substr(length - 1, 1)) + "\"";
      }
    }
  }
  std::string vocab;
  for (size_t id = 0; id < pieces.size(); ++id) {
    const bool escaped = pieces[id] == "\"" || pieces[id] == "\\";
    vocab += (id == 0 ? "\"" : ", \"") + std::string(escaped ? "\\" : "") +
             pieces[id] + "\": " + std::to_string(id);
  }
  const std::string bytes =
      R"({"type": "ByteLevel", "add_prefix_space": false})";
  return R"({"pre_tokenizer": )" + bytes + R"(, "decoder": )" + bytes +
         R"(, "model": {"type": "BPE", "vocab": {)" + vocab +
         R"(}, "merges": [)" + merges + "]}}";
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& path) {
  std::string bytes = WordsJson();
  if (!path.empty()) {
    ALIGN_ASSIGN_OR_RETURN(bytes, ReadFile(path));
  }
  if (path.ends_with(".model")) {
    ALIGN_ASSIGN_OR_RETURN(auto tokenizer,
                           SentencePieceTokenizer::Parse(bytes, path));
    return std::unique_ptr<Tokenizer>(std::move(tokenizer));
  }
  ALIGN_ASSIGN_OR_RETURN(auto tokenizer,
                         HuggingFaceTokenizer::Parse(bytes, "tokenizer.json"));
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

void Encode(benchmark::State& state, const Tokenizer& tokenizer,
            const std::string& text) {
  size_t tokens = 0;
  for (auto _ : state) tokens = tokenizer.Encode(text).size();
  state.SetBytesProcessed(state.iterations() *
                          static_cast<int64_t>(text.size()));
  state.counters["tokens"] = static_cast<double>(tokens);
}

void Decode(benchmark::State& state, const Tokenizer& tokenizer,
            const std::string& text) {
  const std::vector<int32_t> ids = tokenizer.Encode(text);
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.Decode(ids));
  state.SetBytesProcessed(state.iterations() *
                          static_cast<int64_t>(text.size()));
}

// Takes --NAME=VALUE out of the arguments.
std::string TakeFlag(int* argc, char** argv, const std::string& name) {
  const std::string start = "--" + name + "=";
  for (int i = 1; i < *argc; ++i) {
    if (std::strncmp(argv[i], start.c_str(), start.size()) != 0) continue;
    const std::string value = argv[i] + start.size();
    std::copy(argv + i + 1, argv + *argc, argv + i);
    --*argc;
    return value;
  }
  return "";
}

int Main(int argc, char** argv) {
  const std::string tokenizer_path = TakeFlag(&argc, argv, "tokenizer");
  const std::string text_path = TakeFlag(&argc, argv, "text");
  const auto tokenizer = Load(tokenizer_path);
  const auto text = text_path.empty()
                        ? absl::StatusOr<std::string>(EnglishText())
                        : ReadFile(text_path);
  for (const absl::Status& status : {tokenizer.status(), text.status()}) {
    if (status.ok()) continue;
    std::fprintf(stderr, "%s\n", Message(status).c_str());
    return 2;
  }
  std::string lines;
  while (lines.size() < kTextBytes) lines += "\n ";
  const std::vector<std::pair<const char*, std::string>> texts = {
      {"english", *text},
      {"one_letter", std::string(kTextBytes, 'a')},
      {"spaces", std::string(kTextBytes, ' ')},
      {"line_breaks", lines}};
  for (const auto& [name, value] : texts) {
    benchmark::RegisterBenchmark(
        (std::string("encode/") + name).c_str(),
        [&tokenizer, &value = value](benchmark::State& state) {
          Encode(state, **tokenizer, value);
        })
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::RegisterBenchmark("decode/english", [&](benchmark::State& state) {
    Decode(state, **tokenizer, *text);
  })->Unit(benchmark::kMillisecond);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace align

int main(int argc, char** argv) { return align::Main(argc, argv); }
