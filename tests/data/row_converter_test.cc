#include "align/data/row_converter.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "align/data/row_reader.h"
#include "proto/records.pb.h"

namespace align {
namespace {

RowOutcome Convert(std::string_view json, pb::Record& record) {
  std::string padded(json);
  padded.append(RowReader::kPaddingBytes, '\0');
  RowConverter converter(/*max_depth=*/64);
  return converter.Convert(std::string_view(padded).substr(0, json.size()),
                           record);
}

void ExpectTaken(std::string_view json, RowShape shape,
                 const std::string& expected) {
  pb::Record record, wanted;
  const RowOutcome outcome = Convert(json, record);
  ASSERT_FALSE(outcome.drop)
      << json << ": " << DropReasonName(outcome.drop->reason) << " "
      << outcome.drop->detail;
  EXPECT_EQ(outcome.shape, shape) << ShapeName(outcome.shape);
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(expected, &wanted));
  EXPECT_EQ(record.DebugString(), wanted.DebugString());
}

void ExpectDropped(std::string_view json, DropReason reason) {
  pb::Record record;
  const RowOutcome outcome = Convert(json, record);
  ASSERT_TRUE(outcome.drop) << json;
  EXPECT_EQ(DropReasonName(outcome.drop->reason), DropReasonName(reason))
      << json << ": " << outcome.drop->detail;
}

TEST(RowConverterTest, TakesPlainPairsWithMarginAndId) {
  ExpectTaken(
      R"({"prompt":"p","chosen":"a","rejected":"b","margin":2,"id":7})",
      RowShape::kPreference,
      R"(preference { prompt { text: "p" } chosen: "a" rejected: "b" margin: 2
                      id: "7" })");
}

TEST(RowConverterTest, TakesPairsOfMessages) {
  const std::string expected =
      R"(preference { prompt { messages { role: "user" content: "hi" } }
                      chosen: "a" rejected: "b" })";
  ExpectTaken(R"({"prompt":[{"role":"user","content":"hi"}],
                  "chosen":[{"role":"assistant","content":"a"}],
                  "rejected":[{"role":"assistant","content":"b"}]})",
              RowShape::kPreference, expected);
  // Whole conversations on each side, with the prompt as a text and without.
  const std::string sides =
      R"("chosen":[{"role":"user","content":"hi"},
                   {"role":"assistant","content":"a"}],
         "rejected":[{"role":"user","content":"hi"},
                     {"role":"assistant","content":"b"}]})";
  ExpectTaken("{\"prompt\":\"hi\"," + sides, RowShape::kPreference, expected);
  ExpectTaken("{" + sides, RowShape::kTranscripts, expected);
}

TEST(RowConverterTest, TakesShareGptPairs) {
  ExpectTaken(R"({"conversations":[{"from":"system","value":"s"},
                                   {"from":"human","value":"hi"}],
                  "chosen":{"from":"gpt","value":"a"},
                  "rejected":{"from":"gpt","value":"b"}})",
              RowShape::kShareGptPair,
              R"(preference {
                   prompt { messages { role: "system" content: "s" }
                            messages { role: "user" content: "hi" } }
                   chosen: "a" rejected: "b" })");
}

TEST(RowConverterTest, SplitsTranscriptsAtTheLastCommonAssistant) {
  ExpectTaken(
      R"({"chosen":"\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d1",
          "rejected":"\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d"})",
      RowShape::kTranscripts,
      R"(preference {
           prompt {
             text: "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:" }
           chosen: " d1" rejected: " d" })");
}

TEST(RowConverterTest, DropsTranscriptsThatDoNotShareTheirLastPrompt) {
  const std::string a = R"("\n\nHuman: a\n\nAssistant: b)";
  for (const std::string& row : {
           R"({"chosen":"Human: a","rejected":"Human: b"})" + std::string(),
           R"({"chosen":"\n\nHuman: x\n\nAssistant: a",)" +
               std::string(R"("rejected":"\n\nHuman: y\n\nAssistant: a"})"),
           "{\"chosen\":" + a + "\",\"rejected\":" + a + R"( c\n\nHuman: d"})",
           "{\"chosen\":" + a + R"(\n\nHuman: c\n\nAssistant: d",)" +
               "\"rejected\":" + a + R"(\n\nHuman: e\n\nAssistant: f"})",
       }) {
    ExpectDropped(row, DropReason::kNoCommonPrompt);
  }
}

TEST(RowConverterTest, DropsRepliesThatTeachNothing) {
  ExpectDropped(R"({"prompt":"p","chosen":" \n","rejected":"b"})",
                DropReason::kEmptyReply);
  ExpectDropped(
      R"({"chosen":"\n\nHuman: a\n\nAssistant:",
          "rejected":"\n\nHuman: a\n\nAssistant: b"})",
      DropReason::kEmptyReply);
  ExpectDropped(R"({"prompt":"p","chosen":"a","rejected":"a"})",
                DropReason::kIdentical);
  ExpectDropped(R"({"prompt":"p","completion":""})", DropReason::kEmptyReply);
  ExpectDropped(R"({"messages":[{"role":"user","content":"a"}]})",
                DropReason::kNoReply);
  ExpectDropped(R"({"text":" "})", DropReason::kEmptyText);
  ExpectDropped(R"({"prompt":" "})", DropReason::kEmptyPrompt);
  ExpectDropped(R"({"prompt":""})", DropReason::kEmptyPrompt);
  ExpectDropped(R"({"prompt":" ","completion":"c"})", DropReason::kEmptyPrompt);
}

