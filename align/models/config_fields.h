#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "align/base/status.h"
#include "align/ops/ops.h"

namespace simdjson::dom {
class object;
}

namespace align {

// The fields of config.json, with messages that name them. A field that is
// absent leaves its default in place. Remembers which were asked for. `object`
// must outlive this.
class ConfigFields {
 public:
  ConfigFields(const simdjson::dom::object& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  // Absent and null are the same to transformers for most fields.
  bool Has(const char* key) const;
  bool IsNull(const char* key) const;

  absl::Status Int(const char* key, int64_t& value) const;
  absl::Status Number(const char* key, double& value) const;
  absl::Status Bool(const char* key, bool& value) const;
  absl::Status Text(const char* key, std::string& value) const;
  absl::Status Texts(const char* key, std::vector<std::string>& values) const;
  // An integer that must be there.
  absl::Status Required(const char* key, int64_t& value) const;
  // A token id; null, and -1 as early Llama files spelled it, is none.
  absl::Status Id(const char* key, std::optional<int32_t>& id) const;
  // One id or a list of them.
  absl::Status Ids(const char* key, std::vector<int32_t>& ids) const;
  // The name of an activation function in transformers' ACT2FN;
  // kUnimplemented for those that ops.h does not have.
  absl::Status ReadActivation(const char* key, Activation& activation) const;

  // kUnimplemented unless the field is absent, null or `supported`.
  absl::Status Only(const char* key, bool supported) const;
  absl::Status Only(const char* key, const std::string& supported) const;

  // kInvalidArgument "where: key: ... expected".
  absl::Status Wrong(const char* key, const std::string& expected) const;
  // kUnimplemented "where: key VALUE is not supported; ... expected".
  absl::Status Unsupported(const char* key, std::string_view value,
                           const std::string& expected) const;

  // Names of fields that nobody asked for.
  std::vector<std::string> Unread() const;

  const simdjson::dom::object& object() const { return object_; }
  const std::string& where() const { return where_; }

 private:
  const simdjson::dom::object& object_;
  std::string where_;
  mutable std::set<std::string, std::less<>> asked_;
};

// As transformers spells it: "silu", "gelu", "gelu_pytorch_tanh".
std::string_view ActivationName(Activation activation);

}  // namespace align
