// The sweep: its cells are those of quantising and measuring by hand, an interrupted one goes on, and its pages say
// what was measured.
#include "quant/sweep.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "common/file.h"
#include "quant/calibration.h"
#include "quant/quantizer.h"
#include "quant/sweep_report.h"
#include "quant/sweep_state.h"
#include "tests/support/quant_test_util.h"
#include "tests/support/thread_ranks.h"

namespace phidias {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Model {
  std::shared_ptr<const Checkpoint> checkpoint = OpenShared(kTinyModel);
  std::vector<std::vector<int32_t>> ids = RandomRows(6);
  std::vector<ScoredRow> rows;
  CalibrationStats stats;

  Model() {
    for (const auto& row : ids) {
      rows.push_back({.ids = row});
    }
    auto calibrated = Calibrate(*PhiOf(checkpoint), RandomRows(5, 2), {});
    EXPECT_TRUE(calibrated.ok()) << calibrated.status().message();
    stats = *std::move(calibrated);
  }
};

SweepOptions SmallGrid() {
  SweepOptions options;
  options.weights = {RangeKind::kNone, RangeKind::kSymmetric};
  options.activations = {RangeKind::kNone, RangeKind::kAsymmetric, RangeKind::kDynamic};
  options.cpu.threads = 1;
  return options;
}

TEST(SweepGrid, HasEveryCombinationOnce) {
  const auto grid = SweepGrid({});
  EXPECT_EQ(grid.front(), SweepScheme());
  // none x 5, and 3 weight schemes x 5 for each granularity.
  EXPECT_EQ(grid.size(), 5U + 2 * 15);
  for (const SweepScheme& scheme : grid) {
    EXPECT_EQ(std::count(grid.begin(), grid.end(), scheme), 1) << DescribeSweepScheme(scheme);
  }
}

TEST(Sweep, MeasuresWhatQuantisingByHandDoes) {
  const Model model;
  const SweepOptions options = SmallGrid();
  const auto cells = Sweep(model.checkpoint, model.stats, model.rows, options);
  ASSERT_TRUE(cells.ok()) << cells.status().message();
  ASSERT_EQ(cells->size(), 3U + 2 * 3);
  ThreadPool pool(1);
  const auto plain = Perplexity(*PhiOf(model.checkpoint), model.rows, {});
  for (const SweepCell& cell : *cells) {
    QuantScheme scheme;
    scheme.weights = cell.scheme.weights;
    scheme.granularity = cell.scheme.granularity;
    scheme.activations = cell.scheme.activations;
    auto quantised = QuantizeModel(*model.checkpoint, &model.stats, scheme, &pool);
    ASSERT_TRUE(quantised.ok()) << quantised.status().message();
    const auto phi = PhiOf(std::make_shared<const Checkpoint>(*std::move(quantised)));
    const auto want = Perplexity(*phi, model.rows, {});
    ASSERT_TRUE(want.ok());
    EXPECT_EQ(cell.perplexity, want->perplexity) << DescribeSweepScheme(cell.scheme);
    EXPECT_EQ(cell.nll, want->nll);
    EXPECT_EQ(cell.standard_error, want->standard_error);
    EXPECT_NEAR(cell.change.relative, want->perplexity / plain->perplexity - 1, 1e-12);
  }
  EXPECT_EQ(cells->front().change.relative, 0);
  EXPECT_NE(cells->back().perplexity, cells->front().perplexity);
}

TEST(Sweep, IsTheSameOnSeveralRanks) {
  const Model model;
  SweepOptions options = SmallGrid();
  const auto want = Sweep(model.checkpoint, model.stats, model.rows, options);
  ASSERT_TRUE(want.ok());
  const ScratchFile state;
  ThreadRanks(3).Run([&](Ranks& ranks) {
    SweepOptions mine = SmallGrid();
    mine.ranks = &ranks;
    mine.state_path = state.path();
    const auto cells = Sweep(model.checkpoint, model.stats, model.rows, mine);
    ASSERT_TRUE(cells.ok()) << cells.status().message();
    for (size_t i = 0; i < want->size(); ++i) {
      EXPECT_EQ((*cells)[i].nll, (*want)[i].nll);
      EXPECT_EQ((*cells)[i].change.relative, (*want)[i].change.relative);
    }
  });
}

TEST(Sweep, GoesOnWhereItWasInterrupted) {
  const Model model;
  const ScratchFile state;
  const auto want = Sweep(model.checkpoint, model.stats, model.rows, SmallGrid());
  ASSERT_TRUE(want.ok());
  std::atomic<bool> cancel = false;
  std::vector<size_t> measured;
  SweepOptions options = SmallGrid();
  options.cancel = &cancel;
  options.state_path = state.path();
  options.state_fingerprint = "f";
  options.starts = [&](const SweepScheme&, size_t index, size_t count) {
    EXPECT_EQ(count, 9U);
    measured.push_back(index);
    cancel = index == 4;
  };
  EXPECT_EQ(Sweep(model.checkpoint, model.stats, model.rows, options).status().code(), StatusCode::kCancelled);
  EXPECT_EQ(measured, (std::vector<size_t>{0, 1, 2, 3, 4}));

  options.starts = [&](const SweepScheme&, size_t index, size_t) { measured.push_back(index); };
  measured.clear();
  cancel = false;
  const auto cells = Sweep(model.checkpoint, model.stats, model.rows, options);
  ASSERT_TRUE(cells.ok()) << cells.status().message();
  EXPECT_EQ(measured, (std::vector<size_t>{4, 5, 6, 7, 8}));
  for (size_t i = 0; i < want->size(); ++i) {
    EXPECT_EQ((*cells)[i].scheme, (*want)[i].scheme);
    EXPECT_EQ((*cells)[i].nll, (*want)[i].nll);
    EXPECT_EQ((*cells)[i].change.relative, (*want)[i].change.relative);
    EXPECT_EQ((*cells)[i].change.standard_error, (*want)[i].change.standard_error);
  }
  options.state_fingerprint = "g";
  EXPECT_THAT(Sweep(model.checkpoint, model.stats, model.rows, options).status().message(),
              HasSubstr("another model, other data"));
}

TEST(Sweep, NamesTheCellThatFails) {
  Model model;
  model.stats.layers.clear();
  const auto cells = Sweep(model.checkpoint, model.stats, model.rows, SmallGrid());
  ASSERT_FALSE(cells.ok());
  EXPECT_THAT(cells.status().message(), HasSubstr("weights none, activations asymmetric: "));
}

TEST(SweepState, RefusesWhatItIsNot) {
  const auto message = [](const std::string& text) {
    return ParseSweepState(text, "sweep.json", "f").status().message();
  };
  for (const char* text : {"", "[", "{}", R"({"format": "phidias-sweep-1", "cells": 1})"}) {
    EXPECT_THAT(message(text), HasSubstr("sweep.json: is not the state of a sweep")) << text;
  }
  const std::string head = R"({"format": "phidias-sweep-1", "fingerprint": "f", "cells": )";
  for (const char* cells : {"[1]", "[{}]", R"([{"weights": "none", "activations": "odd", "perplexity": 1}])"}) {
    EXPECT_THAT(message(head + cells + R"(, "float_rows": []})"), HasSubstr("is broken (cell 1)")) << cells;
  }
  EXPECT_THAT(message(head + R"([], "float_rows": [[1]]})"), HasSubstr("is broken (float_rows)"));
  EXPECT_EQ(message(head + R"([], "float_rows": []})"), "");
}

SweepCell MakeCell(RangeKind weights, Granularity granularity, RangeKind activations, double perplexity) {
  SweepCell cell;
  cell.scheme = {weights, granularity, activations};
  cell.perplexity = perplexity;
  cell.change = {.relative = perplexity / 40 - 1, .standard_error = 0.001};
  cell.tokens = 100;
  return cell;
}

std::vector<SweepCell> SomeCells() {
  return {MakeCell(RangeKind::kNone, Granularity::kTensor, RangeKind::kNone, 40),
          MakeCell(RangeKind::kNone, Granularity::kTensor, RangeKind::kAsymmetric, 44),
          MakeCell(RangeKind::kSymmetric, Granularity::kChannel, RangeKind::kNone, 40.02)};
}

TEST(SweepReport, MarkdownHasTheGridAndTheReportsTable) {
  const std::string text = SweepMarkdown(SomeCells(), {.model = "m", .data = "d", .calibration = "c"});
  EXPECT_THAT(text, HasSubstr("## Weights per channel\n\n| weight \\ activation | none | asymmetric |\n|---|---|---|\n"
                              "| none | 40.00 (float) | 44.00 (+10.0 %) |\n| symmetric | 40.02 (+0.05 %) | - |\n"));
  EXPECT_THAT(text, Not(HasSubstr("per tensor")));  // float weights alone make no grid
  EXPECT_THAT(text, HasSubstr("| symmetric | - | 16.7 (+403 %) | 17.1 (+415 %) | 16.7 (+403 %) |"));
}

TEST(SweepReport, CsvHasALineForEachCell) {
  EXPECT_EQ(
      SweepCsv(SomeCells()),
      "weights,granularity,activations,perplexity,standard_error,change,change_standard_error,nll,tokens,seconds\n"
      "none,,none,40,,0,0.001,0,100,0.000\n"
      "none,,asymmetric,44,,0.1,0.001,0,100,0.000\n"
      "symmetric,channel,none,40.02,,0.0005,0.001,0,100,0.000\n");
}

TEST(SweepReport, HtmlStandsAlone) {
  const std::string page = SweepHtml(SomeCells(), {.model = "<b>&\"", .data = "d", .calibration = "c"});
  EXPECT_THAT(page, HasSubstr("&lt;b&gt;&amp;&quot;"));
  EXPECT_THAT(page, Not(HasSubstr("<b>")));
  EXPECT_THAT(page, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_THAT(page, HasSubstr("44.00"));
  for (const char* loads : {"http:", "https:", "<script", "src=", "@import", "url("}) {
    EXPECT_THAT(page, Not(HasSubstr(loads))) << loads;
  }
}

TEST(ChangeLevel, GrowsWithTheLoss) {
  EXPECT_EQ(ChangeLevel(-0.5), 0);
  EXPECT_EQ(ChangeLevel(0.0009), 0);
  EXPECT_EQ(ChangeLevel(0.001), 1);
  EXPECT_EQ(ChangeLevel(0.05), 4);
  EXPECT_EQ(ChangeLevel(5), 6);
  EXPECT_EQ(ChangeLevel(INFINITY), 6);
  EXPECT_EQ(ChangeLevel(NAN), 6);
  EXPECT_EQ(ChangeLevelLabels().size(), 7U);
  EXPECT_EQ(ChangeText(0.0017), "+0.17 %");
  EXPECT_EQ(ChangeText(-0.00001), "0.00 %");
  EXPECT_EQ(ChangeText(4.024), "+402 %");
}

}  // namespace
}  // namespace phidias
