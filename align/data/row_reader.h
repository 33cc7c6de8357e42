#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "align/base/status.h"

namespace align {

enum class RowFault {
  kNone,
  kTooLong,        // exceeded max_row_bytes; `text` is empty
  kUnclosedArray,  // the file ended before its ']'; `text` is empty
};

// One JSON value of a file, not yet parsed.
struct Row {
  std::string_view text;  // valid until the next call of Next
  int64_t line = 0;       // from 1, where the value starts
  RowFault fault = RowFault::kNone;
};

// Cuts a file (plain or gzip) into rows: the lines of JSONL, or the elements of
// one JSON array if the first character is '['. Cutting an array looks at
// quotes and brackets only, so that an element wrong in any other way does not
// hide the next. Blank lines and a UTF-8 byte order mark are skipped. Holds one
// row at a time; one thread at a time.
class RowReader {
 public:
  // Bytes that may be read (not written) after every row's text: simdjson
  // parses in place then.
  static constexpr int64_t kPaddingBytes = 64;

  // kNotFound or kInvalidArgument names the path.
  static absl::StatusOr<RowReader> Open(const std::string& path,
                                        int64_t max_row_bytes);
  RowReader(RowReader&&) noexcept;
  RowReader& operator=(RowReader&&) noexcept;
  ~RowReader();

  // False at the end. kDataLoss: the file cannot be read on, or its gzip stream
  // is corrupt.
  absl::StatusOr<bool> Next(Row& row);
  // Inflated bytes read so far.
  int64_t bytes() const;

 private:
  struct State;
  explicit RowReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace align
