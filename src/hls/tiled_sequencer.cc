// The sequencer of the design `tiled`, hls/tiled_kernels.h: commands in, passes out, results back.

#include "hls/tiled_header.h"
#include "hls/tiled_kernels.h"
#include "hls/tiled_sampling_stages.h"

namespace phidias {
namespace hls {
namespace tiled {
namespace {

struct Command {
  int32_t opcode;
  int32_t tokens;
  int32_t position;
  int32_t kv_base;
  int32_t kv_groups;
  int32_t logit_mask;
  int32_t logit_kind;
  int32_t ids[kLanes];
  int32_t count;
  int32_t end;
};

// What the first word of the tables says.
struct Tables {
  Word first;
  int32_t embedding;
  int32_t rotary;
  int32_t norms;
};

Command AwaitCommand(const volatile uint32_t* ring, int32_t sequence) {
  const int32_t at = kCommandsAt + (sequence - 1) % kSlots * kSlotFields;
POLL:
  while (static_cast<int32_t>(LoadShared(ring + at + kCommandSequence)) != sequence) {
    PHIDIAS_POLL;
  }
  int32_t fields[kSlotFields];
FIELDS:
  for (int i = 0; i < kSlotFields; ++i) {
    fields[i] = static_cast<int32_t>(LoadShared(ring + at + i));
  }
  Command command;
  command.opcode = fields[kCommandOpcode];
  command.tokens = fields[kCommandTokens];
  command.position = fields[kCommandPosition];
  command.kv_base = fields[kCommandKvBase];
  command.kv_groups = fields[kCommandKvGroups];
  command.logit_mask = fields[kCommandLogitMask];
  command.logit_kind = fields[kCommandLogitKind];
IDS:
  for (int lane = 0; lane < kLanes; ++lane) {
    command.ids[lane] = fields[kCommandToken0 + lane];
  }
  command.count = fields[kCommandCount];
  command.end = fields[kCommandEnd];
  return command;
}

Pass PassOfCommand(const Command& command, const Word& tables) {
  int32_t fields[kHeaderFields];
MODEL:
  PHIDIAS_UNROLL_BEFORE
  for (int i = 0; i < kHeaderFields; ++i) {
    PHIDIAS_UNROLL
    fields[i] = IntAt(tables, i);  // the model's fields stand where a pass has them
  }
  fields[kOpcode] = command.opcode == kStop ? kStop : kPass;
  fields[kTile] = 0;
  fields[kTiles] = IntAt(tables, kTableTiles);
  fields[kTokens] = command.tokens;
  fields[kPosition] = command.position;
  fields[kKvBase] = command.kv_base;
  fields[kKvGroups] = command.kv_groups;
  fields[kLogitMask] = command.logit_mask;
  fields[kLogitKind] = command.logit_kind;
  return PassOf(fields);
}

void SendWords(const Word* tables, int32_t at, int32_t words, Stream<Beat>& out) {
  SimCountRead(tables + at, static_cast<uint64_t>(words) * sizeof(Word));
SEND:
  for (int32_t w = 0; w < words; ++w) {
    PHIDIAS_PIPELINE(1)
    out.write(BeatOf(tables[at + w]));
  }
}

// What a pass takes from the tables up to the last layer, in the core's order.
void SendPass(const Word* memory, const Tables& tables, const Command& command, const Pass& pass, Stream<Beat>& out) {
  const int32_t rotary_words = RotaryWords(pass.rotary_dim);
  SendWords(memory, tables.rotary + pass.position * rotary_words, pass.tokens * rotary_words, out);
EMBEDDINGS:
  for (int32_t lane = 0; lane < pass.tokens; ++lane) {
    SendWords(memory, tables.embedding + command.ids[lane] * IntWords(pass.hidden), IntWords(pass.hidden), out);
  }
  SendWords(memory, tables.norms, pass.layers * NormWords(pass.hidden), out);
}

// The final norm's constants, which a sweep over lm_head begins with.
void SendFinalNorm(const Word* memory, const Tables& tables, const Pass& pass, Stream<Beat>& out) {
  SendWords(memory, tables.norms + pass.layers * NormWords(pass.hidden), NormWords(pass.hidden), out);
}

// One sweep's logits: per row all tiles' groups of 16; or candidates: per row kCandidateWords.
void ReceiveLogits(const Pass& pass, int32_t sweep, Stream<Beat>& results, Word* logits) {
  const int32_t rows = SweepRows(pass, sweep);
  const int32_t row_words = pass.best ? kCandidateWords : pass.tiles * RowGroups(pass.head_rows);
  SimCountWrite(logits, static_cast<uint64_t>(rows * row_words) * sizeof(Word));
WORDS:
  for (int32_t w = 0; w < rows * row_words; ++w) {
    PHIDIAS_PIPELINE(1)
    // Candidates come row by row, logits group by group.
    const int32_t row = pass.best ? w / row_words : w % rows;
    const int32_t word = pass.best ? w % row_words : w / rows;
    logits[(sweep * kHeadRows + row) * row_words + word] = results.read().data;
  }
}

// One pass's header to everybody; its first integer comes back when every memory unit has that.
Pass StartPass(const Command& command, const Word& tables, Stream<HeaderBeat>& headers_out,
               Stream<HeaderBeat>& headers_in, Stream<Beat>& tables_out) {
  const Pass pass = PassOfCommand(command, tables);
  int32_t fields[kPassFields];
  PHIDIAS_PARTITION(fields)
  FieldsOf(pass, fields);
FIELDS:
  for (int i = 0; i < kPassFields; ++i) {
    PHIDIAS_PIPELINE(1)
    headers_out.write(HeaderBeatOf(fields[i]));
    tables_out.write(IntBeatOf(fields[i]));
  }
  headers_in.read();
  return pass;
}

// Tokens one after the other, each chosen after the last, until there are enough, the last one ends the text, or the
// host wants no more. Returns how many, and adds to *saturated.
int32_t Generate(const Word* memory, const Tables& tables, Command command, int32_t sequence, volatile uint32_t* ring,
                 Stream<HeaderBeat>& headers_out, Stream<HeaderBeat>& headers_in, Stream<Beat>& tables_out,
                 Stream<Beat>& results, int32_t* saturated) {
  Choice choice;
  LoadChoice(ring, choice);
  command.tokens = 1;
  command.logit_mask = 1;
  command.logit_kind |= kBestLogits;
  int32_t generated = 0;
  bool more = command.count > 0;
TOKENS:
  while (more) {
    const Pass pass = StartPass(command, tables.first, headers_out, headers_in, tables_out);
    SendPass(memory, tables, command, pass, tables_out);
    SendFinalNorm(memory, tables, pass, tables_out);
    ++command.position;
    command.ids[0] = ChooseToken(results, choice, command.position);
    *saturated += IntAt(results.read().data, 0);
    StoreShared(ring + kGeneratedAt + generated, static_cast<uint32_t>(command.ids[0]) + 1);
    ++generated;
    more = generated < command.count && command.ids[0] != command.end && command.ids[0] != kNoCandidate &&
           static_cast<int32_t>(LoadShared(ring + kHaltAt)) != sequence;
  }
  return generated;
}

void Sequence(const Word* memory, volatile uint32_t* ring, Word* logits, Stream<HeaderBeat>& headers_out,
              Stream<HeaderBeat>& headers_in, Stream<Beat>& tables_out, Stream<Beat>& results) {
  Tables tables;
  SimCountRead(memory, sizeof(Word));
  tables.first = memory[0];
  tables.embedding = IntAt(tables.first, kTableEmbedding);
  tables.rotary = IntAt(tables.first, kTableRotary);
  tables.norms = IntAt(tables.first, kTableNorms);
  StoreShared(ring + kLayoutAt, static_cast<uint32_t>(kLayoutVersion));
  bool running = true;
  int32_t sequence = 1;
COMMANDS:
  while (running) {
    const Command command = AwaitCommand(ring, sequence);
    int32_t saturated = 0;
    int32_t generated = 0;
    if (command.opcode == kGenerate) {
      generated =
          Generate(memory, tables, command, sequence, ring, headers_out, headers_in, tables_out, results, &saturated);
    } else {
      const Pass pass = StartPass(command, tables.first, headers_out, headers_in, tables_out);
      running = pass.opcode != kStop;
      if (running) {
        SendPass(memory, tables, command, pass, tables_out);
      SWEEPS:
        for (int32_t s = 0; s < Sweeps(pass); ++s) {
          SendFinalNorm(memory, tables, pass, tables_out);
          ReceiveLogits(pass, s, results, logits);
        }
        saturated = IntAt(results.read().data, 0);
      }
    }
    volatile uint32_t* const result = ring + kResultsAt + (sequence - 1) % kSlots * kSlotFields;
    StoreShared(result + kResultSaturated, static_cast<uint32_t>(saturated));
    StoreShared(result + kResultGenerated, static_cast<uint32_t>(generated));
    StoreShared(result + kResultSequence, static_cast<uint32_t>(sequence));
    ++sequence;
  }
}

}  // namespace
}  // namespace tiled
}  // namespace hls
}  // namespace phidias

extern "C" void tiled_sequencer(const ap_uint<512>* tables, volatile uint32_t* ring, ap_uint<512>* logits,
                                hls::stream<TiledHeaderBeat>& headers_out, hls::stream<TiledHeaderBeat>& headers_in,
                                hls::stream<TiledBeat>& tables_out, hls::stream<TiledBeat>& results_in) {
// clang-format off
#pragma HLS interface mode=m_axi port=tables bundle=gmem_t offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=ring bundle=gmem_r offset=slave max_read_burst_length=64 num_read_outstanding=4 max_write_burst_length=8 num_write_outstanding=4
#pragma HLS interface mode=m_axi port=logits bundle=gmem_l offset=slave max_write_burst_length=64 num_write_outstanding=4
#pragma HLS interface mode=axis port=headers_out
#pragma HLS interface mode=axis port=headers_in
#pragma HLS interface mode=axis port=tables_out
#pragma HLS interface mode=axis port=results_in
#pragma HLS interface mode=s_axilite port=return
  // clang-format on
  PHIDIAS_TOP("tiled_sequencer");
  phidias::hls::tiled::Sequence(tables, ring, logits, headers_out, headers_in, tables_out, results_in);
}
