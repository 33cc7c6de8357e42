#include "align/data/examples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "align/data/loader.h"
#include "align/text/byte_tokenizer.h"
#include "proto/records.pb.h"

namespace align {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr int32_t kBos = ByteTokenizer::kBos;
constexpr int32_t kEos = ByteTokenizer::kEos;

using Records = std::vector<pb::Record>;

pb::Record PairRecord(const std::string& prompt, const std::string& chosen,
                      const std::string& rejected) {
  pb::Record record;
  record.mutable_preference()->mutable_prompt()->set_text(prompt);
  record.mutable_preference()->set_chosen(chosen);
  record.mutable_preference()->set_rejected(rejected);
  return record;
}

void AddMessage(const std::string& role, const std::string& content,
                google::protobuf::RepeatedPtrField<pb::Message>* messages) {
  pb::Message* message = messages->Add();
  message->set_role(role);
  message->set_content(content);
}

pb::Record PromptRecord(const std::string& text) {
  pb::Record record;
  record.mutable_prompt()->mutable_prompt()->set_text(text);
  return record;
}

// A byte tokenizer without BOS and EOS.
class PlainBytes : public ByteTokenizer {
 public:
  std::optional<int32_t> bos_id() const override { return std::nullopt; }
  std::optional<int32_t> eos_id() const override { return std::nullopt; }
};

// The text of some ids, control tokens by name.
std::string Text(const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) {
    text += id < 256 ? ByteTokenizer().DecodePiece(id)
                     : ByteTokenizer().PieceName(id);
  }
  return text;
}

TEST(TokenizeTest, PairsAreBosPromptAndRepliesWithEos) {
  const auto pairs =
      TokenizePairs(Records{PairRecord("a", "b", "")}, ByteTokenizer(), {});
  ASSERT_TRUE(pairs.ok()) << pairs.status();
  ASSERT_EQ(pairs->examples.size(), 1u);
  const PairExample& pair = pairs->examples[0];
  EXPECT_THAT(pair.prompt, ElementsAre(kBos, 'a'));
  EXPECT_THAT(pair.chosen, ElementsAre('b', kEos));
  EXPECT_THAT(pair.rejected, ElementsAre(kEos));
  EXPECT_EQ(pair.id, "#0");
}

TEST(TokenizeTest, UnpairedRecordsKeepTheirLabelsAndPairsAreTakenApart) {
  Records records = {PairRecord("a", "b", "c"), PairRecord("d", "e", "f")};
  pb::UnpairedExample* unpaired = records.emplace_back().mutable_unpaired();
  unpaired->mutable_prompt()->set_text("g");
  unpaired->set_completion("h");
  unpaired->set_label(true);
  unpaired->set_id("u");
  const auto made = TokenizeUnpaired(records, ByteTokenizer(), {});
  ASSERT_TRUE(made.ok()) << made.status();
  std::string all;
  for (const UnpairedExample& example : made->examples) {
    all += Text(example.prompt) + Text(example.completion) +
           (example.desirable ? "+ " : "- ") + example.id + "\n";
    // A pair's prompt is as likely among the good as among the bad.
    EXPECT_EQ(example.density_ratio.has_value(), example.id != "u");
    EXPECT_EQ(example.density_ratio.value_or(1), 1);
  }
  EXPECT_EQ(all,
            "<s>ab</s>+ #0/chosen\n<s>de</s>+ #1/chosen\n<s>gh</s>+ u\n"
            "<s>ac</s>- #0/rejected\n<s>df</s>- #1/rejected\n");
}

TEST(TokenizeTest, UnpairedRecordsKeepTheirDensityRatio) {
  Records records(1);
  pb::UnpairedExample* unpaired = records[0].mutable_unpaired();
  unpaired->mutable_prompt()->set_text("g");
  unpaired->set_completion("h");
  unpaired->set_density_ratio(0.25);
  const auto made = TokenizeUnpaired(records, ByteTokenizer(), {});
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->examples.at(0).density_ratio, 0.25);
}

