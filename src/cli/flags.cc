#include "cli/flags.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "cli/exit_code.h"
#include "cli/numbers.h"
#include "cli/output.h"

namespace phidias::cli {
namespace {

class HelpFormatter : public CLI::Formatter {
 public:
  explicit HelpFormatter(std::string usage) : usage_(std::move(usage)) { column_width(28); }

  std::string make_usage(const CLI::App*, std::string) const override { return "\nUsage: " + usage_ + "\n"; }
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_type_size() == 0 ? "" : " " + option->get_type_name();
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string& env = option->get_envname();
    return option->get_description() + (env.empty() ? "" : " [" + env + "]");
  }

 private:
  std::string usage_;
};

// "--temp: ..."; if the value is the environment's, the message says so.
CLI::ValidationError BadValue(const CLI::Option& option, const std::string& text, const Status& status) {
  std::string name = option.get_name();
  const char* value = option.get_envname().empty() ? nullptr : std::getenv(option.get_envname().c_str());
  if (value != nullptr && text == value) {
    name += " (from " + option.get_envname() + ")";
  }
  return CLI::ValidationError(name, status.message());
}

// A flag whose text goes through `parse`, a function Status(const std::string&).
template <class Parse>
CLI::Option* AddParsed(CLI::App& app, const std::string& names, const char* env, const char* type,
                       const std::string& description, Parse parse) {
  auto holder = std::make_shared<CLI::Option*>(nullptr);
  CLI::Option* option = app.add_option_function<std::string>(
      names,
      [parse, holder](const std::string& text) {
        if (const Status status = parse(text); !status.ok()) {
          throw BadValue(**holder, text, status);
        }
      },
      description);
  *holder = option;
  option->type_name(type)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  if (env != nullptr) {
    option->envname(env);
  }
  return option;
}

}  // namespace

CLI::Option* AddInteger(CLI::App& app, const std::string& names, int64_t* out, int64_t low, int64_t high,
                        const char* env, const std::string& description) {
  return AddParsed(app, names, env, "N", description, [=](const std::string& text) -> Status {
    ASSIGN_OR_RETURN(*out, ParseInteger(text, low, high));
    return {};
  });
}

CLI::Option* AddReal(CLI::App& app, const std::string& names, float* out, double low, double high, const char* env,
                     const std::string& description) {
  return AddParsed(app, names, env, "X", description, [=](const std::string& text) -> Status {
    ASSIGN_OR_RETURN(const double value, ParseReal(text, low, high));
    *out = static_cast<float>(value);
    return {};
  });
}

CLI::Option* AddText(CLI::App& app, const std::string& names, std::optional<std::string>* out,
                     const std::string& description) {
  return AddParsed(app, names, nullptr, "TEXT", description,
                   [out](const std::string& text) {
                     *out = text;
                     return Status();
                   })
      ->multi_option_policy(CLI::MultiOptionPolicy::Throw);
}

CLI::Option* AddParsedText(CLI::App& app, const std::string& names, const std::string& type,
                           const std::string& description, std::function<Status(const std::string&)> parse) {
  return AddParsed(app, names, nullptr, type.c_str(), description, std::move(parse));
}

CLI::Option* AddRepeated(CLI::App& app, const std::string& names, const std::string& type,
                         const std::string& description, std::function<void()> begin,
                         std::function<Status(const std::string&)> parse) {
  auto holder = std::make_shared<CLI::Option*>(nullptr);
  CLI::Option* option = app.add_option_function<std::vector<std::string>>(
      names,
      [begin = std::move(begin), parse = std::move(parse), holder](const std::vector<std::string>& texts) {
        begin();
        for (const std::string& text : texts) {
          if (const Status status = parse(text); !status.ok()) {
            throw BadValue(**holder, text, status);
          }
        }
      },
      description);
  *holder = option;
  return option->type_name(type)->expected(1)->allow_extra_args(false)->multi_option_policy(
      CLI::MultiOptionPolicy::TakeAll);
}

CLI::Option* AddList(CLI::App& app, const std::string& names, const std::string& type, const std::string& description,
                     std::function<void()> begin, std::function<Status(const std::string&)> parse) {
  return AddRepeated(app, names, type, description, std::move(begin),
                     [parse = std::move(parse)](const std::string& text) -> Status {
                       for (size_t at = 0; at <= text.size();) {
                         const size_t comma = std::min(text.find(',', at), text.size());
                         RETURN_IF_ERROR(parse(text.substr(at, comma - at)));
                         at = comma + 1;
                       }
                       return {};
                     });
}

