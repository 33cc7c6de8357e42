#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "align/base/status.h"

namespace align {

struct ImportOptions {
  bool strict = false;  // the first row that is not taken is an error
  int64_t max_row_bytes = int64_t{64} << 20;  // longer rows are dropped
  int max_depth = 64;                         // rows nested deeper are bad JSON
  int examples_per_reason = 3;  // rows named for each reason to drop
};

// A row that was not taken.
struct DroppedRow {
  std::string where;   // "file:line"
  std::string detail;  // may be empty
};

struct DroppedRows {
  std::string reason;
  int64_t count = 0;
  std::vector<DroppedRow> first;  // up to examples_per_reason
};

struct TakenRows {
  std::string shape;
  int64_t count = 0;
};

struct ImportedFile {
  std::string path;
  int64_t rows = 0;
  int64_t bytes = 0;  // inflated
  std::vector<TakenRows> taken;
  std::vector<DroppedRows> dropped;
};

struct ImportResult {
  std::vector<ImportedFile> files;
  std::string out_path;
  int64_t rows = 0;
  int64_t records = 0;  // taken and written, in the order of the inputs
  int64_t bytes = 0;    // of the inputs, inflated
  double seconds = 0;

  int64_t dropped() const { return rows - records; }
};

// Turns JSON rows into a TFRecord file of align.pb.Record. An input is JSONL or
// one JSON array, plain or gzip; each row's shape is found from its fields (see
// RowConverter for the shapes, the reasons to drop and the rule that splits
// transcripts). A record's source is "path:line"; its id is the row's, or else
// "name:line" with the file's name.
//
// A bad row is counted and passed over; with `strict` it is kInvalidArgument
// naming file, line and reason. An input that cannot be read to its end
// (missing, corrupt gzip) is an error either way, and then nothing is written;
// so is an output that is one of the inputs. No row taken is not an error: an
// empty file, and a report that says why.
absl::StatusOr<ImportResult> Import(std::span<const std::string> inputs,
                                    const std::string& out_path,
                                    const ImportOptions& options);

// What was taken and dropped, and why, as lines for a terminal.
std::string RenderImportReport(const ImportResult& result);

}  // namespace align
