#include "samplers/logits_processors.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>

namespace align::samplers {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();
// Sorted blocks of the candidates grow from here while their mass is short.
constexpr size_t kFirstBlock = 64;

void BanRepeatedNgrams(size_t size, std::span<const int32_t> context,
                       std::span<double> logits) {
  if (size == 0 || context.size() < size) return;
  const std::span<const int32_t> last =
      context.subspan(context.size() - (size - 1));
  std::vector<int32_t> banned;
  for (size_t i = 0; i + size <= context.size(); ++i) {
    if (std::ranges::equal(last, context.subspan(i, size - 1))) {
      banned.push_back(context[i + size - 1]);
    }
  }
  std::ranges::sort(banned);
  banned.erase(std::unique(banned.begin(), banned.end()), banned.end());
  if (banned.size() == logits.size()) return;
  for (const int32_t id : banned) logits[id] = kNever;
}

// The tokens still in play. Exponentials are relative to the largest logit, so
// that none overflows.
class Candidates {
 public:
  explicit Candidates(std::span<const double> logits) : logits_(logits) {
    for (size_t i = 0; i < logits.size(); ++i) {
      if (!(logits[i] > kNever)) continue;  // nor NaN
      ids_.push_back(static_cast<int32_t>(i));
      largest_ = std::max(largest_, logits[i]);
    }
  }

  std::vector<int32_t> Take() {
    std::ranges::sort(ids_);
    return std::move(ids_);
  }

  void KeepTopK(size_t k) {
    if (k == 0 || k >= ids_.size()) return;
    const double least = Ranked(k);
    std::erase_if(ids_, [&](int32_t id) { return logits_[id] < least; });
  }

  void KeepTopP(double mass, size_t min_keep) {
    if (mass >= 1) return;
    KeepMass([this](int32_t id) { return -logits_[id]; }, mass, min_keep);
  }

  // Those whose exponential is at least `least`, and the `min_keep` largest.
  void KeepLikely(double least, size_t min_keep) {
    if (min_keep >= ids_.size()) return;
    const double safe = Ranked(min_keep);
    std::erase_if(ids_, [&](int32_t id) {
      return logits_[id] < safe && Exponential(id) < least;
    });
  }

  // Typical: an information near the distribution's entropy.
  void KeepTypical(double mass, size_t min_keep) {
    if (mass >= 1) return;
    const double log_sum = std::log(Mass()) + largest_;
    double entropy = 0;
    for (const int32_t id : ids_) {
      const double log_p = logits_[id] - log_sum;
      entropy -= std::exp(log_p) * log_p;
    }
    const auto key = [&](int32_t id) {
      return std::abs(log_sum - logits_[id] - entropy);
    };
    const double last = KeepMass(key, mass, min_keep);
    // KeepMass left the others behind what it kept.
    std::erase_if(rest_, [&](int32_t id) { return key(id) > last; });
    ids_.insert(ids_.end(), rest_.begin(), rest_.end());
  }

  double Mass() const {
    double sum = 0;
    for (const int32_t id : ids_) sum += Exponential(id);
    return sum;
  }

 private:
  double Exponential(int32_t id) const {
    return std::exp(logits_[id] - largest_);
  }

  // The k-th largest logit, 1 <= k <= candidates.
  double Ranked(size_t k) const {
    std::vector<double> values;
    for (const int32_t id : ids_) values.push_back(logits_[id]);
    const auto at = values.begin() + static_cast<int64_t>(k) - 1;
    std::nth_element(values.begin(), at, values.end(), std::greater<>());
    return *at;
  }