CLI::Option* AddIntegerList(CLI::App& app, const std::string& names, std::vector<int64_t>* out, int64_t low,
                            int64_t high, const std::string& description) {
  return AddList(
      app, names, "N,...", description, [out] { out->clear(); },
      [=](const std::string& text) -> Status {
        ASSIGN_OR_RETURN(const int64_t value, ParseInteger(text, low, high));
        out->push_back(value);
        return {};
      });
}

Result<Arithmetic> ParseArithmetic(const std::string& text) {
  if (text != "float" && text != "integer") {
    return InvalidArgument(Quoted(text), " is neither float nor integer");
  }
  return text == "integer" ? Arithmetic::kInteger : Arithmetic::kFloat;
}

Result<WeightLoad> ParseWeightLoad(const std::string& text) {
  if (text != "auto" && text != "mmap" && text != "copy") {
    return InvalidArgument(Quoted(text), " is none of auto, mmap and copy");
  }
  return text == "auto" ? WeightLoad::kAuto : text == "mmap" ? WeightLoad::kMmap : WeightLoad::kCopy;
}

void AddArithmeticFlag(CLI::App& app, Arithmetic* arithmetic) {
  AddParsed(app, "--arith", "PHIDIAS_ARITH", "KIND",
            "float (default), or integer: integers from embedding to logits,\n"
            "for a model made by `phidias quantize --arith integer`",
            [arithmetic](const std::string& text) -> Status {
              ASSIGN_OR_RETURN(*arithmetic, ParseArithmetic(text));
              return {};
            })
      ->group("Machine");
}

void AddThreadsFlag(CLI::App& app, CpuOptions* cpu) {
  AddParsed(app, "-t,--threads", "PHIDIAS_THREADS", "N", "threads; 0 (default): one per physical core",
            [cpu](const std::string& text) -> Status {
              ASSIGN_OR_RETURN(const int64_t threads, ParseInteger(text, 0, 1024));
              cpu->threads = static_cast<int>(threads);
              return {};
            })
      ->group("Machine");
}

void AddCpuFlags(CLI::App& app, CpuOptions* cpu) {
  AddThreadsFlag(app, cpu);
  AddParsed(app, "--cpu-list", "PHIDIAS_CPU_LIST", "CPUS", "run on these processors only, a thread on each: 0-3,8",
            [cpu](const std::string& text) -> Status {
              ASSIGN_OR_RETURN(cpu->cpus, ParseCpuList(text));
              return {};
            })
      ->group("Machine");
  AddParsed(app, "--isa", "PHIDIAS_ISA", "NAME",
            "avx512, avxvnni, avx2, portable or reference; default: the\nfastest that this processor runs; all give "
            "the same bits",
            [cpu](const std::string& text) {
              cpu->isa = text;
              return Status();
            })
      ->group("Machine");
}

void AddLoadFlag(CLI::App& app, WeightLoad* load) {
  AddParsed(app, "--load", "PHIDIAS_LOAD", "HOW",
            "where weights lie: mmap (in the mapped file), copy (in huge\n"
            "pages, packed), or auto (default): what reads faster; 4-bit\n"
            "weights are copied where they fit",
            [load](const std::string& text) -> Status {
              ASSIGN_OR_RETURN(*load, ParseWeightLoad(text));
              return {};
            })
      ->group("Machine");
}

void AddFastFloatFlag(CLI::App& app, CpuOptions* cpu) {
  app.add_flag(
         "--fast-float", cpu->fast_float,
         "float products by fused or bfloat16 instructions where the\nprocessor has them: results then differ from "
         "machine to machine")
      ->group("Machine");
}

void AddKvCacheFlag(CLI::App& app, CpuOptions* cpu) {
  AddParsed(app, "--kv-cache", "PHIDIAS_KV_CACHE", "TYPE",
            "keys and values of --arith float: f32 (default), or f16: half\nthe memory, slightly different logits",
            [cpu](const std::string& text) -> Status {
              if (text != "f32" && text != "f16") {
                return InvalidArgument(Quoted(text), " is neither f32 nor f16");
              }
              cpu->kv_cache = text == "f16" ? DType::kF16 : DType::kF32;
              return {};
            })
      ->group("Machine");
}

void SetHelp(CLI::App& app, const std::string& usage, const std::string& examples) {
  app.formatter(std::make_shared<HelpFormatter>(usage));
  app.footer(examples);
}

std::optional<int> ParseArguments(CLI::App& app, const std::string& verb, std::span<const std::string> arguments) {
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    const Status status = WriteStdout(app.help());
    return status.ok() ? kExitOk : Fail(verb, status);
  } catch (const CLI::ParseError& error) {
    return Fail(verb, InvalidArgument(error.what(), " (see phidias ", verb, " --help)"));
  }
  return std::nullopt;
}

}  // namespace phidias::cli
