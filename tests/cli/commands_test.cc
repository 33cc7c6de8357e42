// Every command on tiny inputs, as a user runs it.

#include "align/models/model_family.h"
#include "losses/registry.h"
#include "tests/cli/cli_fixture.h"

namespace align {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(CliTest, HelpOfTheProgramListsEveryCommand) {
  const std::string help = Output({"--help"});
  for (const std::string& command : kCommands) {
    EXPECT_THAT(help, HasSubstr("\n  " + command + " "));
  }
  EXPECT_EQ(Output({"help"}), help);
  EXPECT_EQ(Output({"-h"}), help);
  const ProcessResult nothing = Align({});
  EXPECT_EQ(nothing.exit_code, 2);
  EXPECT_EQ(nothing.err, help);
}

TEST_F(CliTest, HelpOfACommandShowsItsUsageAndFlags) {
  for (const std::string& command : kCommands) {
    SCOPED_TRACE(command);
    const std::string help = Output({command, "--help"});
    EXPECT_THAT(help, StartsWith("Usage: align " + command));
    EXPECT_THAT(help, HasSubstr("--threads N"));
    EXPECT_EQ(Output({command, "-h"}), help);
    EXPECT_EQ(Output({"help", command}), help);
  }
  EXPECT_THAT(Output({"compare", "--help"}), HasSubstr("--dry-run"));
}

TEST_F(CliTest, VersionIsTheProjectsAndWhatMultiplies) {
  EXPECT_THAT(Output({"--version"}),
              ::testing::MatchesRegex("align [0-9]+\\.[0-9]+\\.[0-9]+, "
                                      "oneDNN [0-9.]+, rows .+\n"));
}

// Every name of a registry, its source, its options with their defaults and
// ranges; one name can stand in two registries.
TEST_F(CliTest, ListLossesHasEveryRegistryAndItsOptions) {
  const std::string list = Output({"list", "losses"});
  const std::string table = Output({"list", "losses", "--markdown"});
  const auto check = [&](const auto& entries, size_t every) {
    for (size_t i = 0; i < entries.size(); ++i) {
      const auto& entry = entries[i];
      SCOPED_TRACE(entry.name);
      EXPECT_THAT(list, HasSubstr("  " + entry.name + " "));
      EXPECT_THAT(table, HasSubstr("| `" + entry.name + "` | " + entry.summary +
                                   " | " + entry.paper + " | "));
      if (i % every != 0) continue;  // a process each
      const std::string one = Output({"list", "losses", entry.name});
      EXPECT_THAT(one, HasSubstr("source: " + entry.paper));
      for (const losses::Option& option : entry.options()) {
        EXPECT_THAT(one, HasSubstr(option.name + " = " + option.default_text +
                                   " (" + option.allowed + "): " + option.doc));
      }
    }
  };
  check(losses::TokenLosses(), 1);
  check(losses::RewardLosses(), 1);
  check(losses::PairLosses(), 5);
  check(losses::UnpairedLosses(), 1);
  check(losses::PolicyLosses(), 5);
  check(losses::DistillationLosses(), 1);
  check(losses::AdvantageEstimators(), 3);
  EXPECT_THAT(Output({"list", "losses", "hinge"}), HasSubstr("rpo_alpha = 0 "));
  EXPECT_THAT(Output({"list", "losses", "rloo"}),
              ::testing::AllOf(HasSubstr("kind: loss on sampled replies"),
                               HasSubstr("kind: advantages")));
}

TEST_F(CliTest, ListModelsHasEveryFamilyAndWhereItCanGo) {
  const std::string list = Output({"list", "models"});
  const std::string table = Output({"list", "models", "--markdown"});
  for (const ModelFamily* family : ModelFamilies()) {
    EXPECT_THAT(list, HasSubstr(std::string(family->language_model)));
    EXPECT_THAT(table,
                HasSubstr("| `" + std::string(family->model_type) + "` | `" +
                          std::string(family->language_model) + "` | `"));
  }
  EXPECT_THAT(list, HasSubstr("qwen2"));
  ExpectRefused({"list", "modles"},
                {"did you mean 'models'? Known: losses, models"});
}

TEST_F(CliTest, ImportSaysWhatItTookAndDropped) {
  Write("mixed.jsonl", R"({"prompt": "a", "chosen": "b", "rejected": "c"})"
                       "\nnot json\n");
  const std::vector<std::string> words = {"import", Path("mixed.jsonl"),
                                          "--out", Path("mixed.tfrecord")};
  const std::string report = Output(words);
  EXPECT_THAT(report, HasSubstr("mixed.jsonl:2"));
  EXPECT_TRUE(FileExists(Path("mixed.tfrecord")));
  std::vector<std::string> strict = words;
  strict.push_back("--strict");
  ExpectRefused(strict, {"mixed.jsonl:2"});
}

// A path may have an equals sign.
TEST_F(CliTest, ImportTakesPathsThatLookLikeOverrides) {
  const ProcessResult result = Align({"import", "a.b=c", "--out", Path("o")});
  EXPECT_THAT(result.err, HasSubstr("a.b=c"));
  EXPECT_THAT(result.err, Not(HasSubstr("no input")));
}

TEST_F(CliTest, ShowBatchDecodesWhatIsScored) {
  for (const char* name : {"pairs", "texts"}) {
    const std::string shown = Output({"show-batch", model(), Import(name)});
    EXPECT_THAT(shown, HasSubstr("segment"));
  }
}

TEST_F(CliTest, ShowBatchTellsGoodRepliesFromBad) {
  Write("labelled.jsonl",
        R"({"prompt": "a", "completion": "b", "label": true})"
        "\n"
        R"({"prompt": "c", "completion": "d", "label": false})"
        "\n");
  const std::string shown = Output({"show-batch", model(), Import("labelled")});
  EXPECT_THAT(shown, HasSubstr("rows 8, segments 4, sequences 2, scored 4\n"));
  EXPECT_THAT(shown, HasSubstr(", desirable, on segment "));
  EXPECT_THAT(shown, HasSubstr(", undesirable, on segment "));
  EXPECT_THAT(shown, HasSubstr("⟦d</s>⟧"));
}

TEST_F(CliTest, SampleDependsOnTheSeedAndNotOnThreads) {
  const std::vector<std::string> words = {
      "sample", model(), "--prompt", "ab", "--max-new-tokens", "12"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = words;
    all.insert(all.end(), more.begin(), more.end());
    return Output(all);
  };
  const std::string one = with({"--threads", "1"});
  EXPECT_THAT(one, StartsWith("ab"));
  EXPECT_EQ(with({"--threads=2"}), one);
  EXPECT_NE(with({"--seed", "7"}), one);
  const std::string greedy = with({"--temperature", "0"});
  EXPECT_EQ(with({"--temperature", "0", "--seed", "9"}), greedy);
  EXPECT_EQ(with({"--top-k", "1"}), greedy);
  EXPECT_EQ(with({"--min-p", "1"}), greedy);
  // So hot that nearly every token comes, and some come twice.
  const auto hot = [&](const std::string& ngram) {
    return Output({"sample", model(), "--prompt", "ab", "--temperature", "5",
                   "--max-new-tokens", "60", "--no-repeat-ngram-size", ngram});
  };
  EXPECT_NE(hot("1"), hot("0"));
  EXPECT_THAT(with({"--samples", "3"}), HasSubstr("---\n"));
}

TEST_F(CliTest, SampleReadsPromptsFromRecords) {
  const std::string text = Output({"sample", model(), "--prompts",
                                   Import("pairs"), "--max-new-tokens", "2"});
  EXPECT_THAT(text, HasSubstr("say 0"));
  EXPECT_THAT(text, HasSubstr("say 11"));
}

// Also: the default length fits a model of 64 positions.
TEST_F(CliTest, EvalMeasuresLanguageAndRewardModels) {
  const std::string text = Output({"eval", model(), Import("texts")});
  EXPECT_THAT(text, HasSubstr("perplexity "));
  EXPECT_THAT(text, HasSubstr("bits_per_byte "));
  const std::string reward =
      Output({"eval", Path("reward"), Import("pairs"), "--max-records", "5"});
  EXPECT_THAT(reward, StartsWith("pairs 5\naccuracy "));
}

class CliJobTest : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    Write("train.textproto",
          "data { max_length: 64 block_length: 32 }\n"
          "loop { steps: 2 }\n");
    Write("compare.textproto", R"(
      prompts { prompt_tokens: 8 train: 4 eval: 3 }
      sampling { max_new_tokens: 4 }
      methods: "dpo"
      dpo { training { steps: 2 batch_size: 2 } })");
  }
  std::vector<std::string> TrainWords(const std::string& method,
                                      const std::string& rows) const {
    return {"train", Path("train.textproto"), "method=" + method,
            "model.path=" + model(), "data.train=" + Import(rows)};
  }
  std::vector<std::string> CompareWords() const {
    return {"compare", Path("compare.textproto"), "base.path=" + model(),
            "prompts.texts=" + Path("texts.jsonl"),
            "gold.lexicon=" + Path("lexicon.txt")};
  }
};

