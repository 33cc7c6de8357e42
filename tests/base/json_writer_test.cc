#include "align/base/json_writer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <string>
#include <utility>

namespace align {
namespace {

std::string OneLine(double value) {
  JsonWriter json({.indent = 0});
  json.Value(value);
  return *std::move(json).Finish();
}

absl::StatusOr<std::string> OneString(std::string_view text) {
  JsonWriter json({.indent = 0});
  json.Value(text);
  return std::move(json).Finish();
}

JsonWriter Sample(int indent) {
  JsonWriter json({.indent = indent});
  json.BeginObject();
  json.Field("name", "a\"b");
  json.Field("on", true);
  json.Field("ids", std::vector<int64_t>{1, -2});
  json.Key("none");
  json.Null();
  json.Key("empty");
  json.BeginObject();
  json.EndObject();
  json.Field("rate", 0.5);
  json.EndObject();
  return json;
}

TEST(JsonWriterTest, OneLineHasNoLineBreaks) {
  EXPECT_EQ(*Sample(0).Finish(),
            R"({"name": "a\"b", "on": true, "ids": [1, -2], "none": null, )"
            R"("empty": {}, "rate": 0.5})");
}

TEST(JsonWriterTest, PrettyTextIndentsEachLevel) {
  EXPECT_EQ(*Sample(2).Finish(),
            "{\n  \"name\": \"a\\\"b\",\n  \"on\": true,\n  \"ids\": [\n"
            "    1,\n    -2\n  ],\n  \"none\": null,\n  \"empty\": {},\n"
            "  \"rate\": 0.5\n}");
}

TEST(JsonWriterTest, DoublesReadBackExactlyAndStayFloats) {
  EXPECT_EQ(OneLine(1), "1.0");
  EXPECT_EQ(OneLine(-0.0), "-0.0");
  EXPECT_EQ(OneLine(0.1), "0.1");
  for (const double x : {1e22, 1.0 / 3, 5e-324, 1.7976931348623157e308}) {
    EXPECT_EQ(std::strtod(OneLine(x).c_str(), nullptr), x);
  }
}

TEST(JsonWriterTest, NonFiniteNumbersAreNull) {
  EXPECT_EQ(OneLine(std::numeric_limits<double>::quiet_NaN()), "null");
  EXPECT_EQ(OneLine(-std::numeric_limits<double>::infinity()), "null");
}

TEST(JsonWriterTest, ExtremeIntegersKeepEveryDigit) {
  JsonWriter json({.indent = 0});
  json.BeginArray();
  json.Value(std::numeric_limits<int64_t>::min());
  json.Value(std::numeric_limits<uint64_t>::max());
  json.EndArray();
  EXPECT_EQ(*std::move(json).Finish(),
            "[-9223372036854775808, 18446744073709551615]");
}

TEST(JsonWriterTest, ControlCharactersAreEscapedAndUtf8IsKept) {
  EXPECT_EQ(*OneString("\b\f\n\r\t\x01\\"), R"("\b\f\n\r\t\u0001\\")");
  EXPECT_EQ(*OneString(std::string_view("\0", 1)), R"("\u0000")");
  const std::string text = "\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80";
  EXPECT_EQ(*OneString(text), '"' + text + '"');
}

TEST(JsonWriterTest, InvalidUtf8IsAStatusThatNamesTheKey) {
  for (const char* bad : {"\x80", "\xC0\x80", "\xED\xA0\x80",
                          "\xF4\x90\x80\x80", "\xE2\x82", "\xFF"}) {
    JsonWriter json;
    json.BeginObject();
    json.Field("reply", bad);
    json.EndObject();
    const auto text = std::move(json).Finish();
    ASSERT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(Message(text.status()).find("reply"), std::string::npos);
  }
}

TEST(JsonWriterDeathTest, MisplacedCallsAbort) {
  JsonWriter json;
  json.BeginObject();
  EXPECT_DEATH(json.Value(1), "without a key");
  EXPECT_DEATH(json.EndArray(), "misplaced");
}

}  // namespace
}  // namespace align
