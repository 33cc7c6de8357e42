#include "align/dnnl/onednn.h"

#include "align/base/check.h"

namespace align::onednn {
namespace {

// oneDNN takes inputs as void*; it does not write to them.
dnnl::memory Bind(const dnnl::memory::desc& desc, const void* data) {
  return dnnl::memory(desc, CpuEngine(), const_cast<void*>(data));
}

dnnl::stream& ThreadStream() {
  thread_local dnnl::stream stream(CpuEngine());
  return stream;
}

}  // namespace

dnnl::engine& CpuEngine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory::data_type TypeOf(Precision precision) {
  return precision == Precision::kBf16 ? dnnl::memory::data_type::bf16
                                       : dnnl::memory::data_type::f32;
}

dnnl::memory::desc Strided(const MatrixView& m) {
  return dnnl::memory::desc({m.rows, m.cols}, dnnl::memory::data_type::f32,
                            dnnl::memory::dims{m.row_stride, m.col_stride});
}

dnnl::memory::desc Dense(int64_t rows, int64_t cols,
                         dnnl::memory::data_type type) {
  return dnnl::memory::desc({rows, cols}, type, dnnl::memory::dims{cols, 1});
}

dnnl::matmul::primitive_desc DescribeProduct(const dnnl::memory::desc& a,
                                             const dnnl::memory::desc& b,
                                             const dnnl::memory::desc& c,
                                             bool accumulate) {
  dnnl::primitive_attr attr;
  if (accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attr.set_post_ops(sum);
  }
#if DNNL_VERSION_MAJOR >= 3
  return dnnl::matmul::primitive_desc(CpuEngine(), a, b, c, attr);
#else
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), attr,
                                      CpuEngine());
#endif
}

void RunProduct(const dnnl::matmul& product, const dnnl::memory::desc& a_desc,
                const void* a, const dnnl::memory::desc& b_desc, const void* b,
                const dnnl::memory::desc& c_desc, float* c) try {
  product.execute(ThreadStream(), {{DNNL_ARG_SRC, Bind(a_desc, a)},
                                   {DNNL_ARG_WEIGHTS, Bind(b_desc, b)},
                                   {DNNL_ARG_DST, Bind(c_desc, c)}});
  ThreadStream().wait();
} catch (const dnnl::error& error) {
  ALIGN_CHECK(false) << "[Matmul] oneDNN " << error.what();
}

void RunReorder(const dnnl::memory::desc& from_desc, const void* from,
                const dnnl::memory::desc& to_desc, void* to) try {
  const dnnl::reorder reorder(dnnl::reorder::primitive_desc(
      CpuEngine(), from_desc, CpuEngine(), to_desc));
  reorder.execute(ThreadStream(), {{DNNL_ARG_FROM, Bind(from_desc, from)},
                                   {DNNL_ARG_TO, Bind(to_desc, to)}});
  ThreadStream().wait();
} catch (const dnnl::error& error) {
  ALIGN_CHECK(false) << "[Matmul] oneDNN " << error.what();
}

}  // namespace align::onednn
