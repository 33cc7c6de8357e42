#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "align/base/status.h"

namespace align {

// The TFRecord framing: for each record its length (u64), the masked CRC-32C
// of those 8 bytes (u32), the payload, the masked CRC-32C of the payload (u32),
// all little-endian. Source: tensorflow/core/lib/io/record_writer.h.

// CRC-32C (Castagnoli) of `bytes`: e3069283 for "123456789".
uint32_t Crc32c(std::string_view bytes);
// The same, masked as TFRecord stores it.
uint32_t MaskedCrc32c(std::string_view bytes);

// Writes a file of records that appears under its name on Close; destroyed
// without Close, it leaves nothing. One thread at a time.
class TfRecordWriter {
 public:
  // kInvalidArgument if the file cannot be created.
  static absl::StatusOr<TfRecordWriter> Create(const std::string& path);
  TfRecordWriter(TfRecordWriter&&) noexcept;
  TfRecordWriter& operator=(TfRecordWriter&&) noexcept;
  ~TfRecordWriter();

  // Buffered; kResourceExhausted when the disk refuses.
  absl::Status Append(std::string_view payload);
  // Flushes, fsyncs, renames. Further calls are misuse.
  absl::Status Close();
  int64_t count() const;  // records appended

 private:
  struct State;
  explicit TfRecordWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// A file of records with random access: mapped, or inflated into memory if it
// is gzip. Immutable after Open: any number of threads may read.
class TfRecordFile {
 public:
  // Walks the framing. kDataLoss with the offset: a wrong length CRC, a record
  // that the file cuts off. Inflated files are limited to max_inflated_bytes.
  static absl::StatusOr<TfRecordFile> Open(
      const std::string& path, int64_t max_inflated_bytes = int64_t{8} << 30);
  TfRecordFile(TfRecordFile&&) noexcept;
  TfRecordFile& operator=(TfRecordFile&&) noexcept;
  ~TfRecordFile();

  int64_t count() const;
  // Payload of record `index`, valid while this object lives. kDataLoss with
  // the offset when its CRC does not match; kOutOfRange beyond the end.
  absl::StatusOr<std::string_view> Read(int64_t index) const;
  // Where the framing of record `index` starts, in (inflated) bytes.
  int64_t offset(int64_t index) const;
  const std::string& path() const;

 private:
  struct State;
  explicit TfRecordFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace align
