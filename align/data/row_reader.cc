#include "align/data/row_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "align/data/input_stream.h"

namespace align {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 18;

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

std::string_view Strip(std::string_view text) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace

struct RowReader::State {
  InputStream stream;
  int64_t max_row_bytes;
  std::vector<char> buffer = std::vector<char>(kChunkBytes + kPaddingBytes);
  size_t begin = 0;  // of the row being cut
  size_t scan = 0;   // looked at up to here
  size_t end = 0;    // of what is read
  int64_t bytes = 0;
  int64_t line = 1;      // of `scan`
  int64_t row_line = 1;  // of `begin`
  bool ended = false;
  bool is_array = false;
  bool too_long = false;  // the row being cut
  // Where in JSON the scan of an array is.
  int64_t depth = 0;
  bool in_string = false;
  bool escaped = false;

  absl::Status Fill();
  absl::Status Start();
  bool Give(size_t row_end, Row& row);
  bool ScanLine(Row& row);
  bool ScanElement(Row& row);
};

// Reads on, keeping [begin, end). A row that is too long already is forgotten.
absl::Status RowReader::State::Fill() {
  if (static_cast<int64_t>(end - begin) > max_row_bytes) too_long = true;
  if (too_long) begin = scan;
  std::memmove(buffer.data(), buffer.data() + begin, end - begin);
  scan -= begin;
  end -= begin;
  begin = 0;
  if (buffer.size() - kPaddingBytes - end < kChunkBytes / 2) {
    buffer.resize(2 * buffer.size());
  }
  ALIGN_ASSIGN_OR_RETURN(
      const size_t got,
      stream.Read(buffer.data() + end, buffer.size() - kPaddingBytes - end));
  end += got;
  bytes += static_cast<int64_t>(got);
  ended = got == 0;
  return absl::OkStatus();
}

// Skips the byte order mark and leading space; decides on the form.
absl::Status RowReader::State::Start() {
  ALIGN_RETURN_IF_ERROR(Fill());
  if (end >= 3 && std::memcmp(buffer.data(), "\xEF\xBB\xBF", 3) == 0) scan = 3;
  while (true) {
    while (scan < end && IsSpace(buffer[scan])) {
      line += buffer[scan++] == '\n';
    }
    begin = scan;
    if (scan < end || ended) break;
    ALIGN_RETURN_IF_ERROR(Fill());
  }
  is_array = scan < end && buffer[scan] == '[';
  if (is_array) begin = ++scan;
  row_line = line;
  return absl::OkStatus();
}

// Ends the row at `row_end`; false if it is blank.
bool RowReader::State::Give(size_t row_end, Row& row) {
  const bool was_too_long =
      too_long || static_cast<int64_t>(row_end - begin) > max_row_bytes;
  std::string_view text(buffer.data() + begin, row_end - begin);
  // The line of the first character that is not space.
  for (const char c : text) {
    if (!IsSpace(c) || was_too_long) break;
    row_line += c == '\n';
  }
  text = Strip(text);
  row = {.text = was_too_long ? std::string_view() : text,
         .line = row_line,
         .fault = was_too_long ? RowFault::kTooLong : RowFault::kNone};
  begin = scan;
  row_line = line;
  too_long = false;
  return was_too_long || !text.empty();
}

// True with a row; false when everything read was looked at.
bool RowReader::State::ScanLine(Row& row) {
  while (scan < end) {
    const void* found = std::memchr(buffer.data() + scan, '\n', end - scan);
    if (found == nullptr) {
      scan = end;
      return false;
    }
    const size_t row_end = static_cast<const char*>(found) - buffer.data();
    scan = row_end + 1;
    ++line;
    if (Give(row_end, row)) return true;
  }
  return false;
}

bool RowReader::State::ScanElement(Row& row) {
  while (scan < end) {
    const char c = buffer[scan++];
    if (c == '\n') ++line;
    if (in_string) {
      if (escaped) {
        escaped = false;
      } else if (c == '\\') {
        escaped = true;
      } else if (c == '"') {
        in_string = false;
      }
      continue;
    }
    switch (c) {
      case '"':
        in_string = true;
        break;
      case '{':
      case '[':
        ++depth;
        break;
      case '}':
      case ']':
        if (depth > 0) {
          --depth;
          break;
        }
        is_array = false;  // what follows is cut as lines
        if (Give(scan - 1, row)) return true;
        return false;
      case ',':
        if (depth == 0 && Give(scan - 1, row)) return true;
        break;
      default:
        break;
    }
  }
  return false;
}

absl::StatusOr<RowReader> RowReader::Open(const std::string& path,
                                          int64_t max_row_bytes) {
  ALIGN_ASSIGN_OR_RETURN(InputStream stream, InputStream::Open(path));
  auto state = std::make_unique<State>(
      State{.stream = std::move(stream), .max_row_bytes = max_row_bytes});
  ALIGN_RETURN_IF_ERROR(state->Start());
  return RowReader(std::move(state));
}

RowReader::RowReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
RowReader::RowReader(RowReader&&) noexcept = default;
RowReader& RowReader::operator=(RowReader&&) noexcept = default;
RowReader::~RowReader() = default;

absl::StatusOr<bool> RowReader::Next(Row& row) {
  State& state = *state_;
  while (true) {
    if (state.is_array ? state.ScanElement(row) : state.ScanLine(row)) {
      return true;
    }
    if (state.scan < state.end) continue;  // an array ended before the file
    if (state.ended) {
      if ((state.begin < state.end || state.too_long) &&
          state.Give(state.end, row)) {
        return true;
      }
      if (!state.is_array) return false;
      state.is_array = false;
      row = {.text = {}, .line = state.line, .fault = RowFault::kUnclosedArray};
      return true;
    }
    ALIGN_RETURN_IF_ERROR(state.Fill());
  }
}

int64_t RowReader::bytes() const { return state_->bytes; }

}  // namespace align
