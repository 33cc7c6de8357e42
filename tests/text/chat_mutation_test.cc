// Thousands of templates and configs with random damage: every one renders or
// is refused with a clear status, within a second and bounded memory.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <functional>

#include "align/base/rng.h"
#include "align/text/chat_template.h"
#include "align/text/chat_template_files.h"

namespace align {
namespace {

constexpr int kMutants = 2500;

const char* const kFragments[] = {"{%",
                                  "%}",
                                  "{{",
                                  "}}",
                                  "{#",
                                  "#}",
                                  "-%}",
                                  "{%-",
                                  " if ",
                                  " else ",
                                  "endif",
                                  "endfor",
                                  " for ",
                                  " in ",
                                  " is ",
                                  " not ",
                                  "|",
                                  "tojson",
                                  "trim",
                                  "[::-1]",
                                  "[0]",
                                  "(",
                                  ")",
                                  "'",
                                  "\"",
                                  "\\",
                                  "messages",
                                  "loop",
                                  "range(9)",
                                  "namespace()",
                                  "* 99999",
                                  "~",
                                  "{",
                                  "}",
                                  "[",
                                  "]",
                                  "\xff",
                                  "\xe4",
                                  "\n",
                                  "99999999999999999999",
                                  "macro m(m)",
                                  "{% set m = m %}",
                                  "| map('upper')",
                                  ".items()",
                                  "null",
                                  ":",
                                  ",",
                                  "true"};

std::string Mutated(std::string text, Rng rng) {
  const int edits = 1 + static_cast<int>(rng.Below(6));
  for (int i = 0; i < edits; ++i) {
    const size_t at = rng.Below(text.size() + 1);
    const size_t length = rng.Below(std::min<size_t>(text.size() - at, 24) + 1);
    switch (rng.Below(4)) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, kFragments[rng.Below(std::size(kFragments))]);
        break;
      case 2:
        text.insert(rng.Below(text.size() + 1), text.substr(at, length));
        break;
      default:
        if (at < text.size()) text[at] = static_cast<char>(rng.Below(256));
    }
  }
  return text;
}

Conversation Talk() {
  return {.messages = {{.role = "system", .content = "S"},
                       {.role = "user", .content = "<|im_end|> é\n"},
                       {.role = "assistant",
                        .content = "A",
                        .fields = R"({"tool_calls":[{"name":"f",
                            "arguments":{"x":[1,null,2.5]}}]})"}},
          .tools = R"([{"type":"function","function":{"name":"f"}}])"};
}

bool IsClear(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return true;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kNotFound:
      return !status.message().empty();
    default:
      return false;
  }
}

// Runs every mutant of the seeds; what `run` returns must be clear.
void RunMutants(const std::vector<std::string>& seeds, uint64_t seed,
                const std::function<absl::Status(const std::string&)>& run) {
  const Rng root(seed);
  int taken = 0;
  for (int i = 0; i < kMutants; ++i) {
    const std::string text = Mutated(seeds[i % seeds.size()], root.Fork(i));
    const auto begin = std::chrono::steady_clock::now();
    const absl::Status status = run(text);
    const std::chrono::duration<double> seconds =
        std::chrono::steady_clock::now() - begin;
    ASSERT_TRUE(IsClear(status)) << status << "\n" << text;
    ASSERT_LT(seconds.count(), 1.0) << status << "\n" << text;
    taken += status.ok() ? 1 : 0;
  }
  // Both ends are reached.
  EXPECT_GT(taken, kMutants / 50);
  EXPECT_LT(taken, kMutants);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  EXPECT_LT(usage.ru_maxrss, int64_t{1} << 20) << "KiB";
}

std::vector<std::string> TemplateSeeds() {
  std::vector<std::string> seeds;
  for (const BuiltInChatTemplateInfo& info : BuiltInChatTemplates()) {
    seeds.push_back(BuiltInChatTemplate(info.name)->templates[0].text);
  }
  seeds.push_back(
      "{% macro m(a, b=1) %}{{ a }}{% endmacro %}{% set ns = namespace(n=0) %}"
      "{% for x in range(300) if x is odd %}{% set ns.n = ns.n + x %}"
      "{{ m(x, b=2) | indent(2) }}{% if x > 50 %}{% break %}{% endif %}"
      "{% endfor %}{{ messages[::-1] | map(attribute='role') | join(', ') }}");
  return seeds;
}

TEST(ChatMutationTest, DamagedTemplatesGiveClearStatuses) {
  RunMutants(TemplateSeeds(), 1, [](const std::string& text) {
    ChatTemplateSource source;
    source.templates.push_back({"default", text, "t"});
    source.special_tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
    const auto chat = ChatTemplate::Create(source);
    if (!chat.ok()) return chat.status();
    return chat->Render(Talk(), {.add_generation_prompt = true}).status();
  });
}

TEST(ChatMutationTest, DamagedConfigsGiveClearStatuses) {
  std::vector<std::string> seeds;
  for (const std::string& text : TemplateSeeds()) {
    std::string quoted;
    for (const char c : text) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c == '\n' ? std::string("\\n") : std::string(1, c);
    }
    seeds.push_back(R"({"bos_token":{"content":"<s>","special":true},)"
                    R"("eos_token":"</s>","chat_template":")" +
                    quoted + "\"}");
    seeds.push_back(R"({"chat_template":[{"name":"default","template":")" +
                    quoted + R"("},{"name":"tool_use","template":"x"}]})");
  }
  RunMutants(seeds, 2, [](const std::string& text) {
    const auto source = ParseChatTemplates(text, "tokenizer_config.json");
    if (!source.ok()) return source.status();
    const auto chat = ChatTemplate::Create(*source);
    if (!chat.ok()) return chat.status();
    return chat->Render(Talk(), {}).status();
  });
}

}  // namespace
}  // namespace align
