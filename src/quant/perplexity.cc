#include "quant/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/file.h"
#include "engine/logprobs.h"
#include "numerics/rotary.h"
#include "quant/fingerprint.h"
#include "quant/perplexity_state.h"

namespace phidias {
namespace {

constexpr size_t kMaxStateBytes = size_t{256} << 20;
// Tokens of one rank between two looks at the state file: seconds on a small model, minutes on a large one.
constexpr int64_t kTokensPerRound = 8192;

// Tokens that the model computes for a row: the last one predicts nothing.
int64_t Cost(const ScoredRow& row) {
  return static_cast<int64_t>(row.ids.size()) - 1;
}

// Scores rows, several in one step. A row that doesn't fit a step's rest goes on in the next one.
class Scorer {
 public:
  Scorer(Phi& phi, std::span<const ScoredRow> rows, const PerplexityOptions& options, int64_t total)
      : phi_(phi), rows_(rows), options_(options), total_(total) {}

  // Adds the scores of the rows with the given numbers to `scores`.
  Status Run(std::span<const size_t> numbers, KnownScores* scores) {
    size_t next = 0;
    while (next < numbers.size() || !active_.empty()) {
      RETURN_IF_ERROR(FillStep(numbers, &next));
      const Result<std::span<const float>> logits = phi_.Step(step_, {.trace = {}, .cancel = options_.cancel});
      RETURN_IF_ERROR(logits.status());
      RETURN_IF_ERROR(TakeLogits(*logits, scores));
      done_ += static_cast<int64_t>(step_.size());
      if (options_.progress) {
        options_.progress(done_, total_);
      }
    }
    return {};
  }

  int64_t done() const { return done_; }

 private:
  // A row in work: tokens begin..end of it are in the step.
  struct Active {
    size_t number;
    KvCache cache;
    int64_t begin;
    int64_t end;
    RowScore score;
  };

  Status FillStep(std::span<const size_t> numbers, size_t* next) {
    step_.clear();
    for (Active& active : active_) {  // at most one: the row that the last step cut
      Append(&active);
    }
    while (*next < numbers.size() && static_cast<int64_t>(step_.size()) < options_.batch) {
      const size_t number = numbers[(*next)++];
      // A cache of just the row's length: memory follows the batch, not the number of rows in it.
      ASSIGN_OR_RETURN(KvCache cache, phi_.NewKvCache(Cost(rows_[number])));
      active_.push_back({.number = number, .cache = std::move(cache), .begin = 0, .end = 0, .score = {}});
      Append(&active_.back());
    }
    return {};
  }

  void Append(Active* active) {
    const ScoredRow& row = rows_[active->number];
    const int64_t room = options_.batch - static_cast<int64_t>(step_.size());
    active->begin = active->end;
    active->end = std::min(Cost(row), active->begin + room);
    for (int64_t pos = active->begin; pos < active->end; ++pos) {
      step_.push_back({.token = row.ids[static_cast<size_t>(pos)],
                       .pos = static_cast<int32_t>(pos),
                       .kv = active->cache.store(),
                       .wants_logits = pos + 1 >= row.first_scored});
    }
  }

  Status TakeLogits(std::span<const float> logits, KnownScores* scores) {
    const auto vocab = static_cast<size_t>(phi_.config().vocab_size);
    size_t at = 0;
    for (Active& active : active_) {
      const ScoredRow& row = rows_[active.number];
      for (int64_t pos = std::max(active.begin, row.first_scored - 1); pos < active.end; ++pos) {
        const double nll = NegativeLogLikelihood(logits.subspan(at, vocab), row.ids[static_cast<size_t>(pos + 1)]);
        if (!std::isfinite(nll)) {
          return DataError("row ", active.number + 1, ", token ", pos + 2,
                           ": the model's logits are not finite numbers; its weights or scales are broken");
        }
        active.score.nll += nll;
        ++active.score.tokens;
        at += vocab;
      }
      if (active.end == Cost(row)) {
        (*scores)[active.number] = active.score;
      }
    }
    std::erase_if(active_, [this](const Active& active) { return active.end == Cost(rows_[active.number]); });
    return {};
  }