  // Keeps the fewest candidates of smallest key, ties to the lower id, that
  // hold `mass` of the probability, at least `min_keep`; the others go to
  // rest_. Returns the largest key kept. Sorts block by block: most
  // distributions end in the first.
  template <class Key>
  double KeepMass(const Key& key, double mass, size_t min_keep) {
    using Place = std::pair<double, int32_t>;
    std::vector<Place> places;
    for (const int32_t id : ids_) places.push_back({key(id), id});
    const double wanted = mass * Mass();
    double sum = 0;
    size_t kept = 0, block = kFirstBlock;
    const auto more = [&] {
      return kept < places.size() && (sum < wanted || kept < min_keep);
    };
    while (more()) {
      const auto begin = places.begin() + static_cast<int64_t>(kept);
      const size_t end = std::min(places.size(), kept + block);
      const auto stop = places.begin() + static_cast<int64_t>(end);
      if (end < places.size()) std::nth_element(begin, stop, places.end());
      std::sort(begin, stop);
      while (kept < end && more()) sum += Exponential(places[kept++].second);
      block *= 4;
    }
    ids_.clear();
    rest_.clear();
    for (size_t i = 0; i < places.size(); ++i) {
      (i < kept ? ids_ : rest_).push_back(places[i].second);
    }
    return kept == 0 ? 0 : places[kept - 1].first;
  }

  std::span<const double> logits_;
  std::vector<int32_t> ids_;
  std::vector<int32_t> rest_;  // what KeepMass dropped
  double largest_ = kNever;
};

}  // namespace

absl::Status CheckLogitsOptions(const LogitsOptions& options) {
  const auto check = [](const char* name, double value, bool ok,
                        const char* expected) {
    if (ok) return absl::OkStatus();
    return InvalidArgument("sampling: " + std::string(name) + " " +
                           std::to_string(value) + "; expected " + expected);
  };
  const auto share = [](double x) { return x > 0 && x <= 1; };
  const LogitsOptions& o = options;
  ALIGN_RETURN_IF_ERROR(
      check("repetition_penalty", o.repetition_penalty,
            o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty),
            "a number above 0"));
  for (const auto& [name, value] :
       {std::pair("no_repeat_ngram_size", o.no_repeat_ngram_size),
        std::pair("top_k", o.top_k)}) {
    ALIGN_RETURN_IF_ERROR(
        check(name, static_cast<double>(value), value >= 0, "0 or more"));
  }
  ALIGN_RETURN_IF_ERROR(
      check("top_p", o.top_p, share(o.top_p), "more than 0, at most 1"));
  ALIGN_RETURN_IF_ERROR(
      check("min_p", o.min_p, o.min_p >= 0 && o.min_p <= 1, "0 to 1"));
  ALIGN_RETURN_IF_ERROR(check("typical_p", o.typical_p, share(o.typical_p),
                              "more than 0, at most 1"));
  ALIGN_RETURN_IF_ERROR(check("epsilon_cutoff", o.epsilon_cutoff,
                              o.epsilon_cutoff >= 0 && o.epsilon_cutoff < 1,
                              "at least 0, less than 1"));
  return check("min_tokens_to_keep", static_cast<double>(o.min_tokens_to_keep),
               o.min_tokens_to_keep >= 1, "at least 1");
}

void RepeatTokensLess(const LogitsOptions& options,
                      std::span<const int32_t> context,
                      std::span<double> logits) {
  if (options.repetition_penalty != 1) {
    std::vector<int32_t> seen(context.begin(), context.end());
    std::ranges::sort(seen);
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    for (const int32_t id : seen) {
      logits[id] = logits[id] < 0 ? logits[id] * options.repetition_penalty
                                  : logits[id] / options.repetition_penalty;
    }
  }
  BanRepeatedNgrams(static_cast<size_t>(options.no_repeat_ngram_size), context,
                    logits);
}

std::vector<int32_t> KeptTokens(const LogitsOptions& options,
                                std::span<const double> logits) {
  Candidates candidates(logits);
  const auto min_keep = static_cast<size_t>(options.min_tokens_to_keep);
  candidates.KeepTopK(static_cast<size_t>(options.top_k));
  candidates.KeepTopP(options.top_p, min_keep);
  if (options.min_p > 0) candidates.KeepLikely(options.min_p, min_keep);
  candidates.KeepTypical(options.typical_p, min_keep);
  if (options.epsilon_cutoff > 0) {
    candidates.KeepLikely(options.epsilon_cutoff * candidates.Mass(), min_keep);
  }
  return candidates.Take();
}

}  // namespace align::samplers
