// Link files: what is written is read back, bad lines are refused by their number, each rule of the linter fires, and
// the files in hls/vitis/ are what the design makes and pass.

#include "backend/fpga/link_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backend/fpga/placement.h"
#include "common/file.h"

namespace phidias::fpga {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const char* const kU280 = kCards[0].platform;

KernelArgument Memory(const char* name, const char* bundle, bool writes = false, int bits = 512) {
  return {name, ArgumentKind::kMemory, "ap_uint<512>*", 8, bits, writes, bundle};
}

std::vector<KernelSignature> Kernels() {
  return {
      {"copy",
       {Memory("in", "gmem0"), Memory("out", "gmem1", true), {"n", ArgumentKind::kScalar, "int", 4, 0, false, ""}}},
      {"shared", {Memory("a", "gmem"), Memory("b", "gmem")}},
      {"source", {{"out", ArgumentKind::kStreamOut, "stream", 0, 512, false, ""}}},
      {"sink", {{"in", ArgumentKind::kStreamIn, "stream", 0, 512, false, ""}}},
      {"narrow", {{"in", ArgumentKind::kStreamIn, "stream", 0, 32, false, ""}}},
  };
}

// A link file of the lines given, under [connectivity].
LinkFile Link(const std::string& lines) {
  const Result<LinkFile> link = ParseLinkFile(StrCat("platform=", kU280, "\n[connectivity]\n", lines), "x.cfg");
  EXPECT_TRUE(link.ok()) << link.status().message();
  return link.ok() ? *link : LinkFile();
}

std::vector<std::string> Lint(const std::string& lines) {
  return LintLinkFile(Link(lines), Kernels());
}

TEST(LinkFile, IsReadBackAsItWasWritten) {
  const LinkFile link = {kU280,
                         300,
                         {{"first", "source", 0}, {"second", "sink", -1}, {"c", "copy", 2}},
                         {{"c", "in", {"HBM", 4, 7}}, {"c", "out", {"DDR", 1, 1}}},
                         {{"first", "out", "second", "in", 64}}};
  const Result<LinkFile> back = ParseLinkFile(WriteLinkFile(link, LinkTarget::kHw), "x.cfg");
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(*back, link);
  EXPECT_THAT(WriteLinkFile(link, LinkTarget::kHwEmu), HasSubstr("target=hw_emu\ndebug=1\n"));
}

TEST(LinkFile, ReadsWhatPeopleWriteForVitis) {
  const LinkFile link = Link(
      "nk = copy:2 # named by the tool\r\n"
      "sp=copy_1.in:HBM[0:3]\n"
      "\n"
      "slr=copy_2:SLR1\n"
      "[vivado]\nprop=run.impl_1.strategy=Explore\n");
  EXPECT_THAT(link.units, ElementsAre(LinkUnit{"copy_1", "copy", -1}, LinkUnit{"copy_2", "copy", 1}));
  EXPECT_EQ(link.ports.at(0).banks, (BankRange{"HBM", 0, 3}));
}

TEST(LinkFile, RefusesWhatItCannotReadByLine) {
  for (const char* line : {"nk=copy",          "nk=copy:0",
                           "nk=copy:2:a",      "nk=copy:1:a.b",
                           "nk=copy:x",        "nk=:1",
                           "nk=copy:1:a b",    "sp=a.in",
                           "sp=a.in:HBM",      "sp=a.in:HBM[",
                           "sp=a.in:HBM[3:2]", "sp=a.in:HBM[-1]",
                           "sp=a:HBM[0]",      "sp=a.in:HBM[99999999999]",
                           "sc=a.out:b",       "sc=a.out:b.in:x",
                           "slr=a:1",          "slr=a:SLRx",
                           "nonsense",         "nk=copy:99999999",
                           "[unended"}) {
    const Status status = ParseLinkFile(StrCat("[connectivity]\n", line, "\n"), "x.cfg").status();
    EXPECT_EQ(status.code(), StatusCode::kDataError) << line;
    EXPECT_THAT(status.message(), HasSubstr("x.cfg:2: cannot read")) << line;
  }
  EXPECT_THAT(ParseLinkFile("[connectivity]\nslr=a:SLR0\n", "x.cfg").status().message(),
              HasSubstr("slr= names \"a\", which no nk= line makes"));
}

TEST(LinkLint, TakesAGoodFile) {
  EXPECT_THAT(Lint("nk=copy:1:c\nsp=c.in:HBM[0:3]\nsp=c.out:PLRAM[5]\nslr=c:SLR2\n"), IsEmpty());
  EXPECT_THAT(Lint("nk=source:1:a\nnk=sink:1:b\nsc=a.out:b.in:16\n"), IsEmpty());
}

TEST(LinkLint, Names) {
  EXPECT_THAT(Lint("nk=copy:1:c\nnk=copy:1:c\nsp=c.in:HBM[0]\nsp=c.out:HBM[0]\n"),
              ElementsAre("unit c is there twice"));
  EXPECT_THAT(Lint("nk=cpy:1:c\n"), ElementsAre("unit c: there is no kernel cpy"));
  EXPECT_THAT(Lint("nk=copy:1:c\nsp=c.in:HBM[0]\nsp=c.out:HBM[0]\nsp=d.in:HBM[0]\n"),
              ElementsAre("sp=d.in:HBM[0]: there is no unit d"));
  EXPECT_THAT(Lint("nk=copy:1:c\nsp=c.in:HBM[0]\nsp=c.out:HBM[0]\nsp=c.x:HBM[0]\n"),
              ElementsAre("sp=c.x:HBM[0]: kernel copy has no argument x"));
  EXPECT_THAT(Lint("nk=copy:1:c\nsp=c.in:HBM[0]\nsp=c.out:HBM[0]\nsp=c.n:HBM[0]\n"),
              ElementsAre("sp=c.n:HBM[0]: n is not a memory argument"));
  EXPECT_THAT(Lint("nk=copy:1:c\nsp=c.in:HBM[0]\n"), ElementsAre("unit c: out is wired to nothing (sp=)"));
  EXPECT_THAT(Lint("nk=copy:1:c\nsp=c.in:HBM[0]\nsp=c.in:HBM[1]\nsp=c.out:HBM[0]\n"),
              ElementsAre("sp=c.in:HBM[1]: c.in is wired twice"));
}

TEST(LinkLint, Memories) {
  EXPECT_THAT(Lint("nk=copy:1:c\nsp=c.in:HBM[31:32]\nsp=c.out:MRAM[0]\n"),
              ElementsAre("sp=c.in:HBM[31:32]: u280 has HBM[0] to HBM[31]", "sp=c.out:MRAM[0]: u280 has no MRAM"));
  EXPECT_THAT(Lint("nk=shared:1:s\nsp=s.a:HBM[0]\nsp=s.b:HBM[1]\n"),
              ElementsAre("sp=s.b:HBM[1]: shares bundle gmem with a, which is wired to HBM[0]"));
  EXPECT_THAT(Lint("nk=copy:1:c\nsp=c.in:HBM[0]\nsp=c.out:HBM[0]\nslr=c:SLR3\n"),
              ElementsAre("unit c: u280 has no SLR3"));
  LinkFile link = Link("");
  link.platform = "xilinx_u250_gen3x16_xdma_4_1";
  EXPECT_THAT(LintLinkFile(link, Kernels()), ElementsAre(HasSubstr("is not one of a known card")));
}

TEST(LinkLint, Masters) {
  std::string lines = "nk=copy:17\n";
  for (int i = 1; i <= 17; ++i) {
    lines += StrCat("sp=copy_", i, ".in:HBM[0]\nsp=copy_", i, ".out:", i <= 15 ? "HBM[1]" : "DDR[0]", "\n");
  }
  EXPECT_THAT(Lint(lines), IsEmpty());  // 32
  lines.replace(lines.find("DDR[0]"), 6, "HBM[2]");
  EXPECT_THAT(Lint(lines), ElementsAre(HasSubstr("33 HBM masters")));
  // Arguments of one bundle are one master.
  EXPECT_EQ(MeasureLinkFile(Link("nk=shared:1:s\nsp=s.a:HBM[0]\nsp=s.b:HBM[0]\n"), Kernels(), kCards[0]).hbm_masters,
            1);
}

TEST(LinkLint, Streams) {
  EXPECT_THAT(Lint("nk=source:1:a\nnk=narrow:1:b\nsc=a.out:b.in\n"),
              ElementsAre("sc=a.out:b.in: 512 bits wide at one end and 32 at the other"));
  EXPECT_THAT(Lint("nk=source:1:a\nnk=sink:1:b\nsc=b.in:a.out\n"),
              ElementsAre("sc=b.in:a.out: goes from an output stream to an input stream"));
  EXPECT_THAT(Lint("nk=source:1:a\nnk=sink:2:b.c\nsc=a.out:b.in\nsc=a.out:c.in\n"),
              ElementsAre("sc=a.out:c.in: a.out is wired twice"));
  EXPECT_THAT(Lint("nk=source:1:a\n"), ElementsAre("unit a: out is wired to nothing (sc=)"));
}

TEST(LinkLint, Wires) {
  // A 512-bit port that reads, and one that writes: 655 wires each, from region 2 down to the HBM below region 0.
  const LinkUsage usage =
      MeasureLinkFile(Link("nk=copy:1:c\nsp=c.in:HBM[0]\nsp=c.out:PLRAM[4]\nslr=c:SLR2\n"), Kernels(), kCards[0]);
  EXPECT_THAT(usage.wires, ElementsAre(655, 655));
  std::string lines = "nk=copy:26\n";
  for (int i = 1; i <= 26; ++i) {
    lines += StrCat("sp=copy_", i, ".in:HBM[0]\nsp=copy_", i, ".out:PLRAM[2]\nslr=copy_", i, ":SLR1\n");
  }
  EXPECT_THAT(Lint(lines), ElementsAre("17030 wires between SLR0 and SLR1, and u280 has 16797"));
}

TEST(LinkFile, RetargetedForACardWithoutDdr) {
  const Result<LinkFile> link = RetargetLinkFile(
      Link("nk=copy:2:c.d\nsp=c.in:HBM[4:29]\nsp=c.out:DDR[0]\nsp=d.in:DDR[1]\nsp=d.out:DDR[0]\n"), *FindCard("u55c"));
  ASSERT_TRUE(link.ok());
  EXPECT_EQ(link->ports[1].banks, (BankRange{"HBM", 30, 30}));
  EXPECT_EQ(link->ports[2].banks, (BankRange{"HBM", 31, 31}));
  EXPECT_EQ(link->ports[3].banks, (BankRange{"PLRAM", 4, 4}));
  EXPECT_THAT(LintLinkFile(*link, Kernels()), IsEmpty());
  EXPECT_EQ(RetargetLinkFile(Link("nk=copy:1:c\nsp=c.in:PLRAM[9]\n"), kCards[1]).status().code(),
            StatusCode::kUnsupported);
}

TEST(VitisLinkFiles, AreWhatTheDesignMakesAndPassTheLinter) {
  for (const Card& card : kCards) {
    for (const LmHeadType type : {LmHeadType::kF16, LmHeadType::kBF16, LmHeadType::kF32}) {
      const Result<LinkFile> link = RetargetLinkFile(DesignLinkFile(hls::kReportDesign, type), card);
      ASSERT_TRUE(link.ok()) << link.status().message();
      EXPECT_THAT(LintLinkFile(*link, DesignKernels()), IsEmpty());
      for (const auto& [target, name] : {std::pair(LinkTarget::kHw, "hw"), std::pair(LinkTarget::kHwEmu, "hw_emu")}) {
        const std::string path = StrCat(PHIDIAS_SOURCE_DIR "/src/hls/vitis/", card.name, "/report-",
                                        LmHeadTypeName(type), ".", name, ".cfg");
        const Result<std::string> text = ReadFile(path, 1 << 20);
        ASSERT_TRUE(text.ok()) << text.status().message();
        EXPECT_EQ(*text, WriteLinkFile(*link, target))
            << "made from another placement: phidias_link config " << card.name << " " << LmHeadTypeName(type) << " "
            << name << " " << path;
      }
    }
  }
}

}  // namespace
}  // namespace phidias::fpga
