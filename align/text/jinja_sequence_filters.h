#pragma once

// Internal to align/text: the filters of Jinja templates that work on lists.

#include "align/base/status.h"
#include "align/text/jinja_call.h"

namespace align::jinja_filters {

using Result = absl::StatusOr<JinjaValue>;

Result First(const JinjaCall& call);
Result Last(const JinjaCall& call);
Result List(const JinjaCall& call);
Result Items(const JinjaCall& call);
Result Join(const JinjaCall& call);
Result Reverse(const JinjaCall& call);
Result Sort(const JinjaCall& call);
Result DictSort(const JinjaCall& call);
Result Unique(const JinjaCall& call);
Result Extreme(const JinjaCall& call);  // min, max
Result Sum(const JinjaCall& call);
Result Map(const JinjaCall& call);
Result Select(const JinjaCall& call);      // select, reject
Result SelectAttr(const JinjaCall& call);  // selectattr, rejectattr
Result GroupBy(const JinjaCall& call);
Result Batch(const JinjaCall& call);

}  // namespace align::jinja_filters
