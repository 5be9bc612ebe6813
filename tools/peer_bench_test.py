#!/usr/bin/env python3
"""Runs peer_bench.py on made-up programs: what it passes on, what it makes of their numbers, and what it says of bad ones."""

import contextlib
import io
import json
import os
import stat
import tempfile
import unittest

import peer_bench

# A program that notes its arguments and answers with the next of its rates.
FAKE = """#!/usr/bin/env python3
import json, os, sys
log = {log!r}
rates = {rates!r}
with open(log, "a") as out:
    out.write(json.dumps(sys.argv) + "\\n")
count = sum(1 for line in open(log) if json.loads(line)[0] == sys.argv[0])
print("loading...")
print(json.dumps([{{"n_prompt": 0, "n_gen": 8, "avg_ts": rates[count - 1], "read_ratio": 0.5}},
                  {{"n_prompt": 16, "n_gen": 0, "avg_ts": 100}}]))
"""


SLEEPY = """#!/usr/bin/env python3
import json, time
with open({log!r}, "a", buffering=1) as log:
    for _ in range(50):
        print(time.monotonic(), file=log)
        time.sleep(0.02)
samples = [int(t * 1e9) for t in {times!r}]
print(json.dumps([{{"n_prompt": 0, "n_gen": 8, "avg_ts": 1, "samples_ns": samples}}]))
"""


