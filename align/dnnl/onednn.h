#pragma once

// Private to align/dnnl: what its files share of oneDNN, the same for 2.x and
// 3.x.

#include <cstdint>
#include <oneapi/dnnl/dnnl.hpp>

#include "align/base/precision.h"
#include "align/dnnl/matmul.h"

namespace align::onednn {

dnnl::engine& CpuEngine();

dnnl::memory::data_type TypeOf(Precision precision);

// A strided f32 matrix, and a dense row-major one of `type`.
dnnl::memory::desc Strided(const MatrixView& m);
dnnl::memory::desc Dense(int64_t rows, int64_t cols,
                         dnnl::memory::data_type type);

// C = A B, or C += A B.
dnnl::matmul::primitive_desc DescribeProduct(const dnnl::memory::desc& a,
                                             const dnnl::memory::desc& b,
                                             const dnnl::memory::desc& c,
                                             bool accumulate);

// Runs a product of these operands and waits; aborts on oneDNN's errors, since
// a loop body that throws would end the program without a word.
void RunProduct(const dnnl::matmul& product, const dnnl::memory::desc& a_desc,
                const void* a, const dnnl::memory::desc& b_desc, const void* b,
                const dnnl::memory::desc& c_desc, float* c);

// Copies between layouts and types.
void RunReorder(const dnnl::memory::desc& from_desc, const void* from,
                const dnnl::memory::desc& to_desc, void* to);

}  // namespace align::onednn
