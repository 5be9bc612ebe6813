#include "engine/loaded_model.h"

#include <algorithm>
#include <utility>

#include "backend/fpga/fallback_backend.h"
#include "backend/fpga/tiled_backend.h"
#include "common/file.h"
#include "common/mapped_file.h"
#include "common/memory_info.h"
#include "model/files/file_kind.h"

namespace phidias {
namespace {

std::string DirectoryOf(const std::string& path) {
  if (IsDirectory(path)) {
    return path;
  }
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
}

bool IsGguf(const std::string& path) {
  const auto file = MappedFile::Open(path);
  if (!file.ok()) {
    return false;
  }
  const auto bytes = (*file)->bytes();
  return DetectFileKind(bytes.first(std::min<size_t>(bytes.size(), 64))) == FileKind::kGguf;
}

// The card's back end for the design's own arithmetic.
Result<std::unique_ptr<fpga::CardBackend>> CreateDesignBackend(const Checkpoint& checkpoint,
                                                               const LoadOptions& options) {
  const ModelShape shape = ShapeOf(checkpoint.config);
  const CardRequest& request = *options.card;
  const std::string& design = request.options.design;
  const bool tiled = design == fpga::kTiledDesignName;
  if (tiled != (options.arithmetic == Arithmetic::kInteger)) {
    return InvalidArgument("--arith ", tiled ? "float" : "integer", ": the card's design ", Quoted(design), " has the ",
                           tiled ? "integer" : "float", " arithmetic; use --arith ", tiled ? "integer" : "float",
                           ", or --device cpu");
  }
  if (!tiled) {
    return fpga::CreateFpgaBackend(shape, request.options, request.open);
  }
  RETURN_IF_ERROR(CheckIntegerConstants(checkpoint));
  return fpga::CreateTiledBackend(shape, request.options, *checkpoint.integer, request.open);
}

// The card's back end; behind it the CPU's, if asked for.
Result<std::unique_ptr<fpga::CardBackend>> CreateCardBackend(const Checkpoint& checkpoint, const LoadOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<fpga::CardBackend> card, CreateDesignBackend(checkpoint, options));
  if (!options.card->fallback) {
    return card;
  }
  const auto on_cpu = [shape = ShapeOf(checkpoint.config), cpu = options.cpu, arithmetic = options.arithmetic,
                       integer = checkpoint.integer]() -> Result<std::unique_ptr<Backend>> {
    return arithmetic == Arithmetic::kInteger ? CreateIntegerCpuBackend(shape, cpu, *integer)
                                              : CreateCpuBackend(shape, cpu);
  };
  return fpga::CreateFallbackBackend(std::move(card), on_cpu, options.card->options.notice);
}

// Any of them: a file by `quantize --bits-auto` keeps some layers at 8 bits.
bool HasInt4(const PhiWeights& weights) {
  const auto is_int4 = [](const LinearWeights& linear) { return linear.weight.dtype == DType::kI4; };
  return std::any_of(weights.layers.begin(), weights.layers.end(), [&](const PhiLayerWeights& layer) {
    return is_int4(layer.q_proj) || is_int4(layer.k_proj) || is_int4(layer.v_proj) || is_int4(layer.dense) ||
           is_int4(layer.fc1) || is_int4(layer.fc2);
  });
}

}  // namespace

Status CheckIntegerConstants(const Checkpoint& checkpoint) {
  return checkpoint.integer.has_value()
             ? Status()
             : NotFound(checkpoint.path,
                        ": has no phidias_integer.json, the constants of the integer arithmetic; make them with "
                        "`phidias quantize --arith integer`, or run with --arith float");
}

Result<LoadedModel> LoadModel(const LoadOptions& options) {
  LoadedModel model;
  ASSIGN_OR_RETURN(Checkpoint checkpoint, OpenCheckpoint(options.path));
  model.checkpoint = std::make_shared<const Checkpoint>(std::move(checkpoint));
  const PhiConfig& config = model.checkpoint->config;
  if (options.need_tokenizer) {
    ASSIGN_OR_RETURN(Tokenizer tokenizer, LoadTokenizer(*model.checkpoint));
    model.tokenizer = std::make_unique<Tokenizer>(std::move(tokenizer));
    if (model.tokenizer->size() > config.vocab_size) {
      return DataError(options.path, ": the tokenizer has ids up to ", model.tokenizer->size() - 1, ", the model only ",
                       config.vocab_size, " rows (vocab_size): they don't belong together");
    }
  }
  std::unique_ptr<Backend> backend;
  if (options.card.has_value()) {
    ASSIGN_OR_RETURN(std::unique_ptr<fpga::CardBackend> card, CreateCardBackend(*model.checkpoint, options));
    model.card = card.get();
    backend = std::move(card);
  } else {
    ASSIGN_OR_RETURN(WeightLoadChoice choice, ChooseWeightPlace(options.load, model.checkpoint->store.files,
                                                                AvailableMemory(), HasInt4(model.checkpoint->weights)));
    model.load_note = std::move(choice.note);
    CpuOptions cpu = options.cpu;
    cpu.weights = choice.place;
    ASSIGN_OR_RETURN(backend, CreateBackend(*model.checkpoint, cpu, options.arithmetic));
  }
  ASSIGN_OR_RETURN(model.phi, Phi::Create(model.checkpoint, std::move(backend)));
  return model;
}

std::vector<int32_t> EosTokenIds(const LoadedModel& model) {
  std::vector<int32_t> ids = model.checkpoint->config.eos_token_ids;
  const int32_t end_of_text = model.tokenizer->IdOf("<|endoftext|>");
  if (ids.empty() && end_of_text >= 0) {
    ids.push_back(end_of_text);
  }
  return ids;
}

Result<std::unique_ptr<Backend>> CreateBackend(const Checkpoint& checkpoint, const CpuOptions& cpu,
                                               Arithmetic arithmetic) {
  const ModelShape shape = ShapeOf(checkpoint.config);
  if (arithmetic == Arithmetic::kFloat) {
    return CreateCpuBackend(shape, cpu);
  }
  RETURN_IF_ERROR(CheckIntegerConstants(checkpoint));
  return CreateIntegerCpuBackend(shape, cpu, *checkpoint.integer);
}

Result<Tokenizer> LoadTokenizer(const Checkpoint& checkpoint) {
  if (checkpoint.config.naming == TensorNaming::kGguf) {
    return Tokenizer::Load(checkpoint.store.files.front()->path());
  }
  return Tokenizer::Load(DirectoryOf(checkpoint.path));
}

Result<Tokenizer> LoadTokenizer(const std::string& path) {
  if (IsDirectory(path)) {
    Result<Tokenizer> tokenizer = Tokenizer::Load(path);
    if (tokenizer.ok() || tokenizer.status().code() != StatusCode::kNotFound) {
      return tokenizer;
    }
    // A directory whose one GGUF file is the model holds no tokenizer files; if it is no model, the first error stands.
    const Result<Checkpoint> checkpoint = OpenCheckpoint(path);
    return checkpoint.ok() && checkpoint->config.naming == TensorNaming::kGguf ? LoadTokenizer(*checkpoint)
                                                                               : std::move(tokenizer);
  }
  return Tokenizer::Load(path.ends_with(".json") || IsGguf(path) ? path : DirectoryOf(path));
}

}  // namespace phidias
