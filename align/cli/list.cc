// `align list losses` and `align list models`: the registries as text and as
// Markdown.

#include <cstdio>

#include "align/cli/inspect.h"
#include "align/models/gguf_family.h"
#include "align/models/model_family.h"
#include "losses/registry.h"

namespace align::cli {
namespace {

using losses::Option;

// What the registries have in common.
struct Listed {
  std::string name;
  std::string summary;
  std::string paper;
  std::string needs;
  std::vector<Option> options;
};

struct Kind {
  std::string title;
  std::vector<Listed> entries;
  // What every loss of the kind takes besides its own; empty where that
  // depends on the loss.
  std::vector<Option> common;
};

// The names of what is asked for, "-" for nothing.
std::string Needs(std::initializer_list<std::pair<bool, const char*>> needs) {
  std::string text;
  for (const auto& [asked, name] : needs) {
    if (asked) text += (text.empty() ? "" : ", ") + std::string(name);
  }
  return text.empty() ? "-" : text;
}

std::string NeedsOf(const losses::TokenNeeds&) { return "-"; }

std::string NeedsOf(const losses::RewardNeeds& needs) {
  return Needs({{needs.margin, "margins, if any"}});
}

std::string NeedsOf(const losses::PairNeeds& needs) {
  return Needs({{needs.reference, "reference"},
                {needs.lengths, "lengths"},
                {needs.heads, "first tokens"},
                {needs.log_weights, "token moments"},
                {needs.reward_margin, "margins"},
                {needs.policy_won, "own samples"},
                {needs.prompt_nll, "prompt log-probs"},
                {needs.running_mean, "state"},
                {needs.coupled, "whole step"}});
}

std::string NeedsOf(const losses::UnpairedNeeds& needs) {
  return Needs({{needs.reference, "reference"},
                {needs.mismatched, "mismatched replies"},
                {needs.density_ratio, "density ratios"},
                {needs.moments, "state"},
                {needs.coupled, "whole step"}});
}

std::string NeedsOf(const losses::PolicyNeeds& needs) {
  return Needs({{needs.reference, "reference"},
                {needs.sampler, "sampler's log-probs"},
                {needs.entropy, "entropy"},
                {needs.max_completion_length, "longest reply"},
                {needs.coupled, "whole step"}});
}

std::string NeedsOf(const losses::DistillationNeeds& needs) {
  return Needs({{needs.teacher, "teacher"}});
}

std::string NeedsOf(const losses::AdvantageNeeds& needs) {
  return Needs({{needs.groups, "groups"},
                {needs.values, "critic"},
                {needs.baselines, "greedy replies"},
                {needs.whole_batch, "whole step"}});
}

template <class Entry>
Kind MakeKind(std::string title, const std::vector<Entry>& entries,
              std::vector<Option> common = {}) {
  Kind kind{.title = std::move(title), .common = std::move(common)};
  for (const Entry& entry : entries) {
    Listed listed{entry.name, entry.summary, entry.paper, NeedsOf(entry.needs),
                  entry.options()};
    if constexpr (requires { entry.terms; }) {
      const std::vector<Option> terms = entry.terms();
      listed.options.insert(listed.options.end(), terms.begin(), terms.end());
    }
    kind.entries.push_back(std::move(listed));
  }
  return kind;
}

std::vector<Kind> Kinds() {
  return {MakeKind("loss on tokens", losses::TokenLosses()),
          MakeKind("loss of reward models", losses::RewardLosses()),
          MakeKind("loss on pairs", losses::PairLosses(),
                   losses::ListOptions<losses::PairModifiers>()),
          MakeKind("loss on single replies", losses::UnpairedLosses()),
          MakeKind("loss on sampled replies", losses::PolicyLosses()),
          MakeKind("loss on a teacher's distributions",
                   losses::DistillationLosses()),
          MakeKind("advantages", losses::AdvantageEstimators())};
}

void PrintOptions(const std::vector<Option>& options) {
  for (const Option& option : options) {
    std::printf("    %s = %s (%s): %s\n", option.name.c_str(),
                option.default_text.c_str(), option.allowed.c_str(),
                option.doc.c_str());
  }
}

void PrintOne(const Kind& kind, const Listed& entry) {
  std::printf("%s: %s\n  kind: %s\n  source: %s\n  needs: %s\n",
              entry.name.c_str(), entry.summary.c_str(), kind.title.c_str(),
              entry.paper.c_str(), entry.needs.c_str());
  if (!entry.options.empty()) std::printf("  options:\n");
  PrintOptions(entry.options);
  if (!kind.common.empty())
    std::printf("  options of every %s:\n", kind.title.c_str());
  PrintOptions(kind.common);
}

void PrintNames(const std::vector<Kind>& kinds) {
  for (const Kind& kind : kinds) {
    std::printf("%s\n", kind.title.c_str());
    for (const Listed& entry : kind.entries) {
      std::printf("  %-28s %s\n", entry.name.c_str(), entry.summary.c_str());
    }
  }
}

// "`name` = default", several separated by commas; a bar would end the cell.
std::string Defaults(const std::vector<Option>& options) {
  std::string text;
  for (const Option& option : options) {
    text += (text.empty() ? "`" : ", `") + option.name + "=" +
            option.default_text + "`";
  }
  return text.empty() ? "-" : text;
}

void PrintMarkdown(const std::vector<Kind>& kinds) {
  for (const Kind& kind : kinds) {
    std::printf("| %s | what | source | needs | options |\n",
                kind.title.c_str());
    std::printf("|---|---|---|---|---|\n");
    for (const Listed& entry : kind.entries) {
      std::printf("| `%s` | %s | %s | %s | %s |\n", entry.name.c_str(),
                  entry.summary.c_str(), entry.paper.c_str(),
                  entry.needs.c_str(), Defaults(entry.options).c_str());
    }
    if (!kind.common.empty()) {
      std::printf("| every %s | | | | %s |\n", kind.title.c_str(),
                  Defaults(kind.common).c_str());
    }
    if (&kind != &kinds.back()) std::printf("\n");
  }
}

// What each family is called in transformers and in llama.cpp.
absl::Status ListModels(const Arguments& arguments) {
  const bool markdown = arguments.Has("markdown");
  if (arguments.positional.size() > 1) {
    return InvalidArgument("list models: '" + arguments.positional[1] +
                           "'; expected nothing more");
  }
  if (markdown) {
    std::printf("| model_type | language model | reward model | llama.cpp |\n");
    std::printf("|---|---|---|---|\n");
  }
  for (const ModelFamily* family : ModelFamilies()) {
    const GgufFamily* gguf = FindGgufFamily(family->family);
    const std::string type(family->model_type), name(family->language_model),
        reward(family->sequence_classifier),
        exported(gguf == nullptr ? "-" : gguf->architecture);
    std::printf(
        markdown ? "| `%s` | `%s` | `%s` | %s |\n" : "%-12s %-24s %-36s %s\n",
        type.c_str(), name.c_str(), reward.c_str(), exported.c_str());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ListCommand(const Arguments& arguments) {
  const std::vector<std::string>& words = arguments.positional;
  if (words.empty() || words.size() > 2) {
    return InvalidArgument(std::string("expected what to list. Usage: ") +
                           kListUsage);
  }
  if (words[0] == "models") return ListModels(arguments);
  if (words[0] != "losses") {
    return InvalidArgument(
        losses::UnknownName("list", words[0], {"losses", "models"}));
  }
  const std::vector<Kind> kinds = Kinds();
  if (words.size() == 1) {
    arguments.Has("markdown") ? PrintMarkdown(kinds) : PrintNames(kinds);
    return absl::OkStatus();
  }
  std::vector<std::string> known;
  bool found = false;
  for (const Kind& kind : kinds) {
    for (const Listed& entry : kind.entries) {
      known.push_back(entry.name);
      if (entry.name != words[1]) continue;
      if (found) std::printf("\n");
      PrintOne(kind, entry);
      found = true;
    }
  }
  if (found) return absl::OkStatus();
  return InvalidArgument(losses::UnknownName("loss", words[1], known));
}

}  // namespace align::cli
