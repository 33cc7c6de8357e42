#include "align/data/import.h"

#include <array>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <utility>

#include "align/data/row_converter.h"
#include "align/data/row_reader.h"
#include "align/data/tfrecord.h"
#include "proto/records.pb.h"

namespace align {
namespace {

// Counts of one file, in the order of the enumerations.
struct Tally {
  std::array<int64_t, kRowShapes> taken{};
  std::array<DroppedRows, kDropReasons> dropped{};
};

void SetIdAndSource(const std::string& id, const std::string& source,
                    pb::Record& record) {
  const auto set = [&](auto* part) {
    if (part->id().empty()) part->set_id(id);
    part->set_source(source);
  };
  switch (record.kind_case()) {
    case pb::Record::kPreference:
      return set(record.mutable_preference());
    case pb::Record::kSft:
      return set(record.mutable_sft());
    case pb::Record::kPrompt:
      return set(record.mutable_prompt());
    case pb::Record::kText:
      return set(record.mutable_text());
    case pb::Record::kUnpaired:
      return set(record.mutable_unpaired());
    case pb::Record::KIND_NOT_SET:
      return;
  }
}

RowOutcome ConvertRow(const Row& row, RowConverter& converter,
                      pb::Record& record) {
  RowOutcome outcome;
  switch (row.fault) {
    case RowFault::kNone:
      return converter.Convert(row.text, record);
    case RowFault::kTooLong:
      outcome.drop = Drop{DropReason::kTooLong, ""};
      break;
    case RowFault::kUnclosedArray:
      outcome.drop =
          Drop{DropReason::kBadJson, "the file ends before the array's ']'"};
      break;
  }
  return outcome;
}

absl::Status StrictError(const std::string& where, const Drop& drop) {
  return InvalidArgument(where + ": " +
                         std::string(DropReasonName(drop.reason)) +
                         (drop.detail.empty() ? "" : " (" + drop.detail + ")"));
}

absl::StatusOr<ImportedFile> ImportFile(const std::string& path,
                                        const ImportOptions& options,
                                        RowConverter& converter,
                                        TfRecordWriter& writer) {
  ALIGN_ASSIGN_OR_RETURN(RowReader reader,
                         RowReader::Open(path, options.max_row_bytes));
  const std::string name = std::filesystem::path(path).filename().string();
  ImportedFile file{.path = path, .taken = {}, .dropped = {}};
  Tally tally;
  Row row;
  pb::Record record;
  std::string payload;
  while (true) {
    ALIGN_ASSIGN_OR_RETURN(const bool more, reader.Next(row));
    if (!more) break;
    ++file.rows;
    const std::string line = ":" + std::to_string(row.line);
    RowOutcome outcome = ConvertRow(row, converter, record);
    if (!outcome.drop) {
      SetIdAndSource(name + line, path + line, record);
      record.SerializeToString(&payload);
      ALIGN_RETURN_IF_ERROR(writer.Append(payload));
      ++tally.taken[static_cast<size_t>(outcome.shape)];
      continue;
    }
    if (options.strict) return StrictError(path + line, *outcome.drop);
    auto& dropped = tally.dropped[static_cast<size_t>(outcome.drop->reason)];
    if (dropped.count++ < options.examples_per_reason) {
      dropped.first.push_back(
          {.where = path + line, .detail = std::move(outcome.drop->detail)});
    }
  }
  file.bytes = reader.bytes();
  for (int i = 0; i < kRowShapes; ++i) {
    if (tally.taken[i] == 0) continue;
    file.taken.push_back(
        {.shape = std::string(ShapeName(static_cast<RowShape>(i))),
         .count = tally.taken[i]});
  }
  for (int i = 0; i < kDropReasons; ++i) {
    if (tally.dropped[i].count == 0) continue;
    tally.dropped[i].reason = DropReasonName(static_cast<DropReason>(i));
    file.dropped.push_back(std::move(tally.dropped[i]));
  }
  return file;
}

absl::Status CheckPaths(std::span<const std::string> inputs,
                        const std::string& out_path) {
  if (inputs.empty()) return InvalidArgument("import: no input files");
  for (const std::string& input : inputs) {
    std::error_code error;
    if (std::filesystem::equivalent(input, out_path, error)) {
      return InvalidArgument(out_path +
                             ": the output is also an input; expected another");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ImportResult> Import(std::span<const std::string> inputs,
                                    const std::string& out_path,
                                    const ImportOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  ALIGN_RETURN_IF_ERROR(CheckPaths(inputs, out_path));
  ALIGN_ASSIGN_OR_RETURN(TfRecordWriter writer,
                         TfRecordWriter::Create(out_path));
  RowConverter converter(options.max_depth);
  ImportResult result{.files = {}, .out_path = out_path};
  for (const std::string& input : inputs) {
    ALIGN_ASSIGN_OR_RETURN(ImportedFile file,
                           ImportFile(input, options, converter, writer));
    result.rows += file.rows;
    result.bytes += file.bytes;
    result.files.push_back(std::move(file));
  }
  result.records = writer.count();
  ALIGN_RETURN_IF_ERROR(writer.Close());
  result.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  return result;
}

}  // namespace align
