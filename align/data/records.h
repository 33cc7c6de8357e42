#pragma once

#include <span>
#include <string>
#include <vector>

#include "align/base/status.h"

namespace align {

namespace pb {
class Record;
}  // namespace pb

// Every record of a TFRecord file (plain or gzip) of align.pb.Record, in order.
// kDataLoss with the offset when the framing or a CRC is wrong;
// kInvalidArgument with the record's number (from 0) and offset when a payload
// is not an align.pb.Record or holds none of its kinds.
absl::StatusOr<std::vector<pb::Record>> ReadRecords(const std::string& path);

// Writes `records` as such a file, which appears under its name only when it is
// complete.
absl::Status WriteRecords(const std::string& path,
                          std::span<const pb::Record> records);

}  // namespace align
