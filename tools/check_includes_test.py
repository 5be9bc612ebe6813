#!/usr/bin/env python3
"""Shows on small made-up repositories what check_includes.py catches and what it lets through."""

import os
import tempfile
import unittest

from check_includes import check_tree

HEADERS = [
    "src/common/status.h",
    "src/numerics/half.h",
    "src/hls/design.h",
    "src/hls/gemm.h",
    "src/backend/weights.h",
    "src/backend/cpu/gemm.h",
    "src/backend/fpga/schedule.h",
    "src/model/phi.h",
    "src/engine/session.h",
    "tests/support/golden.h",
    "tests/other.h",
]


class CheckIncludes(unittest.TestCase):
    def complaints(self, path, line):
        """The complaints about a repository of HEADERS (empty files) and one file that holds `line`."""
        with tempfile.TemporaryDirectory() as root:
            for name, text in [(header, "") for header in HEADERS] + [(path, "\n" + line + "\n")]:
                os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
                with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                    file.write(text)
            return check_tree(root)[0]

    def assert_allowed(self, path, line):
        self.assertEqual(self.complaints(path, line), [])

    def assert_caught(self, path, line, message):
        complaints = self.complaints(path, line)
        self.assertEqual(len(complaints), 1, complaints)
        self.assertIn(f"{path}:2: {line}: ", complaints[0])
        self.assertIn(message, complaints[0])

    def test_downward_and_own_layer(self):
        self.assert_allowed("src/model/a.cc", '#include "common/status.h"')
        self.assert_allowed("src/model/a.cc", '#include "model/phi.h"')
        self.assert_allowed("src/engine/a.cc", '#include "backend/cpu/gemm.h"')
        self.assert_allowed("src/cli/a.cc", '#include "engine/session.h"')
        self.assert_allowed("src/model/a.cc", "#include <vector>")

    def test_upward(self):
        self.assert_caught("src/common/a.h", '#include "model/phi.h"', "common may include: common")
        self.assert_caught("src/model/a.cc", '#include "engine/session.h"', "model may include")
        self.assert_caught("src/backend/cpu/a.cc", '#include "model/phi.h"', "backend may include")
        self.assert_caught("src/hls/a.h", '#include "common/status.h"', "hls may include: hls, numerics")

    def test_only_part_of_a_layer(self):
        self.assert_allowed("src/model/a.cc", '#include "backend/weights.h"')
        self.assert_caught("src/model/a.cc", '#include "backend/cpu/gemm.h"', "backend/*.h")
        self.assert_allowed("src/sim/a.cc", '#include "backend/fpga/schedule.h"')
        self.assert_caught("src/sim/a.cc", '#include "backend/cpu/gemm.h"', "sim may include")
        self.assert_allowed("src/backend/fpga/a.cc", '#include "hls/design.h"')
        self.assert_caught("src/backend/fpga/a.cc", '#include "hls/gemm.h"', "hls/design.h")

    def test_system_headers(self):
        self.assert_allowed("src/numerics/a.h", "#include <cstdint>")
        self.assert_caught("src/numerics/a.h", "#include <cmath>", "numerics may include: <cstdint>")
        self.assert_allowed("src/hls/a.cc", "#include <hls_stream.h>")
        self.assert_caught("src/hls/a.cc", "#include <vector>", "hls may include: <cstdint>")
        self.assert_allowed("src/hls/csim/a.cc", "#include <vector>")
        self.assert_caught("src/model/a.cc", "#include <common/status.h>", 'goes in ""')

    def test_what_tests_may(self):
        self.assert_allowed("src/model/a_test.cc", '#include "tests/support/golden.h"')
        self.assert_allowed("src/model/a_test.cc", "#include <gtest/gtest.h>")
        self.assert_allowed("tests/end_to_end_test.cc", '#include "engine/session.h"')
        self.assert_allowed("tests/end_to_end_test.cc", '#include "tests/other.h"')
        self.assert_caught("src/model/a_test.cc", '#include "engine/session.h"', "model may include")
        self.assert_caught("src/model/a_test.cc", '#include "tests/other.h"', "tests/support/")
        self.assert_caught("src/model/a.cc", '#include "tests/support/golden.h"', "only tests")
        self.assert_caught("src/model/a.cc", "#include <gtest/gtest.h>", "only tests")

    def test_rooted_and_existing(self):
        self.assert_caught("src/model/a.cc", '#include "phi.h"', "no such file below src/")
        self.assert_caught("src/model/a.cc", '#include "model/absent.h"', "no such file below src/")
        self.assert_caught("src/model/a.cc", '#include "../common/status.h"', "not relative")
        self.assert_caught("tests/a_test.cc", '#include "tests/absent.h"', "no such file")

    def test_unknown_layer(self):
        self.assertIn("not in a known layer", self.complaints("src/util/a.cc", "")[0])
        self.assertIn("not in a known layer", self.complaints("src/a.cc", "")[0])


if __name__ == "__main__":
    unittest.main()
