#include <csignal>
#include <exception>
#include <iterator>
#include <new>

#include "cli/exit_code.h"
#include "cli/output.h"
#include "cli/verbs.h"

namespace phidias::cli {
namespace {

constexpr Verb kVerbs[] = {
    {"run", "continue a text with a model", "phidias run \"Once upon a time\"", RunVerb},
    {"chat", "talk with a model on the terminal", "phidias chat -m MODEL", ChatVerb},
    {"serve", "an HTTP server with OpenAI's API", "phidias serve -m MODEL --port 8080", ServeVerb},
    {"tokenize", "text to token ids and back", "phidias tokenize \"Hello, world!\"", TokenizeVerb},
    {"inspect", "what a checkpoint holds and how much memory it takes", "phidias inspect -m MODEL --tensors",
     InspectVerb},
    {"trace", "write every activation of a forward pass to a file",
     "phidias trace -m MODEL --ids 1,2,3 -o out.safetensors", TraceVerb},
    {"perplexity", "how well a model predicts a text", "phidias perplexity -m MODEL --data test.jsonl --samples 512",
     PerplexityVerb},
    {"quantize", "int8 weights and activations, written as a checkpoint",
     "phidias quantize MODEL --calibration train.jsonl -o DIR", QuantizeVerb},
    {"sweep", "what each quantisation scheme costs in perplexity",
     "phidias sweep -m MODEL --data test.jsonl --calibration train.jsonl -o DIR", SweepVerb},
    {"damage", "where quantising hurts, layer by layer",
     "phidias damage -m MODEL --data test.jsonl --calibration train.jsonl", DamageVerb},
    {"bench", "how fast a model runs, against what the machine can do", "phidias bench -m MODEL -p 512 -n 128",
     BenchVerb},
    {"synth", "a checkpoint of a model's shape with random weights, for measuring",
     "phidias synth --shape phi-2 --dtype int8 -o DIR", SynthVerb},
    {"plan", "which bytes of a model lie in which bank of a card", "phidias plan MODEL --json", PlanVerb},
    {"simulate", "how fast a design would run a model on a card", "phidias simulate --shape phi-2 --design tiled",
     SimulateVerb},
    {"explore", "which designs fit a card, and which are best", "phidias explore --shape phi-2 --html explore.html",
     ExploreVerb},
    {"devices", "where models can run on this machine", "phidias devices", DevicesVerb},
    {"doctor", "what is wrong with a card, and what to do about it", "phidias doctor --xclbin FILE", DoctorVerb},
    {"pack", "a model's weights as a card's memory takes them", "phidias pack MODEL -o FILE", PackVerb},
};

constexpr const char* kHelpHead = "phidias " PHIDIAS_VERSION
                                  " - inference of Phi-2 and its relatives\n"
                                  "\n"
                                  "Usage: phidias VERB [OPTIONS]\n"
                                  "       phidias VERB --help     all options of a verb\n"
                                  "       phidias --version\n"
                                  "\n"
                                  "Verbs:\n";

constexpr const char* kHelpTail =
    "\n"
    "A MODEL is a checkpoint directory (safetensors or pytorch_model.bin with config.json) or a GGUF file. Without "
    "one,\n"
    "PHIDIAS_MODEL is taken, else the small demo model that comes with the program.\n"
    "stdout holds the product alone (text, ids, JSON); everything else goes to stderr.\n"
    "\n"
    "Environment (a flag wins over its variable; each verb's help names its variables in brackets):\n"
    "  PHIDIAS_MODEL    model path             PHIDIAS_THREADS     -t, worker threads\n"
    "  PHIDIAS_ISA      --isa                  PHIDIAS_CTX_SIZE    -c, positions of the context\n"
    "  PHIDIAS_PREDICT  -n, tokens to generate PHIDIAS_BATCH_SIZE  -b, prompt tokens in one step\n"
    "  PHIDIAS_TEMP     --temp                 PHIDIAS_SEED        -s\n"
    "\n"
    "Exit codes:\n"
    "  0    done\n"
    "  1    failure: the operating system said no, or a defect of this program\n"
    "  2    usage: a flag or an argument that can't be right\n"
    "  3    a model or data file that is absent, broken or not supported\n"
    "  4    out of resources: the context is too small, memory\n"
    "  130  interrupted\n";

std::string Help() {
  std::string help = kHelpHead;
  for (const Verb& verb : kVerbs) {
    std::string name = verb.name;
    name.resize(10, ' ');
    help += "  " + name + verb.summary + "\n            " + verb.example + "\n";
  }
  return help + kHelpTail;
}

// "run, tokenize and inspect".
std::string VerbNames(const char* last_word) {
  std::string names;
  for (const Verb& verb : kVerbs) {
    const bool last = &verb == std::end(kVerbs) - 1;
    names += names.empty() ? "" : last ? StrCat(" ", last_word, " ") : ", ";
    names += verb.name;
  }
  return names;
}

int Print(const std::string& text) {
  const Status status = WriteStdout(text);
  return status.ok() ? kExitOk : Fail("", status);
}

int Dispatch(std::span<const std::string> arguments) {
  const std::string& first = arguments[0];
  if (first == "--help" || first == "-h" || first == "help") {
    return Print(Help());
  }
  if (first == "--version" || first == "version") {
    return Print("phidias " PHIDIAS_VERSION "\n");
  }
  for (const Verb& verb : kVerbs) {
    if (first == verb.name) {
      return verb.run(arguments.subspan(1));
    }
  }
  const char* what = first.starts_with("-") ? "unknown flag " : "unknown verb ";
  return Fail("", InvalidArgument(what, Quoted(first), ": the verbs are ", VerbNames("and"), " (see phidias --help)"));
}

}  // namespace

int Main(std::span<const std::string> arguments) {
  // A reader that goes away shows as EPIPE in WriteStdout.
  std::signal(SIGPIPE, SIG_IGN);
  const std::string verb = arguments.empty() ? "" : arguments[0];
  try {
    if (arguments.empty()) {
      return Fail("", InvalidArgument("a verb is missing: ", VerbNames("or"), " (see phidias --help)"));
    }
    return Dispatch(arguments);
  } catch (const std::bad_alloc&) {
    return Fail(verb, ResourceExhausted("out of memory"));
  } catch (const std::exception& error) {
    return Fail(verb, Status(StatusCode::kInternal, StrCat("internal error: ", error.what())));
  }
}

}  // namespace phidias::cli
