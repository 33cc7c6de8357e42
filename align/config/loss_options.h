#pragma once

#include "losses/registry_entry.h"
#include "proto/config.pb.h"

namespace align {

// The options of a loss or an advantage as its registry takes them.
inline losses::OptionValues ValuesOf(
    const google::protobuf::RepeatedPtrField<pb::LossOption>& options) {
  losses::OptionValues values;
  for (const pb::LossOption& option : options) {
    values.emplace_back(option.name(), option.value());
  }
  return values;
}

}  // namespace align
