// How fast the tokenizer is: Phi-2's vocabulary on texts of 1 MB, from a friendly one to the worst ones we know of.
//
//   tokenizer_bench [--text=FILE] [Google Benchmark's flags]
//
// FILE is a text that takes the place of `prose`. Without it, prose is made of the words of models/demo's vocabulary,
// drawn with the frequencies that words have in English (the n-th most frequent about 1/n as often as the first).

#include <benchmark/benchmark.h>

#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "common/file.h"
#include "common/utf8.h"
#include "model/tokenizer/tokenizer.h"

namespace phidias {
namespace {

constexpr size_t kTextBytes = 1000000;
constexpr size_t kMaxTextFileBytes = size_t{256} << 20;

std::string Repeat(const std::string& unit) {
  std::string text;
  while (text.size() + unit.size() <= kTextBytes) {
    text += unit;
  }
  return text;
}

std::string MadeUpProse(const Tokenizer& words) {
  std::vector<std::string> vocabulary;
  std::vector<double> frequency;
  for (int32_t id = 0; id < words.size(); ++id) {
    const std::string_view word = words.TokenBytes(id);
    if (word.size() > 1 && word[0] == ' ' && FindInvalidUtf8(word) == std::string_view::npos) {
      vocabulary.emplace_back(word);
      frequency.push_back(1.0 / static_cast<double>(vocabulary.size()));
    }
  }
  std::mt19937 random(1);
  std::discrete_distribution<size_t> draw(frequency.begin(), frequency.end());
  std::string text;
  for (int sentence = 1; text.size() < kTextBytes; ++sentence) {
    for (int word = 0; word < 12; ++word) {
      text += vocabulary[draw(random)];
    }
    text += sentence % 5 == 0 ? ".\n\n" : ".";
  }
  return text;
}

// Characters of every script, no two words alike: nothing for a cache to remember.
std::string RandomText() {
  std::minstd_rand random(2);
  std::string text;
  while (text.size() < kTextBytes) {
    const auto code = static_cast<uint32_t>(random() % 0x2800 + 0x20);
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else if (code < 0x800) {
      text += {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))};
    } else {
      text += {static_cast<char>(0xe0 | (code >> 12)), static_cast<char>(0x80 | ((code >> 6) & 0x3f)),
               static_cast<char>(0x80 | (code & 0x3f))};
    }
  }
  return text;
}

void Encode(benchmark::State& state, const Tokenizer& tokenizer, const std::string& text) {
  size_t tokens = 0;
  for (auto _ : state) {
    const auto ids = tokenizer.Encode(text);
    if (!ids.ok()) {
      state.SkipWithError(ids.status().message().c_str());
      return;
    }
    tokens = ids->size();
  }
  state.SetBytesProcessed(static_cast<int64_t>(text.size()) * static_cast<int64_t>(state.iterations()));
  state.counters["tokens"] = static_cast<double>(tokens);
}

void Decode(benchmark::State& state, const Tokenizer& tokenizer, const std::string& text) {
  const auto ids = tokenizer.Encode(text);
  if (!ids.ok()) {
    state.SkipWithError(ids.status().message().c_str());
    return;
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(tokenizer.Decode(*ids));
  }
  state.SetBytesProcessed(static_cast<int64_t>(text.size()) * static_cast<int64_t>(state.iterations()));
}

void Load(benchmark::State& state, const std::string& path) {
  for (auto _ : state) {
    const auto tokenizer = Tokenizer::Load(path);
    if (!tokenizer.ok()) {
      state.SkipWithError(tokenizer.status().message().c_str());
      return;
    }
  }
}

int Main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const std::string root = PHIDIAS_SOURCE_DIR;
  const std::string json_path = root + "/tests/golden/tokenizer/tokenizer.json";
  const std::string old_path = root + "/tests/golden/tokenizer-old";
  const auto phi2 = Tokenizer::Load(json_path);
  const auto demo = Tokenizer::Load(root + "/models/demo");
  for (const auto* tokenizer : {&phi2, &demo}) {
    if (!tokenizer->ok()) {
      std::fprintf(stderr, "tokenizer_bench: %s\n", tokenizer->status().message().c_str());
      return 1;
    }
  }
  std::string prose = MadeUpProse(*demo);
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    auto text = flag.starts_with("--text=") ? ReadFile(flag.substr(7), kMaxTextFileBytes)
                                            : Result<std::string>(InvalidArgument(flag, ": no such flag"));
    if (!text.ok()) {
      std::fprintf(stderr, "tokenizer_bench: %s\n", text.status().message().c_str());
      return 2;
    }
    prose = *std::move(text);
  }
  const std::pair<const char*, std::string> texts[] = {
      {"prose", prose},
      {"random_scripts", RandomText()},
      {"one_letter", Repeat("a")},
      {"one_word_of_syllables", Repeat("thinganderfulness")},
      {"spaces", Repeat(" ")},
      {"newlines", Repeat("\n")},
      {"end_of_text", Repeat("<|endoftext|>")},
      {"nearly_end_of_text", Repeat("<|endoftext|")},
  };
  for (const auto& [name, text] : texts) {
    benchmark::RegisterBenchmark((std::string("encode/") + name).c_str(), [&, &input = text](benchmark::State& state) {
      Encode(state, *phi2, input);
    })->Unit(benchmark::kMillisecond);
  }
  benchmark::RegisterBenchmark("decode/prose", [&](benchmark::State& state) {
    Decode(state, *phi2, prose);
  })->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("load/tokenizer_json", [&](benchmark::State& state) {
    Load(state, json_path);
  })->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("load/vocab_and_merges", [&](benchmark::State& state) {
    Load(state, old_path);
  })->Unit(benchmark::kMillisecond);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace phidias

int main(int argc, char** argv) {
  return phidias::Main(argc, argv);
}
