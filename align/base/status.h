#pragma once

// absl::Status with messages made from std types: Debian's Abseil has its own
// string_view, so the conversions live here and nowhere else.
//
//   ALIGN_RETURN_IF_ERROR(file.Write(bytes));
//   ALIGN_ASSIGN_OR_RETURN(Model model, LoadModel(path));

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace align {

// Errors from std::string messages: "where: what; expected ...".
absl::Status InvalidArgument(std::string_view message);
absl::Status NotFound(std::string_view message);
absl::Status DataLoss(std::string_view message);
absl::Status OutOfRange(std::string_view message);
absl::Status Unimplemented(std::string_view message);
absl::Status ResourceExhausted(std::string_view message);
absl::Status FailedPrecondition(std::string_view message);
absl::Status Cancelled(std::string_view message);
absl::Status Internal(std::string_view message);

// The status' message as a std::string.
std::string Message(const absl::Status& status);

// `status` with "where: " put before its message; OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view where);

}  // namespace align

#define ALIGN_CONCAT_INNER(a, b) a##b
#define ALIGN_CONCAT(a, b) ALIGN_CONCAT_INNER(a, b)

#define ALIGN_RETURN_IF_ERROR(expr)              \
  do {                                           \
    absl::Status align_status = (expr);          \
    if (!align_status.ok()) return align_status; \
  } while (false)

#define ALIGN_ASSIGN_OR_RETURN(lhs, expr) \
  ALIGN_ASSIGN_OR_RETURN_IMPL(ALIGN_CONCAT(align_or_, __LINE__), lhs, expr)
#define ALIGN_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                                \
  if (!tmp.ok()) return tmp.status();               \
  lhs = std::move(tmp).value()
