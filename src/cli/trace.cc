// phidias trace: every activation of a forward pass.

#include <unistd.h>

#include <limits>
#include <map>

#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/model_option.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "common/file.h"
#include "engine/loaded_model.h"
#include "model/files/safetensors_writer.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias trace [OPTIONS] [MODEL] --ids IDS|--text TEXT -o FILE";
constexpr const char* kExamples =
    "Writes a safetensors file: input_ids, and every named activation of one forward pass as F32 [tokens, columns], "
    "under\n"
    "the module paths of Hugging Face's PhiForCausalLM (layers.0.self_attn.q_proj.out, ..., logits).\n"
    "\n"
    "Examples:\n"
    "  phidias trace phi-2 --ids 1,2,3 -o trace.safetensors\n"
    "  phidias trace -m phi-2 --text \"Hello\" --one-at-a-time -o trace.safetensors\n";

struct TraceFlags {
  ModelOption model;
  std::optional<std::string> ids;
  std::optional<std::string> text;
  std::optional<std::string> output;
  bool one_at_a_time = false;
  CpuOptions cpu;
  Arithmetic arithmetic = Arithmetic::kFloat;
  WeightLoad load = WeightLoad::kAuto;
};

void AddFlags(CLI::App& app, TraceFlags* flags) {
  AddModelOption(app, &flags->model);
  CLI::Option* const ids =
      AddText(app, "--ids", &flags->ids, "token ids (1,2,3 or [1, 2, 3]); needs no tokenizer")->type_name("IDS");
  AddText(app, "--text", &flags->text, "text instead of ids")->excludes(ids);
  AddText(app, "-o,--output", &flags->output, "the file to write; it appears when it is complete")->type_name("FILE");
  app.add_flag("--one-at-a-time", flags->one_at_a_time, "one step per token, as in generation, instead of one for all");
  AddCpuFlags(app, &flags->cpu);
  AddArithmeticFlag(app, &flags->arithmetic);
  AddLoadFlag(app, &flags->load);
}

// Before the work, not after it.
Status CheckOutput(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  if (path.empty() || IsDirectory(path)) {
    return IoError("-o ", Quoted(path), ": is not the name of a file");
  }
  if (!IsDirectory(directory)) {
    return IoError("-o ", Quoted(path), ": there is no directory ", Quoted(directory));
  }
  if (access(directory.c_str(), W_OK) != 0) {
    return IoError("-o ", Quoted(path), ": the directory ", Quoted(directory), " can't be written to");
  }
  return {};
}

// Activations of a step, by name, rows of later steps behind those of earlier ones.
class TraceStore {
 public:
  void Add(const std::string& name, int64_t cols, std::span<const float> values) {
    Activation& activation = activations_[name];
    activation.cols = cols;
    activation.values.insert(activation.values.end(), values.begin(), values.end());
  }

  Status Write(const std::string& path, const std::vector<int32_t>& ids) const {
    const auto rows = static_cast<int64_t>(ids.size());
    std::vector<SafetensorsEntry> entries;
    entries.push_back({.name = "input_ids", .dtype = DType::kI32, .shape = {rows}});
    for (const auto& [name, activation] : activations_) {
      entries.push_back({.name = name, .dtype = DType::kF32, .shape = {rows, activation.cols}});
    }
    ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(path, entries));
    RETURN_IF_ERROR(writer.Append(std::as_bytes(std::span(ids))));
    for (const auto& [name, activation] : activations_) {
      RETURN_IF_ERROR(writer.Append(std::as_bytes(std::span(activation.values))));
    }
    return writer.Finish();
  }

 private:
  struct Activation {
    int64_t cols = 0;
    std::vector<float> values;  // [rows, cols]
  };
  std::map<std::string, Activation> activations_;
};