TEST(TokenizeTest, UnpairedRecordsAreTruncatedDroppedAndCheckedAsOthersAre) {
  Records records(2);
  records[0].mutable_unpaired()->mutable_prompt()->set_text("abcdef");
  records[0].mutable_unpaired()->set_completion("x");
  records[1].mutable_unpaired()->mutable_prompt()->set_text("a");
  records[1].mutable_unpaired()->set_completion("xyz");
  auto made = TokenizeUnpaired(records, ByteTokenizer(), {.max_length = 4});
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_EQ(made->examples.size(), 1u);
  EXPECT_EQ(Text(made->examples[0].completion), "xy");
  EXPECT_EQ(made->counts.truncated_replies, 1);
  EXPECT_THAT(
      made->counts.dropped,
      UnorderedElementsAre(Pair("prompt leaves no room for the reply", 1)));
  records[0] = PromptRecord("p");
  made = TokenizeUnpaired(records, ByteTokenizer(), {});
  EXPECT_THAT(std::string(made.status().message()),
              HasSubstr("record #0: a prompt; a labelled reply or"));
}

TEST(TokenizeTest, TextBlocksLabelEveryTokenOfTheStreamButTheFirstOnes) {
  Records records(3);
  records[0].mutable_text()->set_text("abcde");
  records[1].mutable_text()->set_text("");
  records[2].mutable_text()->set_text("fgh");
  std::vector<int32_t> stream = {kBos, 'a',  'b', 'c', 'd', 'e',
                                 kEos, kBos, 'f', 'g', 'h', kEos};
  for (const int64_t length : {2, 3, 4, 5, 11, 12, 20}) {
    const auto blocks =
        TokenizeTextBlocks(records, ByteTokenizer(), {.block_length = length});
    ASSERT_TRUE(blocks.ok()) << blocks.status();
    EXPECT_EQ(blocks->counts.dropped.at("empty text"), 1);
    auto loader = SftLoader::Create(blocks->examples,
                                    {.batch_size = 2, .shuffle = false});
    ASSERT_TRUE(loader.ok()) << loader.status();
    std::vector<int32_t> labels;
    while (const auto batch = loader->Next()) {
      for (const ScoredToken& token : batch->packed.scored) {
        labels.push_back(token.label);
      }
    }
    std::vector<int32_t> expected;
    for (int64_t i = 0; i < static_cast<int64_t>(stream.size()); ++i) {
      if (i % length != 0) expected.push_back(stream[i]);
    }
    EXPECT_EQ(labels, expected) << "block_length " << length;
  }
}

TEST(TokenizeTest, PromptKeepsBosAndItsEndAndTheReplyItsStart) {
  const auto pairs =
      TokenizePairs(Records{PairRecord("abcdef", "uvwxyz", "k")},
                    ByteTokenizer(), {.max_length = 8, .max_prompt_length = 4});
  ASSERT_TRUE(pairs.ok()) << pairs.status();
  ASSERT_EQ(pairs->examples.size(), 1u);
  EXPECT_EQ(Text(pairs->examples[0].prompt), "<s>def");
  EXPECT_EQ(Text(pairs->examples[0].chosen), "uvwx");
  EXPECT_EQ(Text(pairs->examples[0].rejected), "k</s>");
  EXPECT_EQ(pairs->counts.truncated_prompts, 1);
  EXPECT_EQ(pairs->counts.truncated_replies, 1);
}

TEST(TokenizeTest, AReplyThatJustFitsKeepsItsEos) {
  const auto pairs = TokenizePairs(Records{PairRecord("ab", "xyz", "xyzw")},
                                   ByteTokenizer(), {.max_length = 7});
  ASSERT_TRUE(pairs.ok()) << pairs.status();
  EXPECT_EQ(Text(pairs->examples[0].chosen), "xyz</s>");
  EXPECT_EQ(Text(pairs->examples[0].rejected), "xyzw");
}

TEST(TokenizeTest, DropsAndCountsWhatHasNoPromptOrNoReply) {
  const auto pairs = TokenizePairs(
      Records{PairRecord("", "a", "b"), PairRecord("p", "a", ""),
              PairRecord("pppppp", "a", "b"), PairRecord("ppppp", "a", "b")},
      PlainBytes(), {.max_length = 6});
  ASSERT_TRUE(pairs.ok()) << pairs.status();
  ASSERT_EQ(pairs->examples.size(), 1u);
  EXPECT_EQ(pairs->examples[0].id, "#3");
  EXPECT_THAT(
      pairs->counts.dropped,
      UnorderedElementsAre(Pair("empty prompt", 1), Pair("empty reply", 1),
                           Pair("prompt leaves no room for the reply", 1)));
}

