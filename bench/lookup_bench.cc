// Prompt lookup without a model: texts are replayed as if they were being generated. Reports how many tokens a step
// gives (each step gives one, and the guesses that were right), the share of guesses that were right and guessed tokens
// per token; time is that of guessing, per token. Texts: rows of tests/data/eval16.jsonl in the demo model's tokens,
// and the same once more with every twentieth token replaced, as when a text is edited or quoted.
//   lookup_bench [FILE [TOKENIZER]]: other rows, another tokenizer
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>

#include "engine/loaded_model.h"
#include "engine/lookup.h"
#include "numerics/random.h"
#include "quant/dataset.h"

namespace phidias {
namespace {

struct Text {
  std::vector<int32_t> tokens;
  size_t begin = 0;  // tokens before it are the prompt
};

constexpr size_t kPrompt = 16;

std::vector<Text> Plain(const Dataset& data) {
  std::vector<Text> texts;
  for (const std::vector<int32_t>& row : data.rows) {
    texts.push_back({row, std::min(kPrompt, row.size())});
  }
  return texts;
}

std::vector<Text> Edited(const Dataset& data) {
  std::vector<Text> texts;
  for (const std::vector<int32_t>& row : data.rows) {
    Text text = {row, row.size()};
    for (size_t i = 0; i < row.size(); ++i) {
      const uint64_t bits = numerics::RandomBits(1, texts.size(), i);
      text.tokens.push_back(bits % 20 == 0 ? static_cast<int32_t>(bits >> 32) & 0xfff : row[i]);
    }
    texts.push_back(std::move(text));
  }
  return texts;
}

struct Totals {
  int64_t tokens = 0;
  int64_t steps = 0;
  int64_t drafted = 0;
  int64_t accepted = 0;
};

void Replay(const Text& text, int64_t lookup, Totals* totals) {
  LookupDrafter drafter(lookup);
  size_t known = text.begin;
  while (known < text.tokens.size()) {
    const std::span<const int32_t> tokens(text.tokens);
    const auto draft = drafter.Draft(tokens.first(known), static_cast<int64_t>(tokens.size() - known) - 1);
    const auto rest = tokens.subspan(known);
    const auto right = std::mismatch(draft.begin(), draft.end(), rest.begin()).first - draft.begin();
    drafter.Report(static_cast<int64_t>(draft.size()), right);
    known += static_cast<size_t>(right) + 1;
    ++totals->steps;
  }
  totals->tokens += static_cast<int64_t>(text.tokens.size() - text.begin);
  totals->drafted += drafter.drafted();
  totals->accepted += drafter.accepted();
}

void Lookup(benchmark::State& state, const std::vector<Text>& texts, int64_t lookup) {
  Totals totals;
  for (auto _ : state) {
    totals = {};
    for (const Text& text : texts) {
      Replay(text, lookup, &totals);
    }
  }
  const auto tokens = static_cast<double>(totals.tokens);
  state.counters["tokens/step"] = tokens / static_cast<double>(totals.steps);
  state.counters["right"] = static_cast<double>(totals.accepted) / static_cast<double>(totals.drafted);
  state.counters["drafted/token"] = static_cast<double>(totals.drafted) / tokens;
  state.counters["s/token"] =
      benchmark::Counter(tokens, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

int Main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const std::string root = PHIDIAS_SOURCE_DIR;
  const auto tokenizer = LoadTokenizer(argc > 2 ? std::string(argv[2]) : root + "/models/demo");
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.status().message().c_str());
    return 1;
  }
  const auto data = LoadDataset(*tokenizer, argc > 1 ? std::string(argv[1]) : root + "/tests/data/eval16.jsonl",
                                {.max_tokens = 2048});
  if (!data.ok()) {
    std::fprintf(stderr, "%s\n", data.status().message().c_str());
    return 1;
  }
  for (const int64_t lookup : {2, 4, 8, 16}) {
    for (const auto& [name, texts] : {std::pair("text", Plain(*data)), std::pair("edited", Edited(*data))}) {
      benchmark::RegisterBenchmark((std::string(name) + "/lookup " + std::to_string(lookup)).c_str(),
                                   [texts = texts, lookup](benchmark::State& state) { Lookup(state, texts, lookup); })
          ->Unit(benchmark::kMillisecond);
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace phidias

int main(int argc, char** argv) {
  return phidias::Main(argc, argv);
}
