#include "align/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <utility>

#include "align/base/check.h"
#include "align/text/regex_syntax.h"

namespace align {
namespace {

constexpr size_t kMaxPatternBytes = 16 << 10;
constexpr uint32_t kMaxNesting = 64;
// Steps of backtracking of one match; a tenth of a second or less.
constexpr uint32_t kMatchLimit = 2'000'000;
constexpr uint32_t kHeapLimitKib = 64 << 10;

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using CodePointer = std::unique_ptr<pcre2_code, Freer<pcre2_code_free>>;
using CompileContext =
    std::unique_ptr<pcre2_compile_context, Freer<pcre2_compile_context_free>>;
using MatchContext =
    std::unique_ptr<pcre2_match_context, Freer<pcre2_match_context_free>>;
using MatchData =
    std::unique_ptr<pcre2_match_data, Freer<pcre2_match_data_free>>;

}  // namespace

struct Regex::Code {
  CodePointer code;
  MatchContext limits;
  bool jit = false;
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::Regex(Regex&& other) noexcept = default;
Regex& Regex::operator=(Regex&& other) noexcept = default;
Regex::~Regex() = default;

absl::StatusOr<Regex> Regex::Compile(const std::string& pattern) {
  if (pattern.empty() || pattern.size() > kMaxPatternBytes) {
    return InvalidArgument("a regular expression of " +
                           std::to_string(pattern.size()) + " bytes; 1 to " +
                           std::to_string(kMaxPatternBytes) + " expected");
  }
  ALIGN_ASSIGN_OR_RETURN(const std::string translated,
                         OnigurumaToPcre2(pattern));
  const CompileContext context(pcre2_compile_context_create(nullptr));
  ALIGN_CHECK(context != nullptr) << "out of memory";
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), kMaxNesting);
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_unique<Code>();
  code->code.reset(pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
      &offset, context.get()));
  if (code->code == nullptr) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof message);
    return InvalidArgument("regular expression \"" + pattern.substr(0, 200) +
                           "\": " + reinterpret_cast<char*>(message) +
                           " at byte " + std::to_string(offset));
  }
  code->limits.reset(pcre2_match_context_create(nullptr));
  ALIGN_CHECK(code->limits != nullptr) << "out of memory";
  pcre2_set_match_limit(code->limits.get(), kMatchLimit);
  pcre2_set_heap_limit(code->limits.get(), kHeapLimitKib);
  code->jit = pcre2_jit_compile(code->code.get(), PCRE2_JIT_COMPLETE) == 0;
  return Regex(std::move(code));
}

struct RegexMatcher::State {
  const Regex::Code* code;
  MatchData data;
  bool exhausted = false;

  // The number of groups set, or a negative error.
  int Match(std::string_view text, size_t from) {
    const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    pcre2_match_context* const limits = code->limits.get();
    if (code->jit) {
      const int result =
          pcre2_jit_match(code->code.get(), subject, text.size(), from,
                          PCRE2_NOTEMPTY, data.get(), limits);
      if (result != PCRE2_ERROR_JIT_STACKLIMIT) return result;
    }
    return pcre2_match(code->code.get(), subject, text.size(), from,
                       PCRE2_NOTEMPTY | PCRE2_NO_JIT | PCRE2_NO_UTF_CHECK,
                       data.get(), limits);
  }
};

RegexMatcher::RegexMatcher(const Regex& regex)
    : state_(std::make_unique<State>()) {
  state_->code = regex.code_.get();
  state_->data.reset(
      pcre2_match_data_create_from_pattern(state_->code->code.get(), nullptr));
  ALIGN_CHECK(state_->data != nullptr) << "out of memory";
}

RegexMatcher::RegexMatcher(RegexMatcher&& other) noexcept = default;
RegexMatcher& RegexMatcher::operator=(RegexMatcher&& other) noexcept = default;
RegexMatcher::~RegexMatcher() = default;

bool RegexMatcher::Find(std::string_view text, size_t from, size_t* begin,
                        size_t* end) {
  if (state_->exhausted) return false;
  const int result = state_->Match(text, from);
  if (result <= 0) {
    state_->exhausted = result != PCRE2_ERROR_NOMATCH;
    return false;
  }
  const PCRE2_SIZE* const range = pcre2_get_ovector_pointer(state_->data.get());
  *begin = range[0];
  *end = range[1];
  return *begin < *end;
}

}  // namespace align