TEST(TokenizeTest, AnEmptyPromptIsBosAlone) {
  const auto prompts =
      TokenizePrompts(Records{PromptRecord("")}, ByteTokenizer(), {});
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  EXPECT_THAT(prompts->examples[0].prompt, ElementsAre(kBos));
}

TEST(TokenizeTest, APromptsNumberIsItsRecordsIndexWhateverIsDropped) {
  const auto prompts = TokenizePrompts(
      Records{PromptRecord("a"), PromptRecord(""), PairRecord("c", "", "")},
      PlainBytes(), {});
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  ASSERT_EQ(prompts->examples.size(), 2u);
  EXPECT_EQ(prompts->examples[0].number, 0u);
  EXPECT_EQ(prompts->examples[1].number, 2u);
  EXPECT_EQ(Text(prompts->examples[1].prompt), "c");
}

TEST(TokenizeTest, ConversationPromptsGetHeaderAndReplyPrefix) {
  Records records(1);
  pb::PreferencePair* pair = records[0].mutable_preference();
  AddMessage("user", "Q", pair->mutable_prompt()->mutable_messages());
  pair->set_chosen("yes");
  pair->set_rejected("no");
  pair->set_margin(1.5);
  pair->set_id("row");
  const auto pairs = TokenizePairs(records, ByteTokenizer(), {});
  ASSERT_TRUE(pairs.ok()) << pairs.status();
  EXPECT_EQ(Text(pairs->examples[0].prompt), "<s>\n\nHuman: Q\n\nAssistant:");
  EXPECT_EQ(Text(pairs->examples[0].chosen), " yes</s>");
  EXPECT_EQ(Text(pairs->examples[0].rejected), " no</s>");
  EXPECT_EQ(pairs->examples[0].margin, 1.5);
  EXPECT_EQ(pairs->examples[0].id, "row");
}

// A record of two questions and answers and a question that has none.
pb::Record Conversation() {
  pb::Record record;
  auto* messages = record.mutable_sft()->mutable_messages();
  AddMessage("system", "S", messages);
  AddMessage("user", "Q", messages);
  AddMessage("assistant", "yes", messages);
  AddMessage("user", "R", messages);
  AddMessage("assistant", "no", messages);
  AddMessage("user", "T", messages);
  return record;
}

TEST(TokenizeTest, ConversationsScoreRepliesAndTheLastEosOnly) {
  const auto sft = TokenizeSft(Records{Conversation()}, ByteTokenizer(), {});
  ASSERT_TRUE(sft.ok()) << sft.status();
  ASSERT_EQ(sft->examples.size(), 1u);
  const SftExample& example = sft->examples[0];
  EXPECT_EQ(Text(example.prompt), "<s>S\n\nHuman: Q\n\nAssistant:");
  EXPECT_EQ(Text(example.completion), " yes\n\nHuman: R\n\nAssistant: no</s>");
  ASSERT_EQ(example.mask.size(), example.completion.size());
  std::vector<int32_t> learned;
  for (size_t i = 0; i < example.mask.size(); ++i) {
    if (example.mask[i] != 0) learned.push_back(example.completion[i]);
  }
  EXPECT_EQ(Text(learned), " yes no</s>");
}

TEST(TokenizeTest, ACutConversationKeepsItsStart) {
  const auto sft =
      TokenizeSft(Records{Conversation()}, ByteTokenizer(), {.max_length = 31});
  ASSERT_TRUE(sft.ok()) << sft.status();
  const SftExample& example = sft->examples[0];
  EXPECT_EQ(example.prompt.size(), 24u);
  EXPECT_EQ(Text(example.completion), " yes\n\nH");
  EXPECT_THAT(example.mask, ElementsAre(1, 1, 1, 1, 0, 0, 0));
}

TEST(TokenizeTest, DropsConversationsWithoutAReply) {
  Records records(1);
  AddMessage("user", "Q", records[0].mutable_sft()->mutable_messages());
  const auto sft = TokenizeSft(records, ByteTokenizer(), {});
  ASSERT_TRUE(sft.ok()) << sft.status();
  EXPECT_THAT(sft->examples, IsEmpty());
  EXPECT_EQ(sft->counts.dropped.at("no reply in the messages"), 1);
}

