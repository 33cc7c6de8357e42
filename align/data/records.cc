#include "align/data/records.h"

#include <climits>
#include <cstdint>
#include <string_view>

#include "align/data/tfrecord.h"
#include "proto/records.pb.h"

namespace align {

absl::StatusOr<std::vector<pb::Record>> ReadRecords(const std::string& path) {
  ALIGN_ASSIGN_OR_RETURN(const TfRecordFile file, TfRecordFile::Open(path));
  std::vector<pb::Record> records(file.count());
  for (int64_t i = 0; i < file.count(); ++i) {
    ALIGN_ASSIGN_OR_RETURN(const std::string_view payload, file.Read(i));
    const bool parsed = payload.size() <= INT_MAX &&
                        records[i].ParseFromArray(
                            payload.data(), static_cast<int>(payload.size()));
    if (!parsed || records[i].kind_case() == pb::Record::KIND_NOT_SET) {
      return InvalidArgument(
          path + ": record " + std::to_string(i) + " at offset " +
          std::to_string(file.offset(i)) +
          (parsed ? ": empty; expected a preference, sft, prompt, text or "
                    "unpaired record"
                  : ": not an align.pb.Record"));
    }
  }
  return records;
}

absl::Status WriteRecords(const std::string& path,
                          std::span<const pb::Record> records) {
  ALIGN_ASSIGN_OR_RETURN(TfRecordWriter writer, TfRecordWriter::Create(path));
  std::string payload;
  for (size_t i = 0; i < records.size(); ++i) {
    if (!records[i].SerializeToString(&payload)) {
      return InvalidArgument(path + ": record " + std::to_string(i) +
                             " does not serialize (over 2 GiB)");
    }
    ALIGN_RETURN_IF_ERROR(writer.Append(payload));
  }
  return writer.Close();
}

}  // namespace align
