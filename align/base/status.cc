#include "align/base/status.h"

namespace align {
namespace {

absl::Status Make(absl::StatusCode code, std::string_view message) {
  return absl::Status(code, {message.data(), message.size()});
}

}  // namespace

absl::Status InvalidArgument(std::string_view message) {
  return Make(absl::StatusCode::kInvalidArgument, message);
}
absl::Status NotFound(std::string_view message) {
  return Make(absl::StatusCode::kNotFound, message);
}
absl::Status DataLoss(std::string_view message) {
  return Make(absl::StatusCode::kDataLoss, message);
}
absl::Status OutOfRange(std::string_view message) {
  return Make(absl::StatusCode::kOutOfRange, message);
}
absl::Status Unimplemented(std::string_view message) {
  return Make(absl::StatusCode::kUnimplemented, message);
}
absl::Status ResourceExhausted(std::string_view message) {
  return Make(absl::StatusCode::kResourceExhausted, message);
}
absl::Status FailedPrecondition(std::string_view message) {
  return Make(absl::StatusCode::kFailedPrecondition, message);
}
absl::Status Cancelled(std::string_view message) {
  return Make(absl::StatusCode::kCancelled, message);
}
absl::Status Internal(std::string_view message) {
  return Make(absl::StatusCode::kInternal, message);
}

std::string Message(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

absl::Status Annotate(const absl::Status& status, std::string_view where) {
  if (status.ok()) return status;
  std::string message(where);
  message += ": ";
  message += Message(status);
  return Make(status.code(), message);
}

}  // namespace align