  Phi& phi_;
  std::span<const ScoredRow> rows_;
  const PerplexityOptions& options_;
  int64_t total_;
  int64_t done_ = 0;
  std::vector<Active> active_;
  std::vector<StepRow> step_;
};

Status CheckRows(const PhiConfig& config, std::span<const ScoredRow> rows, const PerplexityOptions& options) {
  if (options.batch < 1) {
    return InvalidArgument("a batch of ", options.batch, " tokens: at least 1 is needed");
  }
  if (rows.empty()) {
    return InvalidArgument("no rows to score");
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto size = static_cast<int64_t>(rows[i].ids.size());
    if (rows[i].first_scored < 1 || rows[i].first_scored >= size) {
      return InvalidArgument("row ", i + 1, ": has ", size, " tokens and predicts none");
    }
    if (size > config.max_position_embeddings) {
      return InvalidArgument("row ", i + 1, ": has ", size, " tokens; this model's context has ",
                             config.max_position_embeddings, ": use --max-tokens ", config.max_position_embeddings);
    }
    for (const int32_t id : rows[i].ids) {
      if (id < 0 || id >= config.vocab_size) {
        return InvalidArgument("row ", i + 1, ": token id ", id, " is outside the model's vocabulary of ",
                               config.vocab_size, "; the tokenizer is another model's");
      }
    }
  }
  return {};
}

std::string StateFingerprint(std::span<const ScoredRow> rows, const std::string& more) {
  Fingerprint fingerprint;
  fingerprint.Add(std::string_view(more));
  for (const ScoredRow& row : rows) {
    fingerprint.Add(row.first_scored);
    fingerprint.Add(std::as_bytes(row.ids));
  }
  return fingerprint.Hex();
}

// Scores as bytes for the other ranks: row number, nll, tokens.
void AppendScore(size_t number, const RowScore& score, std::string* bytes) {
  const auto wide = static_cast<uint64_t>(number);
  bytes->append(reinterpret_cast<const char*>(&wide), sizeof wide);
  bytes->append(reinterpret_cast<const char*>(&score.nll), sizeof score.nll);
  bytes->append(reinterpret_cast<const char*>(&score.tokens), sizeof score.tokens);
}

Status ReadScores(const std::string& bytes, KnownScores* scores) {
  constexpr size_t kEntry = sizeof(uint64_t) + sizeof(double) + sizeof(int64_t);
  for (size_t at = 0; at + kEntry <= bytes.size(); at += kEntry) {
    uint64_t number = 0;
    RowScore score;
    std::memcpy(&number, bytes.data() + at, sizeof number);
    std::memcpy(&score.nll, bytes.data() + at + sizeof number, sizeof score.nll);
    std::memcpy(&score.tokens, bytes.data() + at + sizeof number + sizeof score.nll, sizeof score.tokens);
    if (number >= scores->size()) {
      return {StatusCode::kInternal, "another rank scored a row that this one doesn't have: do all see the same data?"};
    }
    (*scores)[number] = score;
  }
  return {};
}

// One run over all rows, by all ranks.
class Run {
 public:
  Run(Phi& phi, std::span<const ScoredRow> rows, const PerplexityOptions& options, Ranks& ranks)
      : phi_(phi), rows_(rows), options_(options), ranks_(ranks), scores_(rows.size()) {}

