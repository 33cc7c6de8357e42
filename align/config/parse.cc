#include "align/config/parse.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include <algorithm>

#include "align/base/files.h"
#include "losses/registry.h"

namespace align {
namespace {

namespace pbuf = google::protobuf;

std::vector<std::string> FieldNames(const pbuf::Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) {
    names.push_back(type.field(i)->name());
  }
  return names;
}

// Keeps the first error, as "where:line:column: message".
class FirstError : public pbuf::io::ErrorCollector {
 public:
  explicit FirstError(std::string where) : where_(std::move(where)) {}

  void AddError(int line, pbuf::io::ColumnNumber column,
                const std::string& message) override {
    if (!text_.empty()) return;
    text_ = where_ + ":" + std::to_string(line + 1) + ":" +
            std::to_string(column + 1) + ": " + message;
  }
  const std::string& text() const { return text_; }

 private:
  std::string where_;
  std::string text_;
};

// protobuf says 'Message type "T" has no field named "F".': adds what T has.
std::string WithKnownFields(const std::string& error,
                            const pbuf::Message& config) {
  constexpr std::string_view kType = "Message type \"";
  constexpr std::string_view kField = "\" has no field named \"";
  const size_t type_at = error.find(kType);
  const size_t field_at = error.find(kField);
  if (type_at == std::string::npos || field_at == std::string::npos) {
    return error;
  }
  const size_t name_at = type_at + kType.size();
  const size_t key_at = field_at + kField.size();
  const pbuf::Descriptor* type =
      config.GetDescriptor()->file()->pool()->FindMessageTypeByName(
          error.substr(name_at, field_at - name_at));
  if (type == nullptr) return error;
  const std::string key =
      error.substr(key_at, error.find('"', key_at) - key_at);
  return error.substr(0, type_at) +
         losses::UnknownName("key", key, FieldNames(*type));
}

// "0.5" for a number, "\"text\"" for a string: what text format wants.
std::string Literal(const pbuf::FieldDescriptor& field,
                    std::string_view value) {
  if (field.cpp_type() != pbuf::FieldDescriptor::CPPTYPE_STRING) {
    return std::string(value);
  }
  std::string quoted = "\"";
  for (char c : value) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

absl::Status SetField(const pbuf::FieldDescriptor& field,
                      std::string_view value, std::string_view assignment,
                      pbuf::Message& holder) {
  holder.GetReflection()->ClearField(&holder, &field);
  while (true) {
    const size_t comma =
        field.is_repeated() ? value.find(',') : std::string_view::npos;
    const std::string line =
        field.name() + ": " + Literal(field, value.substr(0, comma));
    pbuf::TextFormat::Parser parser;
    FirstError errors("");
    parser.RecordErrorsTo(&errors);
    if (!parser.MergeFromString(line, &holder)) {
      return InvalidArgument(std::string(assignment) + ": '" +
                             std::string(value) + "' is no " +
                             field.cpp_type_name());
    }
    if (comma == std::string_view::npos) return absl::OkStatus();
    value.remove_prefix(comma + 1);
  }
}

}  // namespace

absl::Status ParseConfig(std::string_view text, const std::string& where,
                         pbuf::Message& config) {
  pbuf::TextFormat::Parser parser;
  FirstError errors(where);
  parser.RecordErrorsTo(&errors);
  if (parser.MergeFromString(std::string(text), &config)) {
    return absl::OkStatus();
  }
  return InvalidArgument(WithKnownFields(errors.text(), config));
}

bool IsOverride(std::string_view argument) {
  const size_t equals = argument.find('=');
  return equals != std::string_view::npos && equals > 0 &&
         !argument.starts_with("-") &&
         argument.substr(0, equals).find('/') == std::string_view::npos;
}

absl::Status ApplyOverride(std::string_view assignment, pbuf::Message& config) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos) {
    return InvalidArgument(std::string(assignment) +
                           ": expected key.path=value");
  }
  std::string_view path = assignment.substr(0, equals);
  pbuf::Message* holder = &config;
  while (true) {
    const size_t dot = path.find('.');
    const std::string key(path.substr(0, dot));
    const pbuf::Descriptor& type = *holder->GetDescriptor();
    const pbuf::FieldDescriptor* field = type.FindFieldByName(key);
    if (field == nullptr) {
      return InvalidArgument(std::string(assignment) + ": " +
                             losses::UnknownName("key", key, FieldNames(type)));
    }
    const bool message =
        field->cpp_type() == pbuf::FieldDescriptor::CPPTYPE_MESSAGE;
    const pbuf::Reflection& reflection = *holder->GetReflection();
    if (message == (dot == std::string_view::npos)) {
      return InvalidArgument(std::string(assignment) + ": '" + key +
                             (message ? "' is a group of keys; expected one of "
                                        "its keys after a dot"
                                      : "' has no keys below it"));
    }
    if (!message) {
      return SetField(*field, assignment.substr(equals + 1), assignment,
                      *holder);
    }
    if (!field->is_repeated()) {
      holder = reflection.MutableMessage(holder, field);
    } else if (const int count = reflection.FieldSize(*holder, field);
               count <= 1) {
      holder = count == 0 ? reflection.AddMessage(holder, field)
                          : reflection.MutableRepeatedMessage(holder, field, 0);
    } else {
      return InvalidArgument(std::string(assignment) + ": the config has " +
                             std::to_string(count) + " of '" + key +
                             "'; expected at most one to override");
    }
    path.remove_prefix(dot + 1);
  }
}

absl::Status LoadConfig(const std::string& path,
                        const std::vector<std::string>& overrides,
                        pbuf::Message& config) {
  ALIGN_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, 1 << 20));
  ALIGN_RETURN_IF_ERROR(ParseConfig(text, path, config));
  for (const std::string& assignment : overrides) {
    ALIGN_RETURN_IF_ERROR(ApplyOverride(assignment, config));
  }
  return absl::OkStatus();
}

std::string ConfigText(const pbuf::Message& config) {
  std::string text;
  pbuf::TextFormat::PrintToString(config, &text);
  return text;
}

}  // namespace align
