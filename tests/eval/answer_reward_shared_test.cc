// GSM8K: its answers, and solutions of models with the authors' verdicts.

#include <gtest/gtest.h>
#include <simdjson.h>

#include <string>
#include <string_view>
#include <vector>

#include "align/data/import.h"
#include "align/data/records.h"
#include "align/data/row_reader.h"
#include "align/eval/answer_reward.h"
#include "proto/records.pb.h"

namespace align {
namespace {

const std::string kData = std::string(ALIGN_SHARED_DIR) + "/data/gsm8k/";

TEST(AnswerRewardShared, ImportTakesEveryQuestionWithItsAnswer) {
  const std::string out = ::testing::TempDir() + "/align_gsm8k.tfrecord";
  const std::vector<std::string> inputs = {kData + "test.jsonl.gz"};
  const auto imported = Import(inputs, out, {});
  ASSERT_TRUE(imported.ok()) << imported.status();
  EXPECT_EQ(imported->records, 1319);
  EXPECT_EQ(imported->dropped(), 0);
  const auto records = ReadRecords(out);
  ASSERT_TRUE(records.ok()) << records.status();
  for (const pb::Record& record : *records) {
    const auto answer = MarkedAnswer(record.prompt().answer());
    ASSERT_TRUE(answer.has_value()) << record.prompt().answer();
    EXPECT_EQ(NormalizedAnswer(*answer).find_first_not_of("-0123456789."),
              std::string::npos)
        << *answer;
  }
}

TEST(AnswerRewardShared, JudgesSolutionsAsTheAuthorsDo) {
  auto rows =
      RowReader::Open(kData + "example_model_solutions.jsonl.gz", 1 << 20);
  ASSERT_TRUE(rows.ok()) << rows.status();
  simdjson::dom::parser parser;
  Row row;
  int solutions = 0;
  while (*rows->Next(row)) {
    const simdjson::dom::object fields =
        parser.parse(row.text.data(), row.text.size());
    const std::string_view truth = fields["ground_truth"];
    const auto expected = FinalAnswer(truth);
    ASSERT_TRUE(expected.has_value()) << truth;
    for (const auto& [key, value] : fields) {
      simdjson::dom::object of_model;
      if (value.get(of_model) != simdjson::SUCCESS) continue;
      const std::string_view text = of_model["solution"];
      const auto answer = FinalAnswer(text);
      const bool correct = of_model["is_correct"];
      EXPECT_EQ(
          answer && NormalizedAnswer(*answer) == NormalizedAnswer(*expected),
          correct)
          << text;
      ++solutions;
    }
  }
  EXPECT_EQ(solutions, 5276);
}

}  // namespace
}  // namespace align