  Result<PerplexityResult> Go() {
    const auto start = std::chrono::steady_clock::now();
    RETURN_IF_ERROR(LoadState());
    RETURN_IF_ERROR(CheckSameWork());
    std::vector<size_t> open;
    for (size_t i = 0; i < rows_.size(); ++i) {
      if (!scores_[i].has_value()) {
        open.push_back(i);
      }
    }
    int64_t computed = 0;
    int64_t mine = 0;
    for (size_t i = 0; i < open.size(); ++i) {
      computed += Cost(rows_[open[i]]);
      mine += IsMine(i) ? Cost(rows_[open[i]]) : 0;
    }
    Scorer scorer(phi_, rows_, options_, mine);
    for (size_t begin = 0; begin < open.size();) {
      const size_t end = RoundEnd(open, begin);
      RETURN_IF_ERROR(Round(open, begin, end, &scorer));
      begin = end;
    }
    std::vector<RowScore> scores;
    for (const auto& score : scores_) {
      scores.push_back(*score);
    }
    PerplexityResult result = Summarise(scores);
    result.rows = std::move(scores);
    result.computed_tokens = computed;
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
  }

 private:
  bool IsMine(size_t position) const {
    return static_cast<int>(position % static_cast<size_t>(ranks_.size())) == ranks_.rank();
  }

  Status LoadState() {
    if (options_.state_path.empty()) {
      return {};
    }
    fingerprint_ = StateFingerprint(rows_, options_.state_fingerprint);
    std::string text;
    if (ranks_.rank() == 0 && FileExists(options_.state_path)) {
      ASSIGN_OR_RETURN(text, ReadFile(options_.state_path, kMaxStateBytes));
    }
    ASSIGN_OR_RETURN(text, FromRankZero(ranks_, text, options_.cancel));
    return text.empty() ? Status() : ParsePerplexityState(text, options_.state_path, fingerprint_, &scores_);
  }

  // Ranks on machines whose copies of the data differ would add up apples and pears.
  Status CheckSameWork() {
    if (ranks_.size() == 1) {
      return {};
    }
    const std::string mine = StateFingerprint(rows_, CheckpointFingerprint(phi_.checkpoint()));
    ASSIGN_OR_RETURN(const std::vector<std::string> all, ranks_.Exchange(mine, options_.cancel));
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i] != all[0]) {
        return InvalidArgument("rank ", i,
                               " has another model or other data than rank 0: the files must be the same "
                               "on every machine");
      }
    }
    return {};
  }

  // All that is open, or with a state file as much as may get lost.
  size_t RoundEnd(const std::vector<size_t>& open, size_t begin) const {
    if (options_.state_path.empty()) {
      return open.size();
    }
    int64_t tokens = 0;
    size_t end = begin;
    while (end < open.size() && tokens < kTokensPerRound * ranks_.size()) {
      tokens += Cost(rows_[open[end++]]);
    }
    return end;
  }

  Status Round(const std::vector<size_t>& open, size_t begin, size_t end, Scorer* scorer) {
    std::vector<size_t> mine;
    for (size_t i = begin; i < end; ++i) {
      if (IsMine(i)) {
        mine.push_back(open[i]);
      }
    }
    if (Status status = scorer->Run(mine, &scores_); !status.ok()) {
      // What this rank has finished of the round isn't lost.
      return SaveState().ok() ? status : status.WithContext("the state can't be written either");
    }
    if (ranks_.size() > 1) {
      std::string bytes;
      for (const size_t number : mine) {
        AppendScore(number, *scores_[number], &bytes);
      }
      ASSIGN_OR_RETURN(const std::vector<std::string> all, ranks_.Exchange(bytes, options_.cancel));
      for (const std::string& piece : all) {
        RETURN_IF_ERROR(ReadScores(piece, &scores_));
      }
    }
    return SaveState();
  }

  Status SaveState() const {
    if (options_.state_path.empty() || ranks_.rank() != 0) {
      return {};
    }
    return WriteWholeFile(options_.state_path, PerplexityStateText(fingerprint_, scores_));
  }

  Phi& phi_;
  std::span<const ScoredRow> rows_;
  const PerplexityOptions& options_;
  Ranks& ranks_;
  KnownScores scores_;
  std::string fingerprint_;
};