// Columns of all activations that a forward pass names, for one token.
int64_t TracedColumns(const PhiConfig& c) {
  // input_layernorm, dense.in, dense.out, fc2.out, out; q_proj; k_proj, v_proj; fc1.out, fc2.in.
  const int64_t layer = 5 * c.hidden_size + c.n_heads * c.head_dim + 2 * c.kv_size() + 2 * c.intermediate_size;
  return c.n_layers * layer + 2 * c.hidden_size + c.vocab_size;
}

Status CheckIds(const PhiConfig& config, const std::vector<int32_t>& ids) {
  constexpr int64_t kMaxBytes = int64_t{8} << 30;
  const auto count = static_cast<int64_t>(ids.size());
  if (count == 0) {
    return InvalidArgument("nothing to trace: the list of ids is empty");
  }
  if (count > config.max_position_embeddings) {
    return ResourceExhausted(count, " tokens: this model's context has ", config.max_position_embeddings);
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= config.vocab_size) {
      return InvalidArgument("item ", i + 1, " of the ids: ", ids[i], " is outside the model's vocabulary of ",
                             config.vocab_size);
    }
  }
  const int64_t row_bytes = TracedColumns(config) * static_cast<int64_t>(sizeof(float));
  if (row_bytes > kMaxBytes / count) {
    return ResourceExhausted("the trace of ", count, " tokens needs ", HumanBytes(static_cast<uint64_t>(row_bytes)),
                             " each, together more than the ", HumanBytes(kMaxBytes),
                             " that a trace may have: give at most ", kMaxBytes / row_bytes, " tokens");
  }
  return {};
}

Status Forward(Phi& phi, const std::vector<int32_t>& ids, bool one_at_a_time, TraceStore* store) {
  ASSIGN_OR_RETURN(KvCache cache, phi.NewKvCache(static_cast<int64_t>(ids.size())));
  std::vector<StepRow> rows;
  for (const int32_t id : ids) {
    rows.push_back({.token = id, .pos = static_cast<int32_t>(rows.size()), .kv = cache.store(), .wants_logits = true});
  }
  StepOptions options;
  options.trace = [store](const std::string& name, int64_t cols, std::span<const float> values) {
    store->Add(name, cols, values);
  };
  const size_t step = one_at_a_time ? 1 : rows.size();
  for (size_t i = 0; i < rows.size(); i += step) {
    const auto logits = phi.Step(std::span(rows).subspan(i, step), options);
    RETURN_IF_ERROR(logits.status());
  }
  return {};
}

Status Trace(const TraceFlags& flags) {
  std::vector<int32_t> ids;
  if (flags.ids.has_value()) {
    ASSIGN_OR_RETURN(ids, ParseIds(*flags.ids));
  } else if (!flags.text.has_value()) {
    return InvalidArgument("nothing to trace: give --ids or --text");
  }
  if (!flags.output.has_value()) {
    return InvalidArgument("nowhere to write to: give -o FILE");
  }
  RETURN_IF_ERROR(CheckOutput(*flags.output));
  ASSIGN_OR_RETURN(const std::string path, ChooseModel(flags.model));
  ASSIGN_OR_RETURN(const LoadedModel model, LoadWithNotes({.path = path,
                                                           .cpu = flags.cpu,
                                                           .need_tokenizer = flags.text.has_value(),
                                                           .arithmetic = flags.arithmetic,
                                                           .load = flags.load},
                                                          true));
  if (flags.text.has_value()) {
    ASSIGN_OR_RETURN(ids, model.tokenizer->Encode(*flags.text));
  }
  RETURN_IF_ERROR(CheckIds(model.phi->config(), ids));
  TraceStore store;
  RETURN_IF_ERROR(Forward(*model.phi, ids, flags.one_at_a_time, &store));
  return store.Write(*flags.output, ids);
}

}  // namespace

int TraceVerb(std::span<const std::string> arguments) {
  CLI::App app("Write every activation of a forward pass to a file.", "phidias trace");
  TraceFlags flags;
  AddFlags(app, &flags);
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "trace", arguments)) {
    return *code;
  }
  const Status status = Trace(flags);
  return status.ok() ? kExitOk : Fail("trace", status);
}

}  // namespace phidias::cli
