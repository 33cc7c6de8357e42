#include "align/kernels/transpose.h"

#include <gtest/gtest.h>

#include <vector>

namespace align::kernels {
namespace {

TEST(TransposeTest, SwapsRowsAndColumnsOfEveryShape) {
  for (const int64_t rows : {1, 7, 8, 33, 70, 96}) {
    for (const int64_t cols : {1, 5, 16, 129, 200}) {
      std::vector<float> m(rows * cols), t(rows * cols);
      std::vector<Bf16> m16(rows * cols), t16(rows * cols);
      for (int64_t i = 0; i < rows * cols; ++i) {
        m[i] = static_cast<float>(i);
        m16[i].bits = static_cast<uint16_t>(i);
      }
      Transpose(m.data(), rows, cols, t.data());
      Transpose(m16.data(), rows, cols, t16.data());
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < cols; ++j) {
          ASSERT_EQ(t[j * rows + i], m[i * cols + j]) << rows << "x" << cols;
          ASSERT_EQ(t16[j * rows + i].bits, m16[i * cols + j].bits);
        }
      }
    }
  }
}

TEST(TransposeTest, RowsLandInAWiderMatrixAndNowhereElse) {
  for (const int64_t rows : {1, 9, 32, 33}) {
    for (const int64_t cols : {3, 32, 100}) {
      const int64_t stride = rows + 5;
      std::vector<Bf16> m(rows * cols), t(cols * stride, Bf16{7});
      for (int64_t i = 0; i < rows * cols; ++i) {
        m[i].bits = static_cast<uint16_t>(i + 8);
      }
      TransposeRows(m.data(), rows, cols, t.data(), stride);
      for (int64_t j = 0; j < cols; ++j) {
        for (int64_t i = 0; i < stride; ++i) {
          ASSERT_EQ(t[j * stride + i].bits, i < rows ? m[i * cols + j].bits : 7)
              << rows << "x" << cols;
        }
      }
    }
  }
}

}  // namespace
}  // namespace align::kernels