// The mean per token over rows, and its standard error (see Summarise in perplexity.h).
struct Mean {
  double nll = 0;
  int64_t tokens = 0;
  double value = 0;
  std::optional<double> standard_error;
};

Mean MeanOf(std::span<const RowScore> rows) {
  Mean mean;
  for (const RowScore& row : rows) {
    mean.nll += row.nll;
    mean.tokens += row.tokens;
  }
  const auto tokens = static_cast<double>(mean.tokens);
  mean.value = mean.nll / tokens;
  if (rows.size() > 1) {
    double squares = 0;
    for (const RowScore& row : rows) {
      const double difference = row.nll - mean.value * static_cast<double>(row.tokens);
      squares += difference * difference;
    }
    const auto count = static_cast<double>(rows.size());
    mean.standard_error = std::sqrt(count / (count - 1) * squares) / tokens;
  }
  return mean;
}

}  // namespace

std::vector<ScoredRow> WholeRows(const Dataset& dataset) {
  std::vector<ScoredRow> rows;
  for (const std::vector<int32_t>& ids : dataset.rows) {
    rows.push_back({.ids = ids});
  }
  return rows;
}

Result<std::vector<ScoredRow>> SlidingWindows(std::span<const int32_t> stream, int64_t window, int64_t stride) {
  if (window < 2 || stride < 1 || stride > window) {
    return InvalidArgument("windows of ", window, " tokens moved by ", stride,
                           ": a window has at least 2 tokens and moves by 1 to its own length");
  }
  const auto total = static_cast<int64_t>(stream.size());
  std::vector<ScoredRow> rows;
  int64_t scored = 0;  // tokens before this one are scored, or can't be
  for (int64_t begin = 0; scored < total; begin += stride) {
    const int64_t end = std::min(begin + window, total);
    const int64_t first = std::max<int64_t>(scored - begin, 1);
    if (first < end - begin) {
      rows.push_back(
          {.ids = stream.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)), .first_scored = first});
    }
    scored = end;
  }
  return rows;
}

PerplexityResult Summarise(std::span<const RowScore> rows) {
  PerplexityResult result;
  const Mean m = MeanOf(rows);
  result.nll = m.nll;
  result.tokens = m.tokens;
  const double mean = m.value;
  // Logits are finite floats, so a mean beyond 700 takes a model whose numbers mean nothing.
  result.perplexity = mean < 700 ? numerics::ExpDouble(mean) : std::numeric_limits<double>::infinity();
  if (m.standard_error.has_value()) {
    result.standard_error = result.perplexity * *m.standard_error;
  }
  return result;
}

PerplexityChange CompareScores(std::span<const RowScore> before, std::span<const RowScore> after) {
  std::vector<RowScore> differences;
  for (size_t i = 0; i < before.size(); ++i) {
    differences.push_back({.nll = after[i].nll - before[i].nll, .tokens = before[i].tokens});
  }
  const Mean mean = MeanOf(differences);
  const double ratio = std::fabs(mean.value) < 700 ? numerics::ExpDouble(mean.value)
                                                   : (mean.value > 0 ? std::numeric_limits<double>::infinity() : 0.0);
  PerplexityChange change{.relative = ratio - 1, .standard_error = {}};
  if (mean.standard_error.has_value()) {
    change.standard_error = ratio * *mean.standard_error;
  }
  return change;
}

Result<PerplexityResult> Perplexity(Phi& phi, std::span<const ScoredRow> rows, const PerplexityOptions& options) {
  RETURN_IF_ERROR(CheckRows(phi.config(), rows, options));
  const std::unique_ptr<Ranks> single = options.ranks == nullptr ? SingleRank() : nullptr;
  return Run(phi, rows, options, options.ranks == nullptr ? *single : *options.ranks).Go();
}

}  // namespace phidias
