// Import of JSONL into records: rows a second for pairs and for transcripts,
// on files that it writes into the temporary folder.

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "align/base/files.h"
#include "align/data/import.h"
#include "align/data/records.h"
#include "proto/records.pb.h"

namespace align {
namespace {

constexpr int kRows = 2000;

std::string Words(int count, int seed) {
  static constexpr const char* kWords[] = {
      "the", "answer", "depends", "on",     "what",
      "you", "like",   "best",    "\\n\\n", "caf\xc3\xa9"};
  std::string out;
  for (int i = 0; i < count; ++i) {
    out.append(" ").append(kWords[(seed * 7 + i * i) % 10]);
  }
  return out;
}

// Rows of about the size of HH-RLHF's: 150 words of context, two replies of 50.
std::string PairRow(int i) {
  return "{\"prompt\": \"" + Words(150, i) + "\", \"chosen\": \"" +
         Words(50, i + 1) + "\", \"rejected\": \"" + Words(50, i + 2) +
         " no\"}\n";
}

std::string TranscriptRow(int i) {
  const std::string context =
      "\\n\\nHuman:" + Words(70, i) + "\\n\\nAssistant:" + Words(70, i + 1) +
      "\\n\\nHuman:" + Words(10, i) + "\\n\\nAssistant:";
  return "{\"chosen\": \"" + context + Words(50, i + 2) +
         "\", \"rejected\": \"" + context + Words(50, i + 3) + " no\"}\n";
}

class TemporaryFolder {
 public:
  TemporaryFolder()
      : path_(std::filesystem::temp_directory_path() /
              ("align_import_bench_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string File(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

void ImportRows(benchmark::State& state, std::string (*row)(int)) {
  const TemporaryFolder folder;
  std::string bytes;
  for (int i = 0; i < kRows; ++i) bytes += row(i);
  const std::vector<std::string> inputs{folder.File("rows.jsonl")};
  if (!WriteFileAtomically(inputs[0], bytes).ok()) {
    return state.SkipWithError("cannot write the input");
  }
  for (auto _ : state) {
    const auto result = Import(inputs, folder.File("out.tfrecord"), {});
    if (!result.ok() || result->records != kRows) {
      return state.SkipWithError("the import lost rows");
    }
  }
  state.SetItemsProcessed(state.iterations() * kRows);
  state.SetBytesProcessed(state.iterations() *
                          static_cast<int64_t>(bytes.size()));
}

void ReadBack(benchmark::State& state) {
  const TemporaryFolder folder;
  std::vector<pb::Record> records(kRows);
  for (int i = 0; i < kRows; ++i) {
    records[i].mutable_text()->set_text(Words(250, i));
  }
  const std::string path = folder.File("records.tfrecord");
  if (!WriteRecords(path, records).ok()) {
    return state.SkipWithError("cannot write the records");
  }
  for (auto _ : state) {
    const auto read = ReadRecords(path);
    if (!read.ok() || read->size() != records.size()) {
      return state.SkipWithError("the file lost records");
    }
  }
  state.SetItemsProcessed(state.iterations() * kRows);
}

BENCHMARK_CAPTURE(ImportRows, pairs, PairRow)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(ImportRows, transcripts, TranscriptRow)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(ReadBack)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace align

BENCHMARK_MAIN();