class PeerBench(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.log = self.path("log")

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def program(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(self.path(name), stat.S_IRWXU)
        return self.path(name)

    def fake(self, name, rates):
        return self.program(name, FAKE.format(log=self.log, rates=rates))

    def run_main(self, phidias, peer, *more):
        """(stdout, what sys.exit was given)."""
        command = ["--phidias", phidias, "--peer", peer, "--gguf", phidias, "--model", phidias, "-t", "3", *more]
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                peer_bench.main(command)
                return out.getvalue(), None
            except SystemExit as end:
                return out.getvalue(), end.code if isinstance(end.code, str) else err.getvalue()

    def calls(self):
        with open(self.log, encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    def test_ratios_of_medians_measured_in_turns(self):
        ours = self.fake("ours", [10, 40, 20])
        theirs = self.fake("theirs", [10, 10, 8])
        out, error = self.run_main(ours, theirs, "-r", "3", "-o", "json", "--peer-args=-rtr 1", "-p", "16", "-n", "8")
        self.assertIsNone(error)
        rows = {row["test"]: row for row in json.loads(out)}
        self.assertEqual(rows["tg8"]["ratio_of_medians"], 2.0)
        self.assertEqual((rows["tg8"]["ratio_min"], rows["tg8"]["ratio_max"]), (1.0, 4.0))
        self.assertEqual(rows["tg8"]["read_ratio"], 0.5)
        self.assertEqual(rows["pp16"]["ratio_of_medians"], 1.0)
        calls = self.calls()
        self.assertEqual([call[0] for call in calls], [ours, theirs, theirs, ours, ours, theirs])
        self.assertEqual(calls[0][1:3], ["bench", "-q"])
        for call in calls:
            for flag, value in (("-p", "16"), ("-n", "8"), ("-t", "3"), ("-r", "1"), ("-o", "json")):
                self.assertEqual(call[call.index(flag) + 1], value)
        self.assertEqual(calls[1][-4:], ["-mmp", "0", "-rtr", "1"])
        self.assertNotIn("-mmp", calls[0])

    def test_table(self):
        out, error = self.run_main(self.fake("ours", [10]), self.fake("theirs", [8]), "-r", "1", "--peer-mmap")
        self.assertIsNone(error)
        self.assertIn("| tg8 | 10.00 | 8.00 | 1.250 | 1.250 to 1.250 | 50 % | - |", out)
        self.assertNotIn("-mmp", self.calls()[1])

    def test_errors_are_named(self):
        good = self.fake("good", [10] * 9)
        for text, message in (
            ("#!/bin/sh\necho no >&2; exit 3\n", "exit status 3"),
            ("#!/bin/sh\necho hello\n", "its output is no JSON"),
            ("#!/bin/sh\necho '[]'\n", "not a list of results"),
            ("#!/bin/sh\necho '[{\"n_prompt\": 1}]'\n", "lacks n_gen, avg_ts"),
            ("#!/bin/sh\necho '[{\"n_prompt\": 1, \"n_gen\": 0, \"avg_ts\": 0}]'\n", "expected a positive rate"),
            ("#!/bin/sh\necho '[{\"n_prompt\": 1, \"n_gen\": 0, \"avg_ts\": 5}]'\n", "no test in common"),
            ("#!/no/such/interpreter\n", "cannot run"),
        ):
            out, error = self.run_main(good, self.program("bad", text), "-r", "1")
            self.assertEqual(out, "")
            self.assertIn(message, error)

    def sleepy(self, name, times):
        """A llama-bench that says when it is awake, and at the end that its repetitions took so many seconds."""
        return self.program(name, SLEEPY.format(log=self.path(name + ".awake"), times=times))

    def awake(self, name):
        with open(self.path(name + ".awake"), encoding="utf-8") as lines:
            return [(float(line), name) for line in lines]

    def test_slices_leave_out_what_was_stopped(self):
        ours = self.sleepy("ours", [0.5, 0.4, 0.9, 0.4, 0.5])
        theirs = self.sleepy("theirs", [0.8, 0.8, 1.3, 1.6, 0.8, 0.8])
        more = ["-r", "5", "--slices", "0.4", "--load-seconds", "0.2"]
        out, error = self.run_main(ours, theirs, *more, "-o", "json")
        self.assertIsNone(error)
        row = json.loads(out)[0]
        self.assertEqual(row["test"], "tg8")
        self.assertEqual(row["phidias_ts"], [16.0, 16.0, 20.0, 20.0])
        self.assertEqual(row["peer_ts"], [10.0, 10.0, 10.0, 10.0])
        self.assertEqual(row["ratio_of_medians"], 1.8)
        self.assertEqual((row["ratio_of_lowers"], row["ratio_of_uppers"]), (1.6, 2.0))
        out, error = self.run_main(ours, theirs, *more)
        self.assertIn("| tg8 | 18.00 (16.00 to 20.00) | 10.00 (10.00 to 10.00) | 1.800 | 1.600, 2.000 | 4, 4 |", out)

    def test_slices_are_turns(self):
        names = [os.path.basename(self.sleepy(name, [1, 1, 1])) for name in ("ours", "theirs")]
        self.run_main(*map(self.path, names), "--slices", "0.4", "--load-seconds", "0.2")
        seen = sorted(self.awake("ours") + self.awake("theirs"))
        self.assertGreater(len(seen), 60)
        switches = sum(1 for a, b in zip(seen, seen[1:]) if a[1] != b[1])
        self.assertTrue(2 <= switches <= 12, switches)

    def test_slices_name_what_goes_wrong(self):
        good = self.sleepy("good", [1, 1, 1])
        for text, message in (
            ("#!/bin/sh\necho no >&2; exit 3\n", "exit status 3"),
            ("#!/bin/sh\necho hello\n", "its output is no JSON"),
            ("#!/bin/sh\nsleep 60\n", "not done after 3 s"),
            ("#!/no/such/interpreter\n", "cannot run"),
            ("#!/bin/sh\necho '[{\"n_prompt\": 0, \"n_gen\": 8, \"avg_ts\": 1, \"samples_ns\": [5]}]'\n", "1 of 1 repetitions"),
            ("#!/bin/sh\necho '[{\"n_prompt\": 9, \"n_gen\": 0, \"avg_ts\": 1}]'\n", "no test in common"),
        ):
            out, error = self.run_main(good, self.program("bad", text), "-r", "4", "--slices", "0.3", "--load-seconds", "0.1",
                                       "--timeout", "3")
            self.assertEqual(out, "")
            self.assertIn(message, error)
        self.assertIn("2 tests; --slices measures one",
                      self.run_main(self.fake("two", [10] * 9), good, "--slices", "0.3", "--load-seconds", "0.1")[1])

    def test_bad_arguments(self):
        good = self.fake("good", [10] * 9)
        self.assertIn("no such file", self.run_main(good, self.path("nowhere"))[1])
        self.assertIn("at least 1", self.run_main(good, good, "-r", "0")[1])
        self.assertIn("above 0", self.run_main(good, good, "--slices", "0")[1])


if __name__ == "__main__":
    unittest.main()
