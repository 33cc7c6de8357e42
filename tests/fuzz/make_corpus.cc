// make_corpus DIR: for each fuzzer a folder DIR/NAME of small files that are in
// order, from which it starts.
#include <cstdio>
#include <string>

#include "align/base/files.h"
#include "align/models/safetensors_writer.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tokenizer_seeds.h"

namespace align {
namespace {

absl::Status MakeCorpus(const std::string& directory) {
  const auto write = [&](const std::string& fuzzer, size_t index,
                         const std::string& contents) {
    ALIGN_RETURN_IF_ERROR(MakeDirectories(directory + "/" + fuzzer));
    return WriteFileAtomically(
        directory + "/" + fuzzer + "/seed" + std::to_string(index), contents);
  };
  size_t index = 0;
  for (const std::string& json : TokenizerJsonSeeds()) {
    ALIGN_RETURN_IF_ERROR(write("fuzz_tokenizer", index++, json));
  }
  for (const bool unigram : {false, true}) {
    ALIGN_RETURN_IF_ERROR(
        write("fuzz_sentencepiece", unigram, SentencePieceSeed(unigram)));
  }
  const std::string work = directory + "/work";
  ALIGN_RETURN_IF_ERROR(MakeDirectories(work));
  for (const Family family : AllFamilies()) {
    ALIGN_RETURN_IF_ERROR(WriteModelConfig(work, TinyConfig(family)));
    ALIGN_ASSIGN_OR_RETURN(const std::string json,
                           ReadFile(work + "/config.json"));
    ALIGN_RETURN_IF_ERROR(write("fuzz_model_config", index++, json));
  }
  const std::vector<float> values = {1, -2, 3, 4, 5, 6};
  for (const StoredDtype dtype :
       {StoredDtype::kF32, StoredDtype::kF16, StoredDtype::kBF16}) {
    ALIGN_RETURN_IF_ERROR(WriteSafetensors(
        work + "/seed",
        {{.name = "a", .shape = {2, 2}, .values = {values.data(), 4}},
         {.name = "b", .shape = {2}, .values = {values.data() + 4, 2}},
         {.name = "none", .shape = {0, 3}, .values = {}}},
        {.dtype = dtype}));
    ALIGN_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(work + "/seed"));
    ALIGN_RETURN_IF_ERROR(write("fuzz_safetensors", index++, bytes));
  }
  return write("fuzz_index", 0,
               R"({"metadata": {"total_size": 8},
"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}})");
}

}  // namespace
}  // namespace align

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIR\n", argv[0]);
    return 2;
  }
  const absl::Status status = align::MakeCorpus(argv[1]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
