#include <gtest/gtest.h>
#include <simdjson.h>

#include <string>
#include <vector>

#include "align/models/model.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

TEST(StoriesTest, LastLogitsEqualTheReference) {
  const std::string directory =
      std::string(ALIGN_SHARED_DIR) + "/models/stories260k";
  const auto model = LoadModel(directory);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->params().parameter_count(), 260032);
  simdjson::dom::parser parser;
  const NoGrad no_grad;
  for (simdjson::dom::element text :
       parser.load(directory + "/reference_logits.json").get_array()) {
    std::vector<int32_t> ids;
    for (int64_t id : text["ids"].get_array()) ids.push_back(id);
    Segments segments;
    segments.Append(static_cast<int64_t>(ids.size()));
    const Tensor hidden = (*model)->Hidden(ids, segments);
    const HeadLogits head = ComputeHeadLogits(hidden, (*model)->Head(), 1);
    const float* last =
        head.logits.data() + (hidden.dim(0) - 1) * head.logits.dim(1);
    int64_t i = 0;
    for (double expected : text["logits_last"].get_array()) {
      ASSERT_NEAR(last[i], expected, 2e-5) << i;
      ++i;
    }
    EXPECT_EQ(i, head.logits.dim(1));
  }
}

}  // namespace
}  // namespace align