TEST(TokenizeTest, CompletionsAreScoredWholeAndEosIsAnOption) {
  Records records(1);
  records[0].mutable_sft()->mutable_prompt()->set_text("Q");
  records[0].mutable_sft()->set_completion("yes");
  const auto sft = TokenizeSft(records, ByteTokenizer(), {.append_eos = false});
  ASSERT_TRUE(sft.ok()) << sft.status();
  EXPECT_EQ(Text(sft->examples[0].prompt), "<s>Q");
  EXPECT_EQ(Text(sft->examples[0].completion), "yes");
  EXPECT_THAT(sft->examples[0].mask, IsEmpty());
}

TEST(TokenizeTest, NamesTheRecordOfAnotherKindOrAnUnknownRole) {
  Records records = {PairRecord("a", "b", "c"), PromptRecord("d")};
  const auto wrong_kind = TokenizePairs(records, ByteTokenizer(), {});
  EXPECT_EQ(wrong_kind.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(wrong_kind.status()), HasSubstr("#1: a prompt"));
  EXPECT_FALSE(TokenizeSft(records, ByteTokenizer(), {}).ok());
  EXPECT_FALSE(TokenizeTextBlocks(records, ByteTokenizer(), {}).ok());
  EXPECT_FALSE(TokenizePrompts(Records(1), ByteTokenizer(), {}).ok());

  records.resize(1);
  AddMessage(
      "robot", "x",
      records[0].mutable_preference()->mutable_prompt()->mutable_messages());
  records[0].mutable_preference()->set_source("f.jsonl:7");
  const auto wrong_role = TokenizePairs(records, ByteTokenizer(), {});
  EXPECT_THAT(Message(wrong_role.status()), HasSubstr("f.jsonl:7"));
  EXPECT_THAT(Message(wrong_role.status()), HasSubstr("robot"));
}

TEST(TokenizeTest, RefusesOptionsOutOfRange) {
  for (const TokenizeOptions& options :
       {TokenizeOptions{.max_length = 1}, TokenizeOptions{.block_length = 1},
        TokenizeOptions{.max_prompt_length = -1}}) {
    EXPECT_EQ(TokenizePairs({}, ByteTokenizer(), options).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(TokenizeSft(Records{Conversation()}, ByteTokenizer(),
                        {.chat_template = "x"})
                .status()
                .code(),
            absl::StatusCode::kNotFound);
}

TEST(TokenizeTest, TheTokenizersOwnTemplateRendersAndOnlyItEndsTurns) {
  ByteTokenizer tokenizer;
  ChatTemplateSource source = *BuiltInChatTemplate("zephyr");
  tokenizer.set_chat(source);
  const auto sft = TokenizeSft(Records{Conversation()}, tokenizer, {});
  ASSERT_TRUE(sft.ok()) << sft.status();
  const SftExample& example = sft->examples.at(0);
  EXPECT_EQ(Text(example.prompt),
            "<|system|>\nS</s>\n<|user|>\nQ</s>\n<|assistant|>\n");
  EXPECT_EQ(Text(example.completion),
            "yes</s>\n<|user|>\nR</s>\n<|assistant|>\nno</s>");
  EXPECT_EQ(std::count(example.mask.begin(), example.mask.end(), 1), 7);
  const auto last = TokenizeSft(Records{Conversation()}, tokenizer,
                                {.replies = ChatReplies::kLast});
  EXPECT_EQ(Text(last->examples.at(0).completion), "no</s>");

  Records records(1);
  pb::PreferencePair* pair = records[0].mutable_preference();
  AddMessage("user", "</s>", pair->mutable_prompt()->mutable_messages());
  pair->set_chosen("a</s>");
  pair->set_rejected("b");
  const auto pairs = TokenizePairs(records, tokenizer, {});
  ASSERT_TRUE(pairs.ok()) << pairs.status();
  EXPECT_EQ(Text(pairs->examples.at(0).prompt),
            "<|user|>\n</s></s>\n<|assistant|>\n");
  // The message's "</s>" is four letters, the template's the token.
  EXPECT_EQ(std::count(pairs->examples[0].prompt.begin(),
                       pairs->examples[0].prompt.end(), kEos),
            1);
  EXPECT_THAT(pairs->examples[0].chosen,
              ElementsAre('a', '<', '/', 's', '>', kEos));
  EXPECT_THAT(pairs->examples[0].rejected, ElementsAre('b', kEos));
}

}  // namespace
}  // namespace align
