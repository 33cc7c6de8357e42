#include "align/models/config_fields.h"

#include <simdjson.h>

#include <functional>

namespace align {
namespace {

constexpr size_t kMaxIds = 1024;
constexpr size_t kMaxTexts = 4096;

struct NamedActivation {
  std::string_view name;
  Activation activation;
};

// The first name of each is the one that is written. gelu_new and gelu_fast
// are the tanh form with its constant spelled differently.
constexpr NamedActivation kActivations[] = {
    {"silu", Activation::kSilu},
    {"swish", Activation::kSilu},
    {"gelu", Activation::kGelu},
    {"gelu_pytorch_tanh", Activation::kGeluTanh},
    {"gelu_new", Activation::kGeluTanh},
    {"gelu_fast", Activation::kGeluTanh},
};

template <typename T>
absl::Status Read(const ConfigFields& fields, const char* key,
                  const char* expected, T& value) {
  if (!fields.Has(key)) return absl::OkStatus();
  T read;
  if (fields.object()[key].get(read) != simdjson::SUCCESS) {
    return fields.Wrong(key, expected);
  }
  value = read;
  return absl::OkStatus();
}

}  // namespace

bool ConfigFields::Has(const char* key) const {
  asked_.emplace(key);
  simdjson::dom::element value;
  return object_[key].get(value) == simdjson::SUCCESS && !value.is_null();
}

bool ConfigFields::IsNull(const char* key) const {
  simdjson::dom::element value;
  return object_[key].get(value) == simdjson::SUCCESS && value.is_null();
}

absl::Status ConfigFields::Int(const char* key, int64_t& value) const {
  return Read(*this, key, "an integer", value);
}

absl::Status ConfigFields::Number(const char* key, double& value) const {
  return Read(*this, key, "a number", value);
}

absl::Status ConfigFields::Bool(const char* key, bool& value) const {
  return Read(*this, key, "true or false", value);
}

absl::Status ConfigFields::Text(const char* key, std::string& value) const {
  std::string_view text = value;
  ALIGN_RETURN_IF_ERROR(Read(*this, key, "a string", text));
  value = std::string(text);
  return absl::OkStatus();
}

absl::Status ConfigFields::Texts(const char* key,
                                 std::vector<std::string>& values) const {
  simdjson::dom::array list;
  if (!Has(key)) return absl::OkStatus();
  ALIGN_RETURN_IF_ERROR(Read(*this, key, "a list of strings", list));
  values.clear();
  for (const simdjson::dom::element element : list) {
    std::string_view text;
    if (element.get(text) != simdjson::SUCCESS || values.size() == kMaxTexts) {
      return Wrong(key, "a list of strings");
    }
    values.emplace_back(text);
  }
  return absl::OkStatus();
}

absl::Status ConfigFields::Required(const char* key, int64_t& value) const {
  if (!Has(key)) return Wrong(key, "an integer");
  return Int(key, value);
}

absl::Status ConfigFields::Id(const char* key,
                              std::optional<int32_t>& id) const {
  if (IsNull(key)) id.reset();
  if (!Has(key)) return absl::OkStatus();
  int64_t value = 0;
  if (object_[key].get(value) != simdjson::SUCCESS || value < -1 ||
      value > INT32_MAX) {
    return Wrong(key, "a token id");
  }
  id.reset();
  if (value >= 0) id = static_cast<int32_t>(value);
  return absl::OkStatus();
}

absl::Status ConfigFields::Ids(const char* key,
                               std::vector<int32_t>& ids) const {
  if (IsNull(key)) ids.clear();
  if (!Has(key)) return absl::OkStatus();
  ids.clear();
  simdjson::dom::array list;
  if (object_[key].get(list) != simdjson::SUCCESS) {
    std::optional<int32_t> id;
    ALIGN_RETURN_IF_ERROR(Id(key, id));
    if (id) ids.push_back(*id);
    return absl::OkStatus();
  }
  for (const simdjson::dom::element element : list) {
    int64_t id = 0;
    if (element.get(id) != simdjson::SUCCESS || id < 0 || id > INT32_MAX ||
        ids.size() == kMaxIds) {
      return Wrong(key, "a token id or a list of at most 1024");
    }
    ids.push_back(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

absl::Status ConfigFields::ReadActivation(const char* key,
                                          Activation& activation) const {
  std::string name(ActivationName(activation));
  ALIGN_RETURN_IF_ERROR(Text(key, name));
  std::string known;
  for (const NamedActivation& entry : kActivations) {
    if (entry.name == name) {
      activation = entry.activation;
      return absl::OkStatus();
    }
    known.append(known.empty() ? "" : ", ").append(entry.name);
  }
  return Unsupported(key, name, "one of " + known);
}

absl::Status ConfigFields::Only(const char* key, bool supported) const {
  bool value = supported;
  ALIGN_RETURN_IF_ERROR(Bool(key, value));
  if (value == supported) return absl::OkStatus();
  return Unsupported(key, value ? "true" : "false",
                     supported ? "true" : "false");
}

absl::Status ConfigFields::Only(const char* key,
                                const std::string& supported) const {
  std::string value = supported;
  ALIGN_RETURN_IF_ERROR(Text(key, value));
  if (value == supported) return absl::OkStatus();
  return Unsupported(key, value, supported);
}

absl::Status ConfigFields::Wrong(const char* key,
                                 const std::string& expected) const {
  return InvalidArgument(where_ + ": " + key + ": " + expected + " expected");
}

absl::Status ConfigFields::Unsupported(const char* key, std::string_view value,
                                       const std::string& expected) const {
  return Unimplemented(where_ + ": " + key + " " +
                       std::string(value.substr(0, 128)) +
                       " is not supported; " + expected + " expected");
}

std::vector<std::string> ConfigFields::Unread() const {
  std::vector<std::string> unread;
  for (const auto& [key, value] : object_) {
    if (!asked_.contains(key)) unread.emplace_back(key.substr(0, 128));
  }
  return unread;
}

std::string_view ActivationName(Activation activation) {
  for (const NamedActivation& entry : kActivations) {
    if (entry.activation == activation) return entry.name;
  }
  return "";
}

}  // namespace align
