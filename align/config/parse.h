#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"

namespace google::protobuf {
class Message;
}  // namespace google::protobuf

namespace align {

// Reads protobuf text format into `config`. kInvalidArgument says
// "where:line:column: what", with the near misses of an unknown key.
absl::Status ParseConfig(std::string_view text, const std::string& where,
                         google::protobuf::Message& config);

// Sets one scalar: "optimizer.learning_rate=1e-4". Strings need no quotes; a
// repeated field takes values separated by commas, which replace what it had.
// kInvalidArgument names the part of the path that does not exist, or the value
// and the type it should have.
absl::Status ApplyOverride(std::string_view assignment,
                           google::protobuf::Message& config);

// Whether an argument looks like an override: key.path=value.
bool IsOverride(std::string_view argument);

// The file at `path`, then the overrides in order.
absl::Status LoadConfig(const std::string& path,
                        const std::vector<std::string>& overrides,
                        google::protobuf::Message& config);

// The config as text format.
std::string ConfigText(const google::protobuf::Message& config);

}  // namespace align