TEST(RowConverterTest, TakesAnEmptyPromptBesideReplies) {
  ExpectTaken(
      R"({"prompt":"","chosen":"a","rejected":"b"})", RowShape::kPreference,
      R"(preference { prompt { text: "" } chosen: "a" rejected: "b" })");
  ExpectTaken(R"({"prompt":"","completion":"c"})", RowShape::kPromptCompletion,
              R"(sft { prompt { text: "" } completion: "c" })");
}

TEST(RowConverterTest, DropsRepliesWithAFurtherTurn) {
  ExpectDropped(R"({"prompt":"\n\nHuman: a\n\nAssistant:","chosen":" b",
                    "rejected":" c\n\nHuman: d"})",
                DropReason::kFurtherTurn);
  ExpectDropped(R"({"prompt":[{"role":"user","content":"hi"}],
                    "chosen":[{"role":"assistant","content":"a"},
                              {"role":"user","content":"x"},
                              {"role":"assistant","content":"y"}],
                    "rejected":"b"})",
                DropReason::kFurtherTurn);
}

TEST(RowConverterTest, TakesExamplesToImitate) {
  ExpectTaken(R"({"prompt":"p","completion":" c"})",
              RowShape::kPromptCompletion,
              R"(sft { prompt { text: "p" } completion: " c" })");
  const std::string dialogue =
      R"(sft { messages { role: "user" content: "a" }
               messages { role: "assistant" content: "b" } })";
  ExpectTaken(R"({"messages":[{"role":"user","content":"a"},
                              {"role":"assistant","content":"b"}]})",
              RowShape::kMessages, dialogue);
  ExpectTaken(R"({"conversations":[{"from":"human","value":"a"},
                                   {"from":"gpt","value":"b"}]})",
              RowShape::kShareGpt, dialogue);
  ExpectTaken(R"({"instruction":"do","input":"x","output":"y","system":"s"})",
              RowShape::kAlpaca,
              R"(sft { prompt { messages { role: "system" content: "s" }
                                messages { role: "user" content: "do\nx" } }
                       completion: "y" })");
}

TEST(RowConverterTest, JoinsTheTextPartsOfAMessage) {
  ExpectTaken(R"({"messages":[
      {"role":"user","content":[{"type":"text","value":"a"},
                                {"type":"text","text":"b"}]},
      {"role":"assistant","content":[{"type":"text","value":"c"}]}]})",
              RowShape::kMessages,
              R"(sft { messages { role: "user" content: "ab" }
                       messages { role: "assistant" content: "c" } })");
  ExpectDropped(R"({"messages":[
      {"role":"user","content":[{"type":"image","url":"a"}]}]})",
                DropReason::kBadField);
}

TEST(RowConverterTest, TakesPromptsAndTexts) {
  ExpectTaken(R"({"prompt":"p","answer":"42"})", RowShape::kPrompt,
              R"(prompt { prompt { text: "p" } answer: "42" })");
  ExpectTaken(R"({"prompt":"p","answer":-4})", RowShape::kPrompt,
              R"(prompt { prompt { text: "p" } answer: "-4" })");
  ExpectTaken(R"({"question":"q","answer":"6*7 #### 42","id":3})",
              RowShape::kQuestion,
              R"(prompt { prompt { messages { role: "user" content: "q" } }
                          answer: "6*7 #### 42" id: "3" })");
  ExpectDropped(R"({"question":" ","answer":"4"})", DropReason::kEmptyPrompt);
  ExpectDropped(R"({"question":["q"],"answer":"4"})", DropReason::kBadField);
  ExpectDropped(R"({"prompt":"p","answer":[4]})", DropReason::kBadField);
  ExpectTaken(R"({"text":"t","label":1,"id":"x"})", RowShape::kText,
              R"(text { text: "t" id: "x" })");
}

TEST(RowConverterTest, LabelsMakeUnpairedExamples) {
  const std::string expected =
      R"(unpaired { prompt { messages { role: "user" content: "a" } }
                    completion: "b" })";
  ExpectTaken(R"({"messages":[{"role":"user","content":"a"},
                  {"role":"assistant","content":"b"}],"label":false})",
              RowShape::kLabelledMessages, expected);
  ExpectTaken(R"({"conversations":[{"from":"human","value":"a"},
                  {"from":"gpt","value":"b"}],"kto_tag":0})",
              RowShape::kLabelledMessages, expected);
  ExpectTaken(R"({"instruction":"a","output":"b","kto_tag":false})",
              RowShape::kLabelled, expected);
  for (const char* label : {"true", "1"}) {
    ExpectTaken(R"({"prompt":"p","completion":"c","id":"x","label":)" +
                    std::string(label) + "}",
                RowShape::kLabelled,
                R"(unpaired { prompt { text: "p" } completion: "c" label: true
                              id: "x" })");
  }
}

