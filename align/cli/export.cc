#include "align/cli/export.h"

#include <cstdio>

#include "align/config/export_job.h"
#include "align/models/gguf_writer.h"
#include "align/models/model.h"

namespace align::cli {
namespace {

absl::Status ExportDirectory(const std::string& from, const std::string& to,
                             const std::string& dtype) {
  const auto format = ParseWeightFormat(dtype);
  if (!format.ok()) return Annotate(format.status(), "--dtype");
  ALIGN_ASSIGN_OR_RETURN(const auto model, LoadModel(from));
  return SaveModel(*model, to, /*tokenizer_directory=*/from, *format);
}

}  // namespace

absl::Status ExportCommand(const Arguments& arguments) {
  ALIGN_RETURN_IF_ERROR(ExpectPositional(arguments, 1, kExportUsage));
  if (!arguments.Has("out")) {
    return InvalidArgument(std::string("--out is missing. Usage: ") +
                           kExportUsage);
  }
  const std::string& from = arguments.positional[0];
  const std::string out = arguments.Get("out", "");
  const std::string format = arguments.Get("format", "gguf");
  const std::string dtype = arguments.Get("dtype", "f16");
  if (format == "safetensors") {
    ALIGN_RETURN_IF_ERROR(ExportDirectory(from, out, dtype));
  } else if (format == "gguf") {
    const auto type = ParseGgufType(dtype);
    if (!type.ok()) return Annotate(type.status(), "--dtype");
    ALIGN_RETURN_IF_ERROR(ExportGguf(from, out, *type));
  } else {
    return InvalidArgument("--format " + format +
                           ": gguf or safetensors expected");
  }
  std::printf("%s\n", out.c_str());
  return absl::OkStatus();
}

}  // namespace align::cli
