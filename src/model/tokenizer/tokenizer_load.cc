#include <algorithm>

#include "common/file.h"
#include "common/mapped_file.h"
#include "model/files/file_kind.h"
#include "model/files/gguf.h"
#include "model/tokenizer/gguf_tokenizer.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/tokenizer_files.h"

namespace phidias {
namespace {

Result<TokenizerParts> ReadDirectory(const std::string& directory) {
  RETURN_IF_ERROR(CheckTokenizerConfig(directory));
  if (const std::string path = directory + "/tokenizer.json"; FileExists(path)) {
    return ReadTokenizerJson(path);
  }
  const bool vocab = FileExists(directory + "/vocab.json");
  const bool merges = FileExists(directory + "/merges.txt");
  if (vocab && merges) {
    return ReadVocabAndMerges(directory);
  }
  if (vocab || merges) {
    return NotFound(directory, ": there is ", vocab ? "vocab.json but no merges.txt" : "merges.txt but no vocab.json",
                    "; a tokenizer needs both, or a tokenizer.json");
  }
  return NotFound(directory, ": no tokenizer here; tokenizer.json, or vocab.json and merges.txt, is expected");
}

Result<TokenizerParts> ReadFileOfSomeKind(const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  const auto bytes = file->bytes();
  if (DetectFileKind(bytes.first(std::min<size_t>(bytes.size(), 64))) != FileKind::kGguf) {
    return ReadTokenizerJson(path);
  }
  ASSIGN_OR_RETURN(const GgufFile gguf, ReadGguf(path));
  return GgufTokenizerParts(gguf);
}

}  // namespace

Result<Tokenizer> Tokenizer::Load(const std::string& path) {
  ASSIGN_OR_RETURN(TokenizerParts parts, IsDirectory(path) ? ReadDirectory(path) : ReadFileOfSomeKind(path));
  return FromParts(std::move(parts));
}

}  // namespace phidias
