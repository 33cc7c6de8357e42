#pragma once

// What registries of losses share: options set by name, with errors that list
// what is known.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "losses/options.h"

namespace align::losses {

// Option name and value as text, in the order given.
using OptionValues = std::vector<std::pair<std::string, std::string>>;

// Candidates close to `name` (at most 2 edits, or one contains the other), for
// "did you mean".
inline std::vector<std::string> NearMisses(
    const std::string& name, const std::vector<std::string>& candidates) {
  std::vector<std::string> near;
  for (const std::string& other : candidates) {
    std::vector<size_t> row(other.size() + 1);
    for (size_t j = 0; j <= other.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= name.size(); ++i) {
      size_t diagonal = row[0]++;
      for (size_t j = 1; j <= other.size(); ++j) {
        const size_t replaced = diagonal + (name[i - 1] != other[j - 1]);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
      }
    }
    const bool contained =
        !name.empty() && (other.find(name) != std::string::npos ||
                          name.find(other) != std::string::npos);
    if (row.back() <= 2 || contained) near.push_back(other);
  }
  return near;
}

// "KIND 'NAME' is unknown; did you mean A? Known: A, B".
inline std::string UnknownName(const std::string& kind, const std::string& name,
                               const std::vector<std::string>& known) {
  std::string text = kind + " '" + name + "' is unknown";
  const std::vector<std::string> near = NearMisses(name, known);
  if (known.empty()) return text + "; there are none";
  text += near.empty() ? "." : "; did you mean '" + near.front() + "'?";
  text += " Known:";
  for (size_t i = 0; i < known.size(); ++i) {
    text += (i == 0 ? " " : ", ") + known[i];
  }
  return text;
}

// Sets options by name; returns an error text, empty if all were taken. `kind`
// is what `name` names: "loss".
inline std::string SetOptions(const std::string& kind, const std::string& name,
                              const OptionList& list,
                              const OptionValues& values) {
  const std::string where = kind + " " + name + ": ";
  std::vector<std::string> known;
  for (const Option& option : list.options()) known.push_back(option.name);
  for (const auto& [key, text] : values) {
    const auto it = std::find(known.begin(), known.end(), key);
    if (it == known.end()) return UnknownName(where + "option", key, known);
    const Option& option = list.options()[it - known.begin()];
    if (!option.set(text)) {
      return where + key + " = " + text + "; expected " + option.allowed;
    }
  }
  return "";
}
inline std::string SetOptions(const std::string& loss, const OptionList& list,
                              const OptionValues& values) {
  return SetOptions("loss", loss, list, values);
}

// The options of a list whose struct is about to go, for listing alone: the
// setters, which point into it, are taken away.
inline std::vector<Option> WithoutSetters(const OptionList& list) {
  std::vector<Option> out = list.options();
  for (Option& option : out) option.set = nullptr;
  return out;
}

// The options that a struct describes, for listing.
template <typename Options>
std::vector<Option> ListOptions() {
  Options options;
  OptionList list;
  options.Describe(list);
  return WithoutSetters(list);
}

}  // namespace align::losses
