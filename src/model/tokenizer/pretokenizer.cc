#include "model/tokenizer/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace phidias {
namespace {

// The letters and the numbers that Unicode 15.0, 15.1 and 16.0 added. The reference's engine knows Unicode 16, PCRE2
// 10.42 only 14; a newer PCRE2 has them in \p{L} and \p{N} already.
#define NEW_LETTERS                                                                                          \
  "\\x{1c89}-\\x{1c8a}\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{105c0}-\\x{105f3}\\x{10d4a}-\\x{10d65}"      \
  "\\x{10d6f}-\\x{10d85}\\x{10ec2}-\\x{10ec4}\\x{1123f}-\\x{11240}\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}" \
  "\\x{11390}-\\x{113b5}\\x{113b7}\\x{113d1}\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}"  \
  "\\x{11f12}-\\x{11f33}\\x{1342f}\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}\\x{16100}-\\x{1611d}"           \
  "\\x{16d40}-\\x{16d6c}\\x{18cff}\\x{1b132}\\x{1b155}\\x{1df25}-\\x{1df2a}\\x{1e030}-\\x{1e06d}"            \
  "\\x{1e4d0}-\\x{1e4eb}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"
#define NEW_NUMBERS                                                                      \
  "\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}" \
  "\\x{16130}-\\x{16139}\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1d2c0}-\\x{1d2d3}" \
  "\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}"

// GPT-2's expression,
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// with changes that don't change what it matches in the reference. \s and \S are written as the White_Space property,
// which is what the reference's engine means by them (PCRE2's own \s also has U+180E). Quantifiers are possessive where
// what follows can't match what they'd give back, so that nothing backtracks through a long word; only the run of white
// space gives back, and just its last character.
constexpr char kPattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d"
    "| ?[\\p{L}" NEW_LETTERS "]++| ?[\\p{N}" NEW_NUMBERS
    "]++"
    "| ?[^\\p{White_Space}\\p{L}\\p{N}" NEW_LETTERS NEW_NUMBERS
    "]++"
    "|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}++";

}  // namespace

struct Pretokenizer::Code {
  pcre2_code* code = nullptr;
  bool jit = false;

  Code() = default;
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(code); }
};

struct Pretokenizer::Walker::State {
  std::shared_ptr<const Code> code;
  pcre2_match_data* match = nullptr;
};

Result<Pretokenizer> Pretokenizer::Create() {
  auto code = std::make_shared<Code>();
  int error = 0;
  PCRE2_SIZE where = 0;
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(kPattern), PCRE2_ZERO_TERMINATED,
                             PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &where, nullptr);
  if (code->code == nullptr) {
    return Status(StatusCode::kInternal, StrCat("the installed PCRE2 (error ", error, ") refuses GPT-2's pattern at ",
                                                where, "; PCRE2 10.40 or later, built with Unicode, is needed"));
  }
  // Without JIT (a system that forbids writable code) the interpreter does the same, slower.
  code->jit = pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE) == 0;
  return Pretokenizer(std::move(code));
}

void Pretokenizer::Walker::Free::operator()(State* state) const {
  pcre2_match_data_free(state->match);
  delete state;
}

Pretokenizer::Walker::Walker(const Pretokenizer& pretokenizer) : state_(new State) {
  state_->code = pretokenizer.code_;
  state_->match = pcre2_match_data_create(1, nullptr);
}

size_t Pretokenizer::Walker::WordEnd(std::string_view piece, size_t at) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(piece.data());
  const Code& code = *state_->code;
  if (state_->match == nullptr) {
    return 0;
  }
  // The caller has checked the UTF-8. The pattern has no groups and next to no backtracking, so 32 kB of machine stack,
  // which JIT code has by itself, are plenty at any length.
  int result = PCRE2_ERROR_JIT_STACKLIMIT;
  if (code.jit) {
    result = pcre2_jit_match(code.code, subject, piece.size(), at, PCRE2_NO_UTF_CHECK, state_->match, nullptr);
  }
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
    result =
        pcre2_match(code.code, subject, piece.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, state_->match, nullptr);
  }
  return result < 0 ? 0 : pcre2_get_ovector_pointer(state_->match)[1];
}

}  // namespace phidias
