// `align export`: a model directory as GGUF, and in another dtype.
#include "tests/cli/cli_fixture.h"
#include "tests/support/gguf_reader.h"
#include "tests/support/tokenizer_json.h"

namespace align {
namespace {

using ::testing::HasSubstr;

class ExportTest : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    ModelConfig config = TinyConfig();
    config.vocab_size = 270;  // seven rows more than the tokenizer has ids
    const auto model = CreateModel(config, Rng(1));
    ASSERT_TRUE(model.ok()) << model.status();
    ASSERT_TRUE(SaveModel(**model, Path("llama"), "").ok());
    Write("llama/tokenizer.json", ByteLevelJson().Text());
    Write("llama/tokenizer_config.json",
          R"({"eos_token": "<|end|>", "chat_template": "{{ messages }}"})");
  }
};

TEST_F(ExportTest, AFileForLlamaCppHoldsModelTokenizerAndTemplate) {
  EXPECT_EQ(Output({"export", Path("llama"), "--out", Path("x.gguf"), "--dtype",
                    "f32"}),
            Path("x.gguf") + "\n");
  const GgufReader file(Path("x.gguf"));
  EXPECT_EQ(file.Get<std::string>("general.architecture"), "llama");
  EXPECT_EQ(file.Get<std::string>("general.name"), "llama");
  EXPECT_EQ(file.Get<std::string>("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(file.Get<std::string>("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_EQ(file.Get<std::vector<std::string>>("tokenizer.ggml.tokens").size(),
            270u);
  EXPECT_EQ(file.Get<std::vector<std::string>>("tokenizer.ggml.merges").size(),
            6u);
  EXPECT_EQ(file.Get<uint64_t>("tokenizer.ggml.eos_token_id"), 262u);
  EXPECT_FALSE(file.Get<bool>("tokenizer.ggml.add_bos_token"));
  EXPECT_EQ(file.Get<std::string>("tokenizer.chat_template"), "{{ messages }}");
  const auto model = LoadModel(Path("llama"));
  ASSERT_TRUE(model.ok());
  const auto rows = GgufReader::Floats(file.tensors().at("token_embd.weight"));
  EXPECT_TRUE(std::ranges::equal(
      rows, (*model)->params().Get("model.embed_tokens.weight").values()));
}

TEST_F(ExportTest, F16IsTheDefaultAndEveryTypeHasItsName) {
  Output({"export", Path("llama"), "--out", Path("x.gguf")});
  EXPECT_EQ(GgufReader(Path("x.gguf")).tensors().at("output.weight").type, 1u);
  Output({"export", Path("llama"), "--out", Path("x.gguf"), "--dtype", "q8_0"});
  EXPECT_EQ(GgufReader(Path("x.gguf")).tensors().at("output.weight").type, 8u);
  Output({"export", Path("llama"), "--out", Path("x.gguf"), "--dtype", "bf16"});
  EXPECT_EQ(GgufReader(Path("x.gguf")).tensors().at("output.weight").type, 30u);
}

TEST_F(ExportTest, ADirectoryInAnotherDtypeKeepsItsTokenizer) {
  Output({"export", Path("llama"), "--format", "safetensors", "--dtype", "bf16",
          "--out", Path("small")});
  EXPECT_THAT(*ReadFile(Path("small/config.json")), HasSubstr("bfloat16"));
  EXPECT_EQ(*ReadFile(Path("small/tokenizer.json")),
            *ReadFile(Path("llama/tokenizer.json")));
  EXPECT_TRUE(LoadModel(Path("small")).ok());
}

TEST_F(ExportTest, WhatCannotBeExportedIsRefusedByName) {
  const std::string out = Path("x.gguf");
  ExpectRefused({"export", model(), "--out", out}, {"a tokenizer of bytes"});
  ExpectRefused({"export", Path("llama"), "--out", out, "--dtype", "q4_0"},
                {"--dtype", "q4_0", "q8_0 expected"});
  ExpectRefused({"export", Path("llama"), "--out", out, "--format", "onnx"},
                {"onnx", "gguf or safetensors"});
  ExpectRefused({"export", Path("llama")}, {"--out is missing"});
  ExpectRefused({"export", Path("llama"), "--format", "safetensors", "--dtype",
                 "q8_0", "--out", Path("d")},
                {"--dtype", "f32, f16 or bf16"});
  EXPECT_FALSE(FileExists(out));
}

}  // namespace
}  // namespace align
