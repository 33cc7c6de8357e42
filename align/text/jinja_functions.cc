#include "align/text/jinja_functions.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "align/text/jinja_compare.h"
#include "align/text/jinja_text.h"

namespace align {
namespace {

using Type = JinjaValue::Type;
using Result = absl::StatusOr<JinjaValue>;

constexpr int64_t kMaxRange = 100'000;  // as Jinja's sandbox

// A namespace or dict of the named arguments and the entries of a dict.
Result Entries(const JinjaCall& call) {
  JinjaDict* dict = call.heap.NewDict();
  for (const JinjaValue& from : call.arguments) {
    if (!from.Is(Type::kDict)) {
      return call.Bad("a dict or named values expected, " +
                      JinjaTypeName(from) + " found");
    }
    for (const auto& [key, value] : from.dict->entries) {
      ALIGN_RETURN_IF_ERROR(dict->Set(key, value));
    }
  }
  for (const auto& [key, value] : call.named) {
    ALIGN_RETURN_IF_ERROR(
        dict->Set(call.heap.String(MarkedText(key, kMarkup)), value));
  }
  return call.name == "dict" ? call.heap.Dict(dict) : call.heap.Namespace(dict);
}

Result Range(const JinjaCall& call) {
  int64_t bounds[3] = {0, 0, 1};  // from, up to, step
  const size_t count = call.arguments.size();
  if (count < 1 || count > 3 || !call.named.empty()) {
    return call.Bad("one to three ints expected");
  }
  for (size_t i = 0; i < count; ++i) {
    if (!call.arguments[i].IsInteger()) return call.Bad("an int expected");
    bounds[count == 1 ? 1 : i] = call.arguments[i].integer;
  }
  const auto [from, to, step] = bounds;
  if (step == 0) return call.Bad("a step of 0");
  std::vector<JinjaValue> items;
  for (int64_t at = from; step > 0 ? at < to : at > to;) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) {
      return ResourceExhausted("range: more than " + std::to_string(kMaxRange) +
                               " numbers");
    }
    items.push_back(JinjaValue::Integer(at));
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return call.heap.List(std::move(items));
}

Result Raise(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"message"}));
  std::string message;
  if (bound[0] != nullptr) {
    ALIGN_ASSIGN_OR_RETURN(const MarkedText text,
                           JinjaPrinted(*bound[0], call.heap));
    message = text.text().substr(0, 400);
  }
  return InvalidArgument("the template refuses this input: " + message);
}

Result StrftimeNow(const JinjaCall& call, int64_t seconds) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"format"}));
  ALIGN_ASSIGN_OR_RETURN(const MarkedText* format,
                         TextArgument(call, bound[0]));
  const std::time_t time = seconds;
  std::tm utc{};
  if (gmtime_r(&time, &utc) == nullptr) return call.Bad("no such time");
  constexpr std::string_view kCodes = "aAbBcdeHIjmMpSUwWxXyYZzFTD%";
  const std::string& text = format->text();
  MarkedText out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.Append(std::string_view(text).substr(i, 1), kMarkup);
      continue;
    }
    std::string code = "%";
    if (i + 1 < text.size() && text[i + 1] == '-') code += text[++i];
    if (i + 1 >= text.size() ||
        kCodes.find(text[i + 1]) == std::string_view::npos) {
      return Unimplemented("strftime_now: the code \"" + code +
                           (i + 1 < text.size() ? text.substr(i + 1, 1) : "") +
                           "\" is outside the subset");
    }
    code += text[++i];
    char buffer[128];
    const size_t size =
        std::strftime(buffer, sizeof buffer, code.c_str(), &utc);
    out.Append(std::string_view(buffer, size), kMarkup);
    ALIGN_RETURN_IF_ERROR(call.heap.Step());
  }
  return call.heap.String(std::move(out));
}

}  // namespace

bool IsJinjaFunction(std::string_view name, std::optional<int64_t> time) {
  constexpr std::array<std::string_view, 7> kNames = {
      "namespace", "dict",   "range", "raise_exception",
      "cycler",    "joiner", "lipsum"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end() ||
         (name == "strftime_now" && time.has_value());
}

absl::StatusOr<JinjaValue> CallJinjaFunction(const JinjaCall& call,
                                             std::optional<int64_t> time) {
  if (call.name == "namespace" || call.name == "dict") return Entries(call);
  if (call.name == "range") return Range(call);
  if (call.name == "raise_exception") return Raise(call);
  if (call.name == "strftime_now" && time) return StrftimeNow(call, *time);
  return Unimplemented("the function \"" + std::string(call.name) +
                       "\" is outside the subset");
}

}  // namespace align
