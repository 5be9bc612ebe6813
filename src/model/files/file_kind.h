#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace phidias {

// Files that people put where a checkpoint belongs, by their first bytes.
enum class FileKind { kUnknown, kZip, kGguf, kLegacyTorch, kLfsPointer, kParquet, kHtml, kGzip };

FileKind DetectFileKind(std::span<const std::byte> head);

// For kinds that are never a checkpoint: what the file is and the way out ("is a Git LFS pointer, not the file itself;
// run `git lfs pull` ..."). Empty for the others.
std::string ForeignFileAdvice(FileKind kind);

}  // namespace phidias