std::vector<std::string> With(std::vector<std::string> words,
                              const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST_F(CliJobTest, TrainRunsEveryMethodAndSavesAModelThatLoads) {
  for (const char* method : {"sft", "reward", "preference"}) {
    SCOPED_TRACE(method);
    const bool sft = std::string(method) == "sft";
    const std::string out = Path(std::string("run_") + method);
    EXPECT_EQ(Output(With(TrainWords(method, sft ? "texts" : "pairs"),
                          {"--out", out, "--threads", "1"})),
              "model: " + out + "/model\n");
    EXPECT_THAT(*ReadFile(out + "/metrics.jsonl"), HasSubstr("\"step\": 2"));
    const bool reward = std::string(method) == "reward";
    EXPECT_THAT(
        Output({"eval", out + "/model", Import(reward ? "pairs" : "texts")}),
        HasSubstr(reward ? "accuracy" : "perplexity"));
  }
}

TEST_F(CliJobTest, TrainProfilePrintsWhereTheTimeOfARunWent) {
  const std::string out = Path("run"), trace = Path("trace.json");
  const std::string text =
      Output(With(TrainWords("preference", "pairs"),
                  {"--out", out, "--profile", "--trace", trace}));
  EXPECT_THAT(text, StartsWith("by phase"));
  EXPECT_THAT(text, ::testing::EndsWith("model: " + out + "/model\n"));
  for (const char* line :
       {"\nload ", "\nembed ", "\nattention ", "\nattention backward ",
        "\nnorms ", "\nmlp backward ", "\nhead ", "\nreference ",
        "\noptimizer ", "\nmetrics and checkpoints ", "\nsave ", "\nin all ",
        "\nmlp/product ", "\nreference/product ", "\nfloor: "}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  // Not shown when it fails: it is long.
  const std::string json = *ReadFile(trace);
  EXPECT_TRUE(json.starts_with("{\n  \"traceEvents\": ["));
  EXPECT_TRUE(json.find("\"name\": \"mlp/product backward\"") !=
              std::string::npos);
  EXPECT_TRUE(json.ends_with("\"events_left_out\": 0\n  }\n}"));
}

// What a rollout spends on sampling and on scores are phases of their own.
TEST_F(CliJobTest, ProfileOfARolloutTellsSamplingFromScoring) {
  Write("prompts.jsonl", "{\"prompt\": \"say a\"}\n{\"prompt\": \"say\"}\n");
  Write("ppo.textproto", R"(
      method: "ppo"
      loop { steps: 2 }
      sampling { max_new_tokens: 4 }
      ppo { prompts_per_rollout: 2 epochs: 1 minibatches: 1 })");
  const std::string table = Output(
      {"train", Path("ppo.textproto"), "--out", Path("run"), "--profile",
       "--threads", "2", "model.path=" + model(),
       "data.train=" + Import("prompts"), "reward.model=" + Path("reward")});
  for (const char* line :
       {"\ngenerate ", "\nreward ", "\nreference ", "\ncritic ",
        "\nattention backward ", "\noptimizer ", "\ngenerate/CachedAttention ",
        "\nreward/product ", "\nreference/product ", "\ncritic/product "}) {
    EXPECT_THAT(table, HasSubstr(line));
  }
}

// oneDNN can be told to leave out what a CPU has.
class CliIsaTest : public CliJobTest {
 protected:
  ProcessResult AlignOn(const std::string& isa,
                        const std::vector<std::string>& words) const {
    return RunProcess(With({"/usr/bin/env", "ONEDNN_MAX_CPU_ISA=" + isa,
                            ALIGN_BINARY_DIR "/bin/align"},
                           words),
                      directory_);
  }
};

TEST_F(CliIsaTest, WithoutAvx512Bf16IsRefusedAndAutoIsF32) {
  for (const auto& words :
       {With(TrainWords("sft", "texts"), {"--out", Path("bf16")}),
        With(CompareWords(), {"--out", Path("bf16")})}) {
    const ProcessResult refused =
        AlignOn("AVX2", With(words, {"precision=bf16"}));
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_THAT(refused.err, HasSubstr("precision 'bf16': oneDNN multiplies "
                                       "bf16 on CPUs with AVX-512"));
    EXPECT_FALSE(FileExists(Path("bf16")));
  }
  const ProcessResult taken =
      AlignOn("AVX2", With(TrainWords("sft", "texts"),
                           {"--out", Path("auto"), "precision=auto"}));
  EXPECT_EQ(taken.exit_code, 0) << taken.err;
  EXPECT_THAT(*ReadFile(Path("auto") + "/config.textproto"),
              HasSubstr("precision: \"f32\""));
}

TEST_F(CliIsaTest, Bf16ThatIsSlowIsSaidOnce) {
  const ProcessResult run =
      AlignOn("AVX512_CORE", With(TrainWords("preference", "pairs"),
                                  {"--out", Path("slow"), "precision=bf16"}));
  if (run.exit_code == 2) GTEST_SKIP() << run.err;  // no AVX-512 at all
  EXPECT_EQ(run.exit_code, 0) << run.err;
  const std::string note = "this CPU has neither AVX512_BF16 nor AMX";
  EXPECT_THAT(run.err, HasSubstr(note));
  EXPECT_EQ(run.err.find(note), run.err.rfind(note));
}

TEST_F(CliJobTest, ATraceThatCannotBeWrittenIsRefusedBeforeTheRun) {
  const std::vector<std::string> words =
      With(TrainWords("sft", "texts"), {"--out", Path("x"), "--trace"});
  ExpectRefused(With(words, {Path("no/where.json")}),
                {"--trace", Path("no/where.json")});
  ExpectRefused(With(words, {Path("model")}), {"--trace", "is a directory"});
  EXPECT_FALSE(FileExists(Path("x")));
  // A run that is refused leaves no trace.
  const std::string trace = Path("trace.json");
  ExpectRefused(With(words, {trace, "method=stf"}), {"'stf'"});
  EXPECT_FALSE(FileExists(trace));
}

TEST_F(CliJobTest, TrainDryRunPrintsConfigAndMemoryAndWritesNothing) {
  const std::string text =
      Output(With(TrainWords("sft", "texts"),
                  {"--dry-run", "--out", Path("x"), "loop.steps=7"}));
  EXPECT_THAT(text, HasSubstr("steps: 7"));
  EXPECT_THAT(text, HasSubstr("batch_size: 8"));  // a default
  EXPECT_THAT(text, HasSubstr("\npolicy: 10480 parameters, 1 MB for "));
  EXPECT_THAT(text, HasSubstr(" MB (available: "));
  EXPECT_FALSE(FileExists(Path("x")));
}

TEST_F(CliJobTest, CompareDryRunPrintsConfigAndMemoryAndWritesNothing) {
  const std::string text =
      Output(With(CompareWords(),
                  {"--dry-run", "--out", Path("x"), "dpo.training.steps=9"}));
  EXPECT_THAT(text, HasSubstr("steps: 9"));
  EXPECT_THAT(text, HasSubstr("\n  dpo "));
  EXPECT_THAT(text, Not(HasSubstr("\n  ppo ")));
  EXPECT_THAT(text, HasSubstr("largest stage: "));
  EXPECT_FALSE(FileExists(Path("x")));
  ExpectRefused(With(CompareWords(), {"--dry-run", "dpo.training.steps=0"}),
                {"dpo.training.steps"});
}

TEST_F(CliJobTest, CompareRunsItsStagesInProcessesAndPrintsTheTable) {
  const std::vector<std::string> words = With(
      CompareWords(), {"--out", Path("out"), "--threads", "1", "--profile"});
  const std::string first = Output(words);
  EXPECT_THAT(first, HasSubstr("[1/"));
  EXPECT_THAT(first, HasSubstr("dpo"));
  const auto results = ReadFile(Path("out") + "/results.json");
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_THAT(*results, HasSubstr("\"peak_rss_mb\""));
  EXPECT_THAT(Output(words), HasSubstr("dpo: kept from an earlier run"));
  // Every stage that ran has a table.
  EXPECT_THAT(first, HasSubstr("\ngenerate "));
  EXPECT_THAT(first, HasSubstr("\nattention backward "));
  // A stage alone needs the plan's name for it.
  ExpectRefused(With(words, {"--stage", "dpoo"}), {"dpoo"});
  ExpectRefused(With(words, {"--stage", "dpo", "--share", "0"}),
                {"--share", "descriptor 0"});
}

TEST_F(CliJobTest, StagesThatShareThreadsGiveWhatOneThreadGives) {
  Output(With(CompareWords(), {"--out", Path("one"), "--threads", "1"}));
  Output(With(CompareWords(),
              {"--out", Path("two"), "--threads", "3", "--jobs", "2"}));
  for (const char* file :
       {"/samples.md", "/stages/dpo/model/model.safetensors"}) {
    EXPECT_EQ(*ReadFile(Path("one") + file), *ReadFile(Path("two") + file))
        << file;
  }
}

TEST_F(CliJobTest, DryRunCountsPackedCopiesOfTheReferenceInBf16) {
  const std::vector<std::string> words =
      With(TrainWords("preference", "pairs"), {"--dry-run"});
  EXPECT_THAT(Output(words), Not(HasSubstr("packed")));
  const std::string text = Output(With(words, {"precision=auto"}));
  EXPECT_EQ(text.find("packed copies") != std::string::npos,
            text.find("precision: \"bf16\"") != std::string::npos);
}

}  // namespace
}  // namespace align
