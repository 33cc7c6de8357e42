#include "align/text/chat_template_files.h"

#include <simdjson.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "align/base/files.h"
#include "align/text/json_node.h"

namespace align {
namespace {

constexpr int64_t kMaxConfigBytes = 16 << 20;
constexpr int64_t kMaxTemplateBytes = 4 << 20;
constexpr size_t kMaxJsonDepth = 64;
constexpr size_t kMaxTemplates = 64;

constexpr const char* kSpecialTokens[] = {"bos_token", "eos_token", "unk_token",
                                          "sep_token", "pad_token", "cls_token",
                                          "mask_token"};

// The texts of `object`'s special tokens that `source` lacks.
absl::Status AddSpecialTokens(const JsonNode& object,
                              ChatTemplateSource& source) {
  for (const char* name : kSpecialTokens) {
    const auto member = FindMember(object, name);
    const bool known =
        std::any_of(source.special_tokens.begin(), source.special_tokens.end(),
                    [&](const auto& token) { return token.first == name; });
    if (!member || known) continue;
    std::string token;
    if (member->value.is_object()) {
      ALIGN_ASSIGN_OR_RETURN(token, StringMember(*member, "content"));
    } else {
      ALIGN_ASSIGN_OR_RETURN(token, StringMember(object, name));
    }
    source.special_tokens.emplace_back(name, std::move(token));
  }
  return absl::OkStatus();
}

// `chat_template` of an object: a text, or a list of {"name", "template"}.
absl::Status AddTemplates(const JsonNode& object, ChatTemplateSource& source) {
  const auto member = FindMember(object, "chat_template");
  if (!member) return absl::OkStatus();
  if (!member->value.is_array()) {
    ALIGN_ASSIGN_OR_RETURN(std::string text,
                           StringMember(object, "chat_template"));
    source.templates.push_back({"default", std::move(text), member->where});
    return absl::OkStatus();
  }
  ALIGN_ASSIGN_OR_RETURN(const std::vector<JsonNode> list, Elements(*member));
  if (list.size() > kMaxTemplates) {
    return ResourceExhausted(member->where + ": more than " +
                             std::to_string(kMaxTemplates) + " templates");
  }
  for (const JsonNode& one : list) {
    ALIGN_ASSIGN_OR_RETURN(std::string name, StringMember(one, "name"));
    ALIGN_ASSIGN_OR_RETURN(std::string text, StringMember(one, "template"));
    source.templates.push_back(
        {std::move(name), std::move(text), one.where + ".template"});
  }
  return absl::OkStatus();
}

absl::Status AddJsonFile(const std::string& path, ChatTemplateSource& source) {
  if (!FileExists(path)) return absl::OkStatus();
  ALIGN_ASSIGN_OR_RETURN(const std::string json,
                         ReadFile(path, kMaxConfigBytes));
  simdjson::dom::parser parser;
  ALIGN_ASSIGN_OR_RETURN(const JsonNode root,
                         ParseJsonNode(parser, json, path, kMaxJsonDepth));
  if (source.templates.empty()) {
    ALIGN_RETURN_IF_ERROR(AddTemplates(root, source));
  }
  return AddSpecialTokens(root, source);
}

absl::Status AddJinjaFile(const std::string& path, const std::string& name,
                          ChatTemplateSource& source) {
  ALIGN_ASSIGN_OR_RETURN(std::string text, ReadFile(path, kMaxTemplateBytes));
  source.templates.push_back({name, std::move(text), path});
  return absl::OkStatus();
}

// additional_chat_templates/NAME.jinja, by name.
absl::Status AddAdditionalTemplates(const std::string& model_dir,
                                    ChatTemplateSource& source) {
  std::error_code error;
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(
           model_dir + "/additional_chat_templates", error)) {
    if (entry.path().extension() == ".jinja") paths.push_back(entry.path());
    if (paths.size() > kMaxTemplates) {
      return ResourceExhausted(model_dir +
                               "/additional_chat_templates: " + "more than " +
                               std::to_string(kMaxTemplates) + " templates");
    }
  }
  std::sort(paths.begin(), paths.end());
  for (const std::filesystem::path& path : paths) {
    ALIGN_RETURN_IF_ERROR(
        AddJinjaFile(path.string(), path.stem().string(), source));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ChatTemplateSource> LoadChatTemplates(
    const std::string& model_dir) {
  ChatTemplateSource source;
  const std::string jinja = model_dir + "/chat_template.jinja";
  if (FileExists(jinja)) {
    ALIGN_RETURN_IF_ERROR(AddJinjaFile(jinja, "default", source));
    ALIGN_RETURN_IF_ERROR(AddAdditionalTemplates(model_dir, source));
  }
  for (const char* name : {"/chat_template.json", "/tokenizer_config.json",
                           "/special_tokens_map.json"}) {
    ALIGN_RETURN_IF_ERROR(AddJsonFile(model_dir + name, source));
  }
  return source;
}

absl::StatusOr<ChatTemplateSource> ParseChatTemplates(std::string_view json,
                                                      const std::string& name) {
  ChatTemplateSource source;
  simdjson::dom::parser parser;
  ALIGN_ASSIGN_OR_RETURN(const JsonNode root,
                         ParseJsonNode(parser, json, name, kMaxJsonDepth));
  ALIGN_RETURN_IF_ERROR(AddTemplates(root, source));
  ALIGN_RETURN_IF_ERROR(AddSpecialTokens(root, source));
  return source;
}

absl::StatusOr<ChatTemplateSource> FindChatTemplate(const std::string& name) {
  absl::StatusOr<ChatTemplateSource> built_in = BuiltInChatTemplate(name);
  if (built_in.ok()) return built_in;
  if (!FileExists(name)) {
    return NotFound(Message(built_in.status()) + "; nor is it a file");
  }
  if (!name.ends_with(".json")) {
    ChatTemplateSource source;
    ALIGN_RETURN_IF_ERROR(AddJinjaFile(name, "default", source));
    return source;
  }
  ALIGN_ASSIGN_OR_RETURN(const std::string json,
                         ReadFile(name, kMaxConfigBytes));
  ALIGN_ASSIGN_OR_RETURN(ChatTemplateSource source,
                         ParseChatTemplates(json, name));
  if (source.templates.empty()) {
    return NotFound(name + ": no chat_template in it");
  }
  return source;
}

}  // namespace align
