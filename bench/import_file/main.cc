// import_file: how fast JSON rows become records, on a file repeated to a given
// size, plain and gzip, by one thread. Prints one JSON object: MB/s of the
// import (its fsync included), of simdjson's parse alone on the same bytes in
// the same run, the seconds of each part, and which part bounds.

#include <simdjson.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "align/base/files.h"
#include "align/base/json_writer.h"
#include "align/base/threads.h"
#include "align/cli/command.h"
#include "align/data/import.h"
#include "align/data/input_stream.h"
#include "align/data/row_converter.h"
#include "align/data/row_reader.h"
#include "proto/records.pb.h"

namespace align::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMaxBytes = int64_t{1} << 30;  // of the file given, inflated

// A folder for the inputs and the records, gone at the end.
class TemporaryFolder {
 public:
  TemporaryFolder()
      : path_(std::filesystem::temp_directory_path() /
              ("align_import_file_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string File(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

// Of this process, in user and kernel mode.
double CpuSeconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) +
           1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// `text` as one member of a gzip file.
absl::StatusOr<std::string> Gzip(std::string& text) {
  constexpr int kGzipWindow = 15 + 16;
  z_stream stream{};
  if (::deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipWindow, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
    return Internal("zlib does not start");
  }
  std::string out(::deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(text.data());
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int code = ::deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  if (code != Z_STREAM_END) return Internal("zlib does not finish");
  return out;
}

absl::Status WriteRepeated(const std::string& path, const std::string& bytes,
                           int64_t times) {
  ALIGN_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  for (int64_t i = 0; i < times; ++i) {
    ALIGN_RETURN_IF_ERROR(file.Write(bytes));
  }
  return file.Commit();
}

// simdjson alone: every line of `text`, in memory, `times` over.
absl::StatusOr<double> ParseSeconds(std::string text, int64_t times) {
  const size_t size = text.size();
  text.append(simdjson::SIMDJSON_PADDING, '\0');
  simdjson::dom::parser parser;
  const Clock::time_point begin = Clock::now();
  for (int64_t i = 0; i < times; ++i) {
    for (size_t row = 0; row < size;) {
      const size_t end = std::min(text.find('\n', row), size);
      const auto root = parser.parse(text.data() + row, end - row, false);
      if (end > row && root.error() != simdjson::SUCCESS) {
        return InvalidArgument(std::string("a row that is not JSON: ") +
                               simdjson::error_message(root.error()));
      }
      row = end + 1;
    }
  }
  return Seconds(begin);
}

// How far a row goes on its way to the file.
enum class Depth { kCut, kConverted, kSerialized };

absl::StatusOr<double> RowSeconds(const std::string& path, Depth depth) {
  const ImportOptions options;
  const Clock::time_point begin = Clock::now();
  ALIGN_ASSIGN_OR_RETURN(RowReader reader,
                         RowReader::Open(path, options.max_row_bytes));
  RowConverter converter(options.max_depth);
  Row row;
  pb::Record record;
  std::string payload;
  while (true) {
    ALIGN_ASSIGN_OR_RETURN(const bool more, reader.Next(row));
    if (!more) break;
    if (depth == Depth::kCut || row.fault != RowFault::kNone) continue;
    const RowOutcome outcome = converter.Convert(row.text, record);
    if (depth == Depth::kConverted || outcome.drop) continue;
    record.SerializeToString(&payload);
  }
  return Seconds(begin);
}

struct Part {
  std::string name;
  double seconds = 0;
};

struct Measured {
  double bytes = 0;  // of the input, inflated
  int64_t rows = 0, records = 0;
  double import_seconds = 0, import_cpu_seconds = 0, gzip_seconds = 0;
  double parse_seconds = 0;
  std::vector<Part> parts;  // of the plain import
};

absl::StatusOr<Measured> Measure(const std::string& path, double megabytes) {
  const TemporaryFolder folder;
  ALIGN_ASSIGN_OR_RETURN(std::string text, ReadWholeStream(path, kMaxBytes));
  if (text.empty()) return InvalidArgument(path + ": empty; expected rows");
  if (text.back() != '\n') text += '\n';
  const auto size = static_cast<double>(text.size());
  const auto times =
      std::max<int64_t>(1, static_cast<int64_t>(megabytes * 1e6 / size + 0.5));
  ALIGN_ASSIGN_OR_RETURN(const std::string packed, Gzip(text));
  const std::string plain = folder.File("rows.jsonl");
  const std::string gzip = folder.File("rows.jsonl.gz");
  ALIGN_RETURN_IF_ERROR(WriteRepeated(plain, text, times));
  ALIGN_RETURN_IF_ERROR(WriteRepeated(gzip, packed, times));

  Measured m{.bytes = size * static_cast<double>(times), .parts = {}};
  ALIGN_ASSIGN_OR_RETURN(m.parse_seconds, ParseSeconds(text, times));
  ALIGN_ASSIGN_OR_RETURN(const double cut, RowSeconds(plain, Depth::kCut));
  ALIGN_ASSIGN_OR_RETURN(const double converted,
                         RowSeconds(plain, Depth::kConverted));
  ALIGN_ASSIGN_OR_RETURN(const double serialized,
                         RowSeconds(plain, Depth::kSerialized));
  const double cpu = CpuSeconds();
  ALIGN_ASSIGN_OR_RETURN(
      const ImportResult result,
      Import(std::vector{plain}, folder.File("plain.tfrecord"), {}));
  m.import_cpu_seconds = CpuSeconds() - cpu;
  m.import_seconds = result.seconds;
  m.rows = result.rows;
  m.records = result.records;
  ALIGN_ASSIGN_OR_RETURN(
      const ImportResult inflated,
      Import(std::vector{gzip}, folder.File("gzip.tfrecord"), {}));
  if (inflated.records != result.records) {
    return Internal("plain and gzip give different records");
  }
  m.gzip_seconds = inflated.seconds;
  m.parts = {{"reading and cutting rows", cut},
             {"parsing JSON", m.parse_seconds},
             {"making records", converted - cut - m.parse_seconds},
             {"serializing", serialized - converted},
             {"checksums and handing bytes to the kernel",
              m.import_cpu_seconds - serialized},
             {"waiting, for the disk or the processor",
              m.import_seconds - m.import_cpu_seconds}};
  return m;
}

absl::Status Print(const Measured& m) {
  const auto speed = [&](double seconds) { return m.bytes * 1e-6 / seconds; };
  JsonWriter json;
  json.BeginObject();
  json.Field("megabytes", m.bytes * 1e-6);
  json.Field("rows", m.rows);
  json.Field("records", m.records);
  json.Field("import_mb_s", speed(m.import_seconds));
  json.Field("import_cpu_mb_s", speed(m.import_cpu_seconds));
  json.Field("gzip_mb_s", speed(m.gzip_seconds));
  json.Field("simdjson_mb_s", speed(m.parse_seconds));
  json.Key("seconds");
  json.BeginObject();
  for (const Part& part : m.parts) json.Field(part.name, part.seconds);
  json.EndObject();
  json.Field("bound",
             std::ranges::max_element(m.parts, {}, &Part::seconds)->name);
  json.EndObject();
  ALIGN_ASSIGN_OR_RETURN(const std::string line, std::move(json).Finish());
  std::printf("%s\n", line.c_str());
  return absl::OkStatus();
}

absl::Status Main(const std::vector<std::string>& words) {
  const cli::Command command{
      .name = "import_file",
      .usage = "import_file --file FILE [--megabytes N]",
      .summary = "How fast JSON rows become records.",
      .flags = {{"file", "FILE", "JSONL, plain or gzip"},
                {"megabytes", "N", "it is repeated to this size (500)"}},
      .run = nullptr};
  ALIGN_ASSIGN_OR_RETURN(const cli::Arguments arguments,
                         cli::ParseArguments(command, words));
  if (arguments.Has("help")) {
    std::fputs(cli::CommandHelp(command).c_str(), stdout);
    return absl::OkStatus();
  }
  const std::string file = arguments.Get("file", "");
  if (file.empty()) {
    return InvalidArgument("--file is missing. Usage: " + command.usage);
  }
  ALIGN_ASSIGN_OR_RETURN(const int64_t megabytes,
                         arguments.GetInteger("megabytes", 500, 1, 1 << 20));
  SetThreads(1);
  ALIGN_ASSIGN_OR_RETURN(const Measured measured,
                         Measure(file, static_cast<double>(megabytes)));
  return Print(measured);
}

}  // namespace
}  // namespace align::bench

int main(int argc, char** argv) {
  const absl::Status status =
      align::bench::Main({argv + 1, argv + std::max(argc, 1)});
  if (status.ok()) return 0;
  std::fprintf(stderr, "import_file: %s\n", align::Message(status).c_str());
  return 2;
}
