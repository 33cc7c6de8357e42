#include "align/text/regex.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "align/text/huggingface_tokenizer.h"
#include "tests/support/tokenizer_json.h"

namespace align {
namespace {

constexpr char kGpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
    "|\\s+(?!\\S)|\\s+";
constexpr char kLlama3[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr char kCases[] =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*"
    "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?"
    "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
    "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

std::vector<std::string> Matches(const Regex& regex, const std::string& text) {
  RegexMatcher matcher(regex);
  std::vector<std::string> matches;
  size_t begin = 0, end = 0;
  while (end < text.size() && matcher.Find(text, end, &begin, &end)) {
    matches.push_back(text.substr(begin, end - begin));
  }
  return matches;
}

std::string Times(const std::string& text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

// Pieces whose lengths lie around every width that matching looks ahead.
TEST(RegexTest, LongMatchesAreWhole) {
  const auto regex = Regex::Compile(kGpt2);
  ASSERT_TRUE(regex.ok());
  for (const size_t n : {1, 100, 254, 255, 256, 257, 258, 511, 512, 513, 1023,
                         1024, 1025, 5000, 70000}) {
    SCOPED_TRACE(n);
    const std::vector<std::string> pieces = {
        Times("a", n),
        Times(" ", n),
        " " + Times("b", n),
        " " + Times("7", n),
        Times("!", n),
        Times("\n", n),
        " " + Times("\xc3\xa9", n),  // of two bytes
        Times("\xf0\x9f\x98\x80", n),
        Times(" ", n),
        " x"};
    std::string text;
    for (const std::string& piece : pieces) text += piece;
    EXPECT_EQ(Matches(*regex, text), pieces);
  }
}

TEST(RegexTest, AMatchFarFromTheStartIsFound) {
  const auto regex = Regex::Compile("(?<=b)x+$|y(?=z)");
  ASSERT_TRUE(regex.ok());
  for (const size_t n : {1, 255, 256, 257, 3000}) {
    const std::string gap = Times("ay", n);
    EXPECT_EQ(Matches(*regex, gap + "yz" + gap + "b" + Times("x", n)),
              (std::vector<std::string>{"y", Times("x", n)}))
        << n;
  }
}

double CpuSeconds(const std::function<void()>& work) {
  timespec from, to;
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
  work();
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
  return static_cast<double>(to.tv_sec - from.tv_sec) +
         1e-9 * static_cast<double>(to.tv_nsec - from.tv_nsec);
}

// Four times the text takes four times as long, where quadratic would be 16.
void ExpectLinear(const std::function<void(const std::string&)>& work,
                  const std::string& unit, size_t count) {
  const std::string small = Times(unit, count) + "x";
  const std::string large = Times(unit, 4 * count) + "x";
  // Memory is kept: the system would hand it out afresh, for a time that
  // depends on the sizes seen before.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  work(large);  // warms caches up
  // The better of three: noise only adds.
  double short_time = 1e9, long_time = 1e9;
  for (int i = 0; i < 3; ++i) {
    short_time = std::min(short_time, CpuSeconds([&] { work(small); }));
    long_time = std::min(long_time, CpuSeconds([&] { work(large); }));
    if (long_time < 6 * short_time + 0.002) break;
  }
  EXPECT_LT(long_time, 9 * short_time + 0.005)
      << "of \"" << unit << "\": " << short_time << " s, " << long_time << " s";
}

const std::vector<std::string>& AdversarialUnits() {
  static const auto* const units = new std::vector<std::string>{
      " ",
      "\n",
      " \n",
      "a",
      "A",
      "aB",
      "1",
      "!",
      "'",
      "' ",
      "a ",
      "1 ",
      "\xcc\x81",  // combining marks, also out of order
      "\xcc\x81\xcc\xa3",
      "\xe4\xbd\xa0",
      "\xe3\x81\x82\xe4\xbd\xa0"};
  return *units;
}

TEST(RegexTest, PatternsOfModelsAreLinearInAnyText) {
  for (const char* pattern : {kGpt2, kLlama3, kCases}) {
    SCOPED_TRACE(pattern);
    const auto regex = Regex::Compile(pattern);
    ASSERT_TRUE(regex.ok());
    for (const std::string& unit : AdversarialUnits()) {
      ExpectLinear([&](const std::string& text) { Matches(*regex, text); },
                   unit, 100'000 / unit.size());
    }
  }
}

// Each of these fails at every start after a look at the rest of the text.
TEST(RegexTest, PatternsThatLookFarForNothingAreBounded) {
  for (const char* pattern :
       {"\\d+(?=y)", "\\s+$", "a*y", "(?:a|A)*!", "[^y]*y", "\\S+\\s*y",
        "\\p{M}+(?!\\p{M})y", "(?=.*y)a"}) {
    SCOPED_TRACE(pattern);
    const auto regex = Regex::Compile(pattern);
    ASSERT_TRUE(regex.ok());
    for (const std::string& unit : {" ", "a", "1", "a ", "\xcc\x81"}) {
      ExpectLinear([&](const std::string& text) { Matches(*regex, text); },
                   unit, 12'000 / std::string(unit).size());
    }
  }
}

TEST(RegexTest, ATokenizerIsLinearInAnyText) {
  TokenizerJson json = ByteLevelJson();
  json.normalizer = R"({"type": "NFC"})";
  const auto tokenizer =
      HuggingFaceTokenizer::Parse(json.Text(), "tokenizer.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  for (const std::string& unit : AdversarialUnits()) {
    ExpectLinear([&](const std::string& text) { (*tokenizer)->Encode(text); },
                 unit, 60'000 / unit.size());
  }
}

// What a pattern may cost is counted, not timed: each call cuts alike.
TEST(RegexTest, WhereAPatternGivesUpDoesNotDependOnTime) {
  const auto regex = Regex::Compile("\\d+(?=y)|x");
  ASSERT_TRUE(regex.ok());
  const std::string text = Times(Times("1", 3000) + "x", 60);
  const auto first = Matches(*regex, text);
  EXPECT_EQ(Matches(*regex, text), first);
}

}  // namespace
}  // namespace align
