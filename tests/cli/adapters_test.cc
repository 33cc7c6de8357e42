// Adapters from training to a merged model, as a user runs it.

#include "tests/cli/cli_fixture.h"

namespace align {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class AdapterCliTest : public CliTest {
 protected:
  // Two steps of DPO on adapters; their directory.
  std::string Train() const {
    Write("dpo.textproto", R"(
      method: "preference"
      model { path: ")" + model() +
                               R"(" lora { rank: 2 } }
      data { train: ")" + Import("pairs") +
                               R"(" batch_size: 4 }
      loop { steps: 2 }
      optimizer { learning_rate: 0.05 })");
    Output({"train", Path("dpo.textproto"), "--out", Path("run")});
    return Path("run/model");
  }
};

// What `align eval` prints of a language model, to the digits that it prints.
double NllOf(const std::string& text) {
  const std::string name = "nll_per_token ";
  return std::stod(text.substr(text.find(name) + name.size()));
}

TEST_F(AdapterCliTest, TrainedAdaptersAreAModelAndMergeIntoOne) {
  const std::string adapter = Train();
  const std::string records = Import("texts");
  const std::string merged = Path("merged");
  EXPECT_THAT(Output({"merge", adapter, "--out", merged}),
              HasSubstr("model: " + merged));
  EXPECT_TRUE(FileExists(merged + "/tokenizer_config.json"));
  const std::string base = Output({"eval", model(), records});
  const std::string trained = Output({"eval", adapter, records});
  EXPECT_NE(NllOf(trained), NllOf(base));
  EXPECT_EQ(NllOf(Output({"eval", merged, records})), NllOf(trained));
  const std::vector<std::string> flags = {
      "--prompt", "say", "--temperature", "0", "--max-new-tokens", "8"};
  const auto sample = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "sample");
    words.insert(words.end(), flags.begin(), flags.end());
    return Output(words);
  };
  EXPECT_EQ(sample({merged}), sample({adapter}));
  EXPECT_EQ(sample({adapter, "--base", model()}), sample({adapter}));
}

TEST_F(AdapterCliTest, ShowSaysWhatAModelIs) {
  const std::string shown =
      Output({"show", model(), "--batch", "4", "--length", "32"});
  // One layer: 16 * (4 * 16 + 3 * 24) + 3 norms of 16; two tables of 258.
  for (const char* part :
       {"LlamaForCausalLM", "parameters             10480\n", "1 of 16, MLP 24",
        "language model over 258 tokens, of its own",
        "KV cache               128 B a token", "a step of 4 x 32 tokens",
        "train all", "train LoRA, rank 8",
        "the same with recompute_activations:\n"}) {
    EXPECT_THAT(shown, HasSubstr(part));
  }
  EXPECT_THAT(Output({"show", Path("reward")}),
              HasSubstr("1 label (reward model)"));
  EXPECT_THAT(Output({"show", Train()}), HasSubstr("LoRA of rank 2"));
}

TEST_F(AdapterCliTest, WhatIsWrongIsSaid) {
  ExpectRefused({"merge", model(), "--out", Path("x")},
                {"no adapter_config.json"});
  ExpectRefused({"show", model(), "--length", "65"}, {"1 to 64"});
  ExpectRefused({"show", model(), "--target", "wq"}, {"'wq'", "q_proj"});
  const std::string adapter = Train();
  ExpectRefused({"merge", adapter}, {"--out is missing"});
  ExpectRefused({"merge", adapter, "--out", model()}, {"another directory"});
  ExpectRefused({"merge", adapter, "--out", Path("x"), "--format", "f16"},
                {"f32 or bf16"});
  const std::string texts = Import("texts");
  std::filesystem::rename(model(), Path("moved"));
  ExpectRefused({"eval", adapter, texts},
                {"its base", "is no model directory"});
  EXPECT_EQ(Align({"eval", adapter, texts, "--base", Path("moved")}).exit_code,
            0);
}

}  // namespace
}  // namespace align
