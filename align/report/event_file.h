#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "align/base/status.h"

namespace align {

// What goes into an event file's name and first record.
struct EventFileOptions {
  double wall_time = 0;  // seconds since 1970
  std::string host = "localhost";
  int64_t process_id = 0;
  int64_t sequence = 0;  // tells files of one process and second apart
};

// A TensorBoard event file of scalars: TFRecord framing around align.pb
// ScalarEvent. Each call reaches the file before it returns, so a viewer may
// follow a running job. Movable; used by one thread.
class EventFile {
 public:
  // Makes directory/events.out.tfevents.SECONDS.HOST.PID.SEQUENCE, which must
  // not exist. kInvalidArgument names the path, or a host that is no plain
  // name.
  static absl::StatusOr<EventFile> Create(const std::string& directory,
                                          const EventFileOptions& options);
  EventFile(EventFile&& other) noexcept;
  EventFile& operator=(EventFile&& other) noexcept;
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;
  ~EventFile();

  // One record with all of `scalars` (tag, value; stored as float, NaN stays
  // NaN) at `step`. `wall_time` in seconds since 1970. Errors:
  // kInvalidArgument for a tag that is not UTF-8 (nothing is written),
  // kResourceExhausted from the disk (the file may end in a part of a record).
  absl::Status AddScalars(
      int64_t step, double wall_time,
      const std::vector<std::pair<std::string, double>>& scalars);

  const std::string& path() const { return path_; }

 private:
  EventFile() = default;
  absl::Status Append(std::string_view payload);

  std::string path_;
  int fd_ = -1;
};

}  // namespace align
