#!/usr/bin/env python3
"""Shows that files looked at together get the verdicts that each gets alone."""

import json
import os
import shutil
import tempfile
import unittest
from unittest import mock

import run_tidy

TOOL = shutil.which("clang-tidy-14") or shutil.which("clang-tidy")

CLEAN = """#include <string>
namespace phidias {{
namespace {{
constexpr int kMost = {most};
struct Limits {{
  int most = kMost;
}};
}}  // namespace
int {name}(const std::string& text) {{
  return static_cast<int>(text.size()) + Limits().most;
}}
}}  // namespace phidias
"""
BAD_NAME = "int not_our_style() {\n  return 1;\n}\n"
DIVIDES = "int Divide(int a) {\n  const int zero = 0;\n  return a / zero;\n}\n"
HELPER = """namespace {{
{type} Helper(int a) {{
  return static_cast<{type}>(a);
}}
}}  // namespace
int {name}() {{
  return static_cast<int>(Helper(1));
}}
"""


def clean(name, most=1):
    return CLEAN.format(name=name, most=most)


class RunTidy(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = os.path.realpath(folder.name)
        shutil.copy(os.path.join(run_tidy.ROOT, ".clang-tidy"), self.root)
        for name, value in (("ROOT", self.root), ("TOGETHER", os.path.join(self.root, "build", "tidy"))):
            patch = mock.patch.object(run_tidy, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def entries(self, sources, layer="common"):
        """Compile commands of the sources, by name, which are written."""
        entries = []
        folder = os.path.join(self.root, "src", layer)
        os.makedirs(folder, exist_ok=True)
        for name, text in sources.items():
            path = os.path.join(folder, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            command = f"/usr/bin/c++ -I{self.root}/src -std=c++20 -o {name}.o -c {path}"
            entries.append({"directory": self.root, "file": path, "command": command})
        with open(os.path.join(self.root, "compile_commands.json"), "w", encoding="utf-8") as file:
            json.dump(entries, file)
        return entries

    def batches(self, sources, layer="common"):
        return run_tidy.in_batches([(entry, entry["file"]) for entry in self.entries(sources, layer)])

    def findings(self, sources, layer="common"):
        """{file: what was said} of the files that don't pass, of one batch that all of them must make."""
        batches = self.batches(sources, layer)
        self.assertEqual([len(batch) for batch in batches], [len(sources)])
        results = run_tidy.tidy_batch(TOOL, self.root, "0", batches[0])
        self.assertEqual(len(results), len(sources))
        return {os.path.basename(entry["file"]): said for entry, _, passed, said in results if not passed}

    def test_flags(self):
        entry = {"command": "/usr/bin/ccache /usr/bin/c++ -DA=\\\"b\\\" -O2 -o x/y.cc.o -c /z/y.cc"}
        self.assertEqual(run_tidy.flags_of(entry), ['-DA="b"', "-O2"])
        entry = {"command": "/usr/bin/c++ -O2 -o x/y.cc.o -c /z/y.cc"}
        self.assertEqual(run_tidy.flags_of(entry), ["-O2"])

    def test_clean_files_pass_together_though_names_are_taken_twice(self):
        self.assertEqual(self.findings({"a.cc": clean("A"), "b.cc": clean("B", 2), "c.cc": clean("C", 3)}), {})
        with open(os.path.join(self.root, "build/tidy/common/together_0.cc"), encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(text.count("#include <string>"), 1)
        self.assertIn("constexpr int kMost2 = 3;", text)

    def test_a_finding_is_told_of_its_own_file(self):
        said = self.findings({"a.cc": clean("A"), "b.cc": BAD_NAME, "c.cc": clean("C"), "d.cc": clean("D")})
        self.assertEqual(list(said), ["b.cc"])
        self.assertIn("src/common/b.cc:1:5: error: invalid case style for function 'not_our_style'", said["b.cc"])

    def test_the_analyzer_sees_every_file(self):
        for last in (False, True):
            sources = {"a.cc": clean("A"), "z.cc": DIVIDES} if last else {"a.cc": DIVIDES, "z.cc": clean("Z")}
            said = self.findings(sources)
            self.assertEqual(list(said), ["z.cc" if last else "a.cc"])
            self.assertIn("DivideZero", str(said))

    def test_files_that_dont_compile_together_pass_alone(self):
        # Two functions that differ by what they return only.
        sources = {"a.cc": HELPER.format(type="int", name="A"), "b.cc": HELPER.format(type="int64_t", name="B")}
        sources["b.cc"] = "#include <cstdint>\n" + sources["b.cc"]
        self.assertEqual(self.findings(sources), {})

    def test_a_function_twice_makes_two_batches(self):
        sources = {"a.cc": HELPER.format(type="int", name="A"), "b.cc": HELPER.format(type="int", name="B")}
        self.assertEqual([len(batch) for batch in self.batches(sources)], [1, 1])

    def test_a_layers_own_rules_hold(self):
        sources = {"a.cc": clean("A"), "b.cc": BAD_NAME}
        self.assertEqual(list(self.findings(sources, "cli")), ["b.cc"])
        with open(os.path.join(self.root, "src/cli/.clang-tidy"), "w", encoding="utf-8") as file:
            file.write("InheritParentConfig: true\nChecks: '-readability-identifier-naming'\n")
        self.assertEqual(self.findings(sources, "cli"), {})


if __name__ == "__main__":
    unittest.main()
