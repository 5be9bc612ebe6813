#include "engine/loaded_model.h"

#include <utility>

#include "common/file.h"

namespace phidias {
namespace {

// Tokenizer files lie in the checkpoint's directory; a GGUF file holds its own.
std::string TokenizerPath(const std::string& model_path) {
  if (IsDirectory(model_path) || model_path.ends_with(".gguf")) {
    return model_path;
  }
  const size_t slash = model_path.rfind('/');
  return slash == std::string::npos ? "." : model_path.substr(0, slash);
}

}  // namespace

Result<LoadedModel> LoadModel(const LoadOptions& options) {
  LoadedModel model;
  ASSIGN_OR_RETURN(Checkpoint checkpoint, OpenCheckpoint(options.path));
  model.checkpoint = std::make_shared<const Checkpoint>(std::move(checkpoint));
  const PhiConfig& config = model.checkpoint->config;
  if (options.need_tokenizer) {
    std::string path = TokenizerPath(options.path);
    if (path == options.path && config.naming == TensorNaming::kGguf) {
      path = model.checkpoint->store.files.front()->path();  // a directory whose one GGUF file was taken
    }
    ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Load(path));
    model.tokenizer = std::make_unique<Tokenizer>(std::move(tokenizer));
    if (model.tokenizer->size() > config.vocab_size) {
      return DataError(path, ": the tokenizer has ids up to ", model.tokenizer->size() - 1, ", the model only ",
                       config.vocab_size, " rows (vocab_size): they don't belong together");
    }
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, CreateCpuBackend(ShapeOf(config), options.cpu));
  ASSIGN_OR_RETURN(model.phi, Phi::Create(model.checkpoint, std::move(backend)));
  return model;
}

}  // namespace phidias