TEST(RowConverterTest, LabelledRowsKeepTheirDensityRatio) {
  ExpectTaken(R"({"prompt":"p","completion":"c","label":0,
                  "density_ratio":0.25})",
              RowShape::kLabelled,
              R"(unpaired { prompt { text: "p" } completion: "c"
                            density_ratio: 0.25 })");
  ExpectTaken(R"({"messages":[{"role":"user","content":"a"},
                  {"role":"assistant","content":"b"}],"label":true,
                  "density_ratio":2})",
              RowShape::kLabelledMessages,
              R"(unpaired { prompt { messages { role: "user" content: "a" } }
                            completion: "b" label: true density_ratio: 2 })");
  for (const char* ratio : {"0", "-1", "\"2\"", "true"}) {
    ExpectDropped(
        R"({"prompt":"p","completion":"c","label":0,"density_ratio":)" +
            std::string(ratio) + "}",
        DropReason::kBadField);
  }
}

TEST(RowConverterTest, LabelledRowsThatTeachNothingAreDropped) {
  for (const char* label : {"\"yes\"", "2", "0.5", "[true]"}) {
    ExpectDropped(
        R"({"prompt":"p","completion":"c","label":)" + std::string(label) + "}",
        DropReason::kBadField);
  }
  ExpectDropped(R"({"prompt":"p","completion":" ","label":true})",
                DropReason::kEmptyReply);
  ExpectDropped(R"({"prompt":" ","completion":"c","label":true})",
                DropReason::kEmptyPrompt);
  ExpectDropped(R"({"messages":[{"role":"user","content":"a"}],"label":true})",
                DropReason::kNoReply);
  ExpectDropped(
      R"({"messages":[{"role":"assistant","content":"a"}],"label":true})",
      DropReason::kEmptyPrompt);
  ExpectDropped(R"({"messages":[{"role":"user","content":"a"},
                    {"role":"assistant","content":""}],"label":true})",
                DropReason::kEmptyReply);
}

TEST(RowConverterTest, HostileRowsAreDropped) {
  ExpectDropped("{\"text\":\"a", DropReason::kBadJson);
  ExpectDropped("{} {}", DropReason::kBadJson);
  ExpectDropped("", DropReason::kBadJson);
  ExpectDropped(
      "{\"text\":" + std::string(65, '[') + std::string(65, ']') + "}",
      DropReason::kBadJson);
  ExpectDropped(std::string(1000000, '['), DropReason::kBadJson);
  ExpectDropped("{\"text\":\"caf\xe9\"}", DropReason::kNotUtf8);
  ExpectDropped("{\"text\":\"\\ud800\"}", DropReason::kBadJson);
  for (const char* row : {"[]", "3", "null", "{}", R"({"chosen":"a"})",
                          R"({"question":"q"})", R"({"text":null})"}) {
    ExpectDropped(row, DropReason::kUnknownShape);
  }
  for (const char* row :
       {R"({"text":5})", R"({"prompt":{},"completion":"c"})",
        R"({"prompt":"p","chosen":1,"rejected":"b"})",
        R"({"prompt":"p","chosen":"a","rejected":"b","margin":"x"})",
        R"({"messages":[{"role":"robot","content":"a"}]})",
        R"({"messages":[{"content":"a"}]})", R"({"messages":"a"})",
        R"({"messages":[{"role":"user"}]})"}) {
    ExpectDropped(row, DropReason::kBadField);
  }
}

TEST(RowConverterTest, ToolCallsAndReasoningAreKeptForTheTemplate) {
  pb::Record record;
  ASSERT_FALSE(Convert(R"({"tools":[{"name":"f"}],"messages":[
      {"role":"user","content":"q"},
      {"role":"assistant","tool_calls":[{"name":"f","arguments":{"x":1.5}}]},
      {"role":"tool","content":"r","name":"f"},
      {"role":"assistant","content":"a","reasoning_content":"t"}]})",
                       record)
                   .drop);
  const pb::SftExample& sft = record.sft();
  EXPECT_EQ(sft.tools(), R"([{"name":"f"}])");
  ASSERT_EQ(sft.messages_size(), 4);
  EXPECT_EQ(sft.messages(0).fields(), "");
  EXPECT_EQ(sft.messages(1).fields(),
            R"({"content":null,"tool_calls":)"
            R"([{"name":"f","arguments":{"x":1.5}}]})");
  EXPECT_EQ(sft.messages(2).fields(), R"({"name":"f"})");
  EXPECT_EQ(sft.messages(3).fields(), R"({"reasoning_content":"t"})");
}

TEST(RowConverterTest, NulAndOtherEscapesSurvive) {
  pb::Record record;
  ASSERT_FALSE(Convert(R"({"text":"a\u0000\ud83d\ude00"})", record).drop);
  EXPECT_EQ(record.text().text(), std::string("a\0\xF0\x9F\x98\x80", 6));
}

}  // namespace
}  // namespace align
