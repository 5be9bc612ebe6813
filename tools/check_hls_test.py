#!/usr/bin/env python3
"""Shows on altered copies of a kernel what check_hls.py catches, and that the kernel itself passes."""

import os
import shutil
import subprocess
import tempfile
import unittest

import check_hls

SRC = os.path.join(check_hls.ROOT, "src")
GELU = check_hls.read(os.path.join(SRC, "hls", "gelu.cc"))
CORE = check_hls.read(os.path.join(SRC, "hls", "tiled_core.cc"))
DESIGN = check_hls.read(os.path.join(SRC, "hls", "design.h"))
BEFORE_STAGE = "void Gelu(const Word* x, Word* y, int32_t n) {\n"


class CheckHls(unittest.TestCase):
    def complaints(self, kernel, design=DESIGN, strict=False, name="gelu.cc"):
        """The complaints about the kernel's file with the given text; with `strict` those of the front end alone."""
        with tempfile.TemporaryDirectory() as src:
            shutil.copytree(os.path.join(SRC, "numerics"), os.path.join(src, "numerics"))
            os.makedirs(os.path.join(src, "hls"))
            for header in os.listdir(os.path.join(SRC, "hls")):
                if header.endswith(".h"):
                    shutil.copy(os.path.join(SRC, "hls", header), os.path.join(src, "hls", header))
            path = os.path.join(src, "hls", name)
            for copy, text in ((path, kernel), (os.path.join(src, "hls", "design.h"), design)):
                with open(copy, "w", encoding="utf-8") as file:
                    file.write(text)
            if strict:
                return check_hls.compile_strictly(path, src)
            source = check_hls.Source(path, src)
            source.check_structure()
            source.check_dataflow()
            source.check_interfaces(check_hls.kernel_table(src))
            return source.complaints

    def altered(self, old, new, text=GELU):
        self.assertEqual(text.count(old), 1, old)
        return text.replace(old, new)

    def assert_caught(self, old, new, message, **how):
        complaints = self.complaints(self.altered(old, new), **how)
        self.assertTrue(any(message in complaint for complaint in complaints), complaints)

    def assert_function_caught(self, function, message):
        self.assert_caught(BEFORE_STAGE, function + "\n" + BEFORE_STAGE, message)

    def assert_refused(self, function, message):
        self.assert_caught(BEFORE_STAGE, function + "\n" + BEFORE_STAGE, message, strict=True)

    def test_the_kernel_itself_passes(self):
        self.assertEqual(self.complaints(GELU), [])
        self.assertEqual(self.complaints(GELU, strict=True), [])

    def test_front_end(self):
        self.assert_refused("#include <cmath>", "file not found")
        self.assert_refused("#include <vector>", "file not found")
        self.assert_refused("void F() { throw 1; }", "exceptions disabled")
        self.assert_refused("template <class T> void F() { if constexpr (sizeof(T) == 4) { } }", "C++17")

    def test_structure(self):
        self.assert_function_caught("float F(float x) { return x > 1.0F ? F(x * 0.5F) : x; }", "recursion: F -> F")
        self.assert_function_caught(
            "float G(float x);\nfloat F(float x) { return G(x); }\nfloat G(float x) { return F(x); }", "recursion: "
        )
        self.assert_function_caught("template <int k> int F() { return F<k - 1>(); }", "recursion: F -> F")
        self.assert_function_caught("float* F() { return new float[4]; }", "allocates")
        self.assert_function_caught("struct S { virtual void F() {} };", "F is virtual")
        self.assert_function_caught("float F(float x) { return static_cast<float>(x * 0.1); }", "double literal")
        self.assert_function_caught("void F() { const auto f = [] {}; f(); }", "is a lambda")
        self.assert_function_caught("float G(float x) { return x; }\nvoid F() { float (*f)(float) = G; f(1.0F); }", "points")
        self.assert_function_caught("int F(int n) { while (n > 9) { n -= 3; } return n; }", "a loop without a label")

    def test_streams_between_units(self):
        self.assertEqual(self.complaints(CORE, name="tiled_core.cc"), [])
        for old, new, message in (
            ("#pragma HLS interface mode=axis port=ring_in\n", "", "ring_in has no axis interface"),
            ("mode=ap_ctrl_none", "mode=s_axilite", "tiled_core has no ap_ctrl_none interface"),
            ("RunCore(tables_in, ring_in, ring_out,", "RunCore(tables_in, ring_out, ring_in,", "ring_in is not what the kernel reads"),
        ):
            complaints = self.complaints(self.altered(old, new, CORE), name="tiled_core.cc")
            self.assertTrue(any(message in complaint for complaint in complaints), complaints)

    def test_dataflow(self):
        stage = "PHIDIAS_STAGE(Activate(inputs, n, outputs));"
        self.assert_caught(stage, "PHIDIAS_STAGE(Activate(inputs, n + 1, outputs));", "names, not expressions")
        self.assert_caught(stage, "if (n > 0) { Activate(inputs, n, outputs); }", "nothing else")
        self.assert_caught(stage, "const int m = n;\n" + stage, "not a stream with a name of its own")
        self.assert_caught(stage, "", "stream inputs has producers ['ReadVector'] and consumers []")
        self.assert_caught(stage, stage + "\n" + stage, "stream outputs has producers ['Activate', 'Activate']")
        self.assert_caught('outputs("outputs")', 'outputs("inputs")', "calls itself inputs")
        self.assert_caught('Stream<Word, kStageFifoDepth> outputs("outputs")', 'Stream<Word> outputs("outputs")', "no depth")

    def test_interfaces(self):
        self.assert_caught("port=y bundle=gmem_y", "port=y bundle=gmem_x", "has no bundle=gmem_y")
        self.assert_caught("#pragma HLS interface mode=m_axi port=y", "// ", "y has no m_axi interface")
        self.assert_caught("#pragma HLS interface mode=s_axilite port=return", "", "no s_axilite")
        self.assert_caught('PHIDIAS_TOP("gelu")', 'PHIDIAS_TOP("residual")', 'does not say PHIDIAS_TOP("gelu")')
        self.assert_caught("gelu(const ap_uint<512>* x,", "gelu(ap_uint<512>* x,", "but it is not const")
        rows = '{"x", "ap_uint<512>*", "gmem_x", ArgKind::kRead},\n    {"y"'
        design = DESIGN.replace('kGeluArgs[] = {\n    ' + rows, 'kGeluArgs[] = {\n    ' + rows.replace('"x"', '"in"'))
        self.assertNotEqual(design, DESIGN)
        complaints = self.complaints(GELU, design)
        self.assertTrue(any("other arguments for gelu" in complaint for complaint in complaints), complaints)

    def test_symbols(self):
        with tempfile.TemporaryDirectory() as folder:
            source, library = os.path.join(folder, "gelu.cc"), os.path.join(folder, "lib.a")
            with open(source, "w", encoding="utf-8") as file:
                file.write('extern "C" float expf(float); float F(float x) { return expf(x); } int* G() { return new int; }')
            subprocess.run(["c++", "-O1", "-c", source, "-o", source + ".o"], check=True)
            subprocess.run(["ar", "rc", library, source + ".o"], check=True)
            complaints = "\n".join(check_hls.check_symbols(library))
        self.assertIn("lib.a(gelu.cc.o) needs expf", complaints)
        self.assertIn("needs operator new", complaints)
        self.assertIn("holds 1 of the", complaints)


if __name__ == "__main__":
    unittest.main()
