#include "model/files/file_kind.h"

#include <string_view>

namespace phidias {

using namespace std::string_view_literals;

FileKind DetectFileKind(std::span<const std::byte> head) {
  const std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  if (text.starts_with("PK\x03\x04"sv) || text.starts_with("PK\x05\x06"sv)) {
    return FileKind::kZip;
  }
  if (text.starts_with("GGUF"sv)) {
    return FileKind::kGguf;
  }
  // torch.save before 1.6 begins with a pickle of its magic number.
  if (text.starts_with("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"sv)) {
    return FileKind::kLegacyTorch;
  }
  if (text.starts_with("version https://git-lfs"sv)) {
    return FileKind::kLfsPointer;
  }
  if (text.starts_with("PAR1"sv)) {
    return FileKind::kParquet;
  }
  if (text.starts_with("<!DOCTYPE"sv) || text.starts_with("<!doctype"sv) || text.starts_with("<html"sv)) {
    return FileKind::kHtml;
  }
  if (text.starts_with("\x1f\x8b"sv)) {
    return FileKind::kGzip;
  }
  return FileKind::kUnknown;
}

std::string ForeignFileAdvice(FileKind kind) {
  switch (kind) {
    case FileKind::kLfsPointer:
      return "is a Git LFS pointer, not the file itself; run `git lfs pull` in the checkpoint's directory";
    case FileKind::kLegacyTorch:
      return "is in torch.save's format from before PyTorch 1.6; load it with torch.load in PyTorch and write it again "
             "with "
             "torch.save, or better with safetensors.torch.save_file";
    case FileKind::kParquet: return "is a Parquet file; a checkpoint is safetensors, pytorch_model.bin or GGUF";
    case FileKind::kHtml:
      return "is an HTML page, probably an error page saved by a failed download; download it again";
    case FileKind::kGzip: return "is gzip-compressed; unpack it with gunzip first";
    case FileKind::kZip:
    case FileKind::kGguf:
    case FileKind::kUnknown: break;
  }
  return {};
}

}  // namespace phidias
