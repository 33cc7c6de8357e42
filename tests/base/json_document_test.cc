#include "align/base/json_document.h"

#include <gtest/gtest.h>

namespace align {
namespace {

TEST(JsonDocumentTest, WholeNumbersBeyond64BitsAreReadAsDoubles) {
  simdjson::dom::parser parser;
  const auto object = ParseJsonObject(
      parser,
      R"({"s": "1000000000000000019884624838656 \" 2", "a": [7, -8, 1.5e3],
          "model_max_length": 1000000000000000019884624838656})",
      "config", 8);
  ASSERT_TRUE(object.ok()) << object.status();
  EXPECT_EQ(double((*object)["model_max_length"]), 1e30);
  EXPECT_EQ(std::string_view((*object)["s"]),
            "1000000000000000019884624838656 \" 2");
  EXPECT_EQ(int64_t((*object)["a"].at(1)), -8);
}

TEST(JsonDocumentTest, MalformedNumbersStayErrors) {
  simdjson::dom::parser parser;
  for (const char* text : {R"({"a": 01})", R"({"a": 1.})", R"({"a": -})"}) {
    const auto object = ParseJsonObject(parser, text, "config", 8);
    EXPECT_EQ(object.status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace align
