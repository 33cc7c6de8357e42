#include "align/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <utility>

#include "align/base/check.h"
#include "align/text/regex_syntax.h"

namespace align {
namespace {

constexpr size_t kMaxPatternBytes = 16 << 10;
constexpr uint32_t kMaxNesting = 64;
constexpr uint32_t kHeapLimitKib = 64 << 10;
// Matching first looks only so far ahead: what fails at one start after another
// then costs at most this much each, not the rest of the text.
constexpr size_t kWindow = 256;
// Steps of backtracking at one start, a byte of the window.
constexpr size_t kStepsPerByte = 16;
constexpr size_t kMaxSteps = size_t{1} << 31;
// Bytes of wider windows, a byte of text and besides: a long match takes four.
constexpr size_t kWideBytesPerByte = 16;
constexpr size_t kWideBytes = 1 << 20;

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
  code->jit =
      pcre2_jit_compile(code->code.get(),
                        PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD) == 0;
  return Regex(std::move(code));
}

struct RegexMatcher::State {
  const Regex::Code* code;
  MatchData data;
  MatchContext limits;
  bool exhausted = false;
  size_t wide_bytes = kWideBytes;  // what is left

  size_t begin() const { return pcre2_get_ovector_pointer(data.get())[0]; }
  size_t end() const { return pcre2_get_ovector_pointer(data.get())[1]; }

  // The number of groups set, or a negative error.
  int Match(std::string_view text, size_t from, uint32_t options) {
    const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    options |= PCRE2_NOTEMPTY;
    const bool anchored = (options & PCRE2_ANCHORED) != 0;
    if (code->jit && !anchored) {  // compiled code cannot be anchored
      const int result =
          pcre2_jit_match(code->code.get(), subject, text.size(), from, options,
                          data.get(), limits.get());
      if (result != PCRE2_ERROR_JIT_STACKLIMIT) return result;
    }
    return pcre2_match(code->code.get(), subject, text.size(), from,
                       options | PCRE2_NO_JIT | PCRE2_NO_UTF_CHECK, data.get(),
                       limits.get());
  }
  void LimitSteps(size_t window) {
    pcre2_set_match_limit(
        limits.get(),
        static_cast<uint32_t>(std::min(kMaxSteps, kStepsPerByte * window)));
  }
  bool Find(std::string_view text, size_t from);
  int MatchWider(std::string_view text, size_t from);
};

namespace {

// The end of the character in which `at` lies, or `at` between two.
size_t CharacterEnd(std::string_view text, size_t at) {
  at = std::min(at, text.size());
  while (at < text.size() && (text[at] & 0xC0) == 0x80) ++at;
  return at;
}

}  // namespace

// A match that starts at `from`, where a window was too narrow: wider ones, the
// last of them all of the text.
int RegexMatcher::State::MatchWider(std::string_view text, size_t from) {
  int result = PCRE2_ERROR_PARTIAL;
  for (size_t window = 2 * kWindow; result == PCRE2_ERROR_PARTIAL;
       window *= 2) {
    const size_t end = CharacterEnd(text, from + window);
    if (end - from > wide_bytes) {
      exhausted = true;
      return PCRE2_ERROR_NOMATCH;
    }
    wide_bytes -= end - from;
    LimitSteps(window);
    result =
        Match(text.substr(0, end), from,
              PCRE2_ANCHORED | (end < text.size() ? PCRE2_PARTIAL_HARD : 0));
  }
  return result;
}

bool RegexMatcher::State::Find(std::string_view text, size_t from) {
  while (from < text.size()) {
    const size_t end = CharacterEnd(text, from + kWindow);
    LimitSteps(kWindow);
    int result = Match(text.substr(0, end), from,
                       end < text.size() ? PCRE2_PARTIAL_HARD : 0);
    if (result == PCRE2_ERROR_NOMATCH) {
      from = end;
      continue;
    }
    if (result == PCRE2_ERROR_PARTIAL) {
      // What came before this start has failed without looking farther.
      from = begin();
      result = MatchWider(text, from);
      if (result == PCRE2_ERROR_NOMATCH && !exhausted) {
        from = CharacterEnd(text, from + 1);
        continue;
      }
    }
    exhausted = exhausted || result <= 0;
    return result > 0;
  }
  return false;
}

RegexMatcher::RegexMatcher(const Regex& regex)
    : state_(std::make_unique<State>()) {
  state_->code = regex.code_.get();
  state_->data.reset(
      pcre2_match_data_create_from_pattern(state_->code->code.get(), nullptr));
  state_->limits.reset(pcre2_match_context_create(nullptr));
  ALIGN_CHECK(state_->data != nullptr && state_->limits != nullptr)
      << "out of memory";
  pcre2_set_heap_limit(state_->limits.get(), kHeapLimitKib);
}

RegexMatcher::RegexMatcher(RegexMatcher&& other) noexcept = default;
RegexMatcher& RegexMatcher::operator=(RegexMatcher&& other) noexcept = default;
RegexMatcher::~RegexMatcher() = default;

bool RegexMatcher::Find(std::string_view text, size_t from, size_t* begin,
                        size_t* end) {
  if (from == 0) state_->wide_bytes += kWideBytesPerByte * text.size();
  if (state_->exhausted || !state_->Find(text, from)) return false;
  *begin = state_->begin();
  *end = state_->end();
  return *begin < *end;
}

}  // namespace align
