#pragma once

// Internal to align/text: the regular expressions of tokenizer.json, on PCRE2
// with its JIT compiler, under limits.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "align/base/status.h"

namespace align {

// A compiled pattern. Immutable: matchers of any number of threads share it.
class Regex {
 public:
  // Takes Oniguruma's syntax. kInvalidArgument for a malformed pattern or one
  // of more than 16 KiB, kUnimplemented for a construct that we cannot
  // translate.
  static absl::StatusOr<Regex> Compile(const std::string& pattern);

  Regex(Regex&& other) noexcept;
  Regex& operator=(Regex&& other) noexcept;
  ~Regex();

 private:
  friend class RegexMatcher;
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

// Finds matches of one Regex, which must outlive it. Used by one thread.
class RegexMatcher {
 public:
  explicit RegexMatcher(const Regex& regex);
  RegexMatcher(RegexMatcher&& other) noexcept;
  RegexMatcher& operator=(RegexMatcher&& other) noexcept;
  ~RegexMatcher();

  // Finds the first match that is not empty and starts at `from` or later in
  // `text`, which is UTF-8, and stores its range. A pattern from a file must
  // not make a text hang: one that backtracks too often, or looks far ahead too
  // often for nothing, finds nothing from then on. What it may do grows with
  // the texts it was asked about (`from` 0 is a new one), and no clock counts:
  // the same texts are always cut the same way.
  bool Find(std::string_view text, size_t from, size_t* begin, size_t* end);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace align
