#!/usr/bin/env python3
"""Measures phidias against another program's llama-bench, in turns, and prints the ratios of the medians.

  tools/peer_bench.py --peer PATH/TO/llama-bench --gguf PEER.gguf --model PHIDIAS_MODEL -p 512 -n 128 -t 2 -r 5
  tools/peer_bench.py ... --peer-args="-rtr 1" --phidias-args="--arith integer"
  tools/peer_bench.py ... -p 0 -n 16 -r 30 --slices 1.5

A shared machine's speed changes from minute to minute, so the two never run far apart: each round starts both programs
once (one warm-up and one measured repetition of every test), the order changing from round to round, and a round's ratio
is that of the same minute. With --slices both are loaded at once and each is stopped while the other has a slice of some
seconds, so that they share every minute; -r is then the repetitions of each, and those with a stop in them are left out.
That needs memory for both models, and one test (-p 0 or -n 0). The peer runs without mmap (-mmp 0), its weights in
anonymous memory; --peer-mmap leaves that out, and --peer-args passes anything else on. Both must know the flags -p -n -t
-r -o json.
"""

import argparse
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile

KEYS = ("n_prompt", "n_gen", "avg_ts")


class BenchError(Exception):
    """What went wrong, for the user, in one line."""


def test_name(key):
    prompt, generate = key
    return "+".join([f"pp{prompt}"] * (prompt > 0) + [f"tg{generate}"] * (generate > 0))


def parse_results(text, who):
    """{(n_prompt, n_gen): result} from a llama-bench's JSON. Lines before the list (a loader's chatter) are skipped."""
    start = 0 if text.startswith("[") else text.find("\n[") + 1
    try:
        results = json.loads(text[start:])
    except ValueError as error:
        raise BenchError(f"{who}: its output is no JSON ({error}); it began: {text[:80]!r}") from None
    if not isinstance(results, list) or not results:
        raise BenchError(f"{who}: its JSON is not a list of results")
    out = {}
    for result in results:
        missing = [key for key in KEYS if not isinstance(result, dict) or not isinstance(result.get(key), (int, float))]
        if missing:
            raise BenchError(f"{who}: a result lacks {', '.join(missing)}; is it a llama-bench?")
        if result["avg_ts"] <= 0:
            raise BenchError(f"{who}: {result['avg_ts']} tokens/s; expected a positive rate")
        out[(result["n_prompt"], result["n_gen"])] = result
    return out


def run(command, who, timeout):
    """Stdout of the command."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, check=False)
    except OSError as error:
        raise BenchError(f"{who}: cannot run {command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise BenchError(f"{who}: not done after {timeout:.0f} s (--timeout)") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise BenchError(f"{who}: exit status {done.returncode} of {shlex.join(command)}: {' / '.join(said)}")
    return done.stdout.decode(errors="replace")


def commands(args, repetitions=1):
    """[(name, command)] of the two programs."""
    tests = ["-p", args.n_prompt, "-n", args.n_gen, "-t", str(args.threads), "-r", str(repetitions), "-o", "json"]
    phidias = [args.phidias, "bench", "-q", "-m", args.model] + tests + shlex.split(args.phidias_args)
    peer = [args.peer, "-m", args.gguf] + tests + ([] if args.peer_mmap else ["-mmp", "0"]) + shlex.split(args.peer_args)
    return [("phidias", phidias), ("peer", peer)]


def measure(args):
    """{name: [results of each round]}."""
    out = {"phidias": [], "peer": []}
    for index in range(args.rounds):
        pair = commands(args)
        for name, command in pair if index % 2 == 0 else pair[::-1]:
            results = parse_results(run(command, name, args.timeout), name)
            out[name].append(results)
            rates = ", ".join(f"{test_name(key)} {result['avg_ts']:.2f}" for key, result in results.items())
            print(f"round {index + 1}/{args.rounds}: {name}: {rates} tokens/s", file=sys.stderr, flush=True)
    return out


class Sleeper:
    """A program that runs only while it is awake."""

    def __init__(self, name, command):
        self.name = name
        self.command = command
        self.output = tempfile.TemporaryFile()
        self.errors = tempfile.TemporaryFile()
        try:
            self.process = subprocess.Popen(command, stdout=self.output, stderr=self.errors, start_new_session=True)
        except OSError as error:
            raise BenchError(f"{name}: cannot run {command[0]}: {error.strerror}") from None

    def ended(self):
        return self.process.poll() is not None

    def awake(self, seconds):
        """Runs it for so long, or until it ends."""
        os.killpg(self.process.pid, signal.SIGCONT)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGSTOP)

    def result(self):
        """Its one test: (key, result)."""
        self.output.seek(0)
        self.errors.seek(0)
        if self.process.returncode != 0:
            said = self.errors.read().decode(errors="replace").strip().splitlines()[-3:]
            status = self.process.returncode
            raise BenchError(f"{self.name}: exit status {status} of {shlex.join(self.command)}: {' / '.join(said)}")
        results = parse_results(self.output.read().decode(errors="replace"), self.name)
        if len(results) != 1:
            raise BenchError(f"{self.name}: {len(results)} tests; --slices measures one (-p 0 or -n 0)")
        return next(iter(results.items()))


def take_turns(args):
    """[(key, result)] of the two programs."""
    sleepers = []
    try:
        for name, command in commands(args, args.rounds):
            sleepers.append(Sleeper(name, command))
            sleepers[-1].awake(args.load_seconds)
        awake = 0.0
        while not all(sleeper.ended() for sleeper in sleepers):
            for sleeper in sleepers:
                if not sleeper.ended():
                    sleeper.awake(args.slices)
                    awake += args.slices
                if sleeper.ended():
                    sleeper.result()  # a failure ends the other too
            if awake > args.timeout:
                raise BenchError(f"not done after {args.timeout:.0f} s (--timeout)")
        return [sleeper.result() for sleeper in sleepers]
    finally:
        for sleeper in sleepers:
            if not sleeper.ended():
                os.killpg(sleeper.process.pid, signal.SIGKILL)
                sleeper.process.wait()


def whole_rates(name, key, result, pause):
    """Tokens/s of the repetitions that ran in one piece, in order of size. One that was stopped took some `pause` longer."""
    times = [t / 1e9 for t in result.get("samples_ns", [])]
    whole = [t for t in times if t < min(times) + pause / 2]
    if len(whole) < 3:
        raise BenchError(f"{name}: {len(whole)} of {len(times)} repetitions ran in one piece, three are needed: take longer "
                         "--slices, a shorter test, or a larger -r")
    return sorted(sum(key) / t for t in whole)


def slice_summary(args):
    (key, ours), (peer_key, theirs) = take_turns(args)
    if key != peer_key:
        raise BenchError("the two programs have no test in common")
    ours = whole_rates("phidias", key, ours, args.slices)
    theirs = whole_rates("peer", key, theirs, args.slices)
    row = {"test": test_name(key), "phidias_ts": ours, "peer_ts": theirs}
    for part, at in (("median", 0.5), ("lower", 0.25), ("upper", 0.75)):
        pair = [rates[min(int(at * len(rates)), len(rates) - 1)] for rates in (ours, theirs)]
        if part == "median":
            pair = [statistics.median(rates) for rates in (ours, theirs)]
        row[f"phidias_{part}_ts"], row[f"peer_{part}_ts"] = pair
        row[f"ratio_of_{part}s"] = pair[0] / pair[1]
    return [row]


def slice_table(rows):
    lines = [
        "| test | phidias t/s (quartiles) | peer t/s (quartiles) | ratio of medians | of quartiles | whole repetitions |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        rates = [f"{row[who + '_median_ts']:.2f} ({row[who + '_lower_ts']:.2f} to {row[who + '_upper_ts']:.2f})"
                 for who in ("phidias", "peer")]
        lines.append(
            f"| {row['test']} | {rates[0]} | {rates[1]} | {row['ratio_of_medians']:.3f} | {row['ratio_of_lowers']:.3f}, "
            f"{row['ratio_of_uppers']:.3f} | {len(row['phidias_ts'])}, {len(row['peer_ts'])} |"
        )
    return "\n".join(lines)


def summary(rounds):
    """One row per test that both ran: medians, their ratio, and the least and largest ratio of a round."""
    keys = [key for key in rounds["phidias"][0] if all(key in results for results in rounds["peer"])]
    if not keys:
        raise BenchError("the two programs have no test in common")
    rows = []
    for key in keys:
        ours = [results[key]["avg_ts"] for results in rounds["phidias"]]
        theirs = [results[key]["avg_ts"] for results in rounds["peer"]]
        ratios = [a / b for a, b in zip(ours, theirs)]
        row = {
            "test": test_name(key),
            "phidias_ts": ours,
            "peer_ts": theirs,
            "phidias_median_ts": statistics.median(ours),
            "peer_median_ts": statistics.median(theirs),
            "ratio_of_medians": statistics.median(ours) / statistics.median(theirs),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
        }
        for part in ("read_ratio", "gops_ratio"):
            values = [results[key].get(part) for results in rounds["phidias"]]
            row[part] = statistics.median(values) if None not in values else None
        rows.append(row)
    return rows


def table(rows):
    lines = [
        "| test | phidias t/s | peer t/s | ratio of medians | ratio by round | of read peak | of int8 peak |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        parts = [f"{100 * row[key]:.0f} %" if row[key] else "-" for key in ("read_ratio", "gops_ratio")]
        lines.append(
            f"| {row['test']} | {row['phidias_median_ts']:.2f} | {row['peer_median_ts']:.2f} "
            f"| {row['ratio_of_medians']:.3f} | {row['ratio_min']:.3f} to {row['ratio_max']:.3f} | {parts[0]} | {parts[1]} |"
        )
    return "\n".join(lines)


def arguments(argv):
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="the other program's llama-bench")
    parser.add_argument("--gguf", required=True, help="the peer's model")
    parser.add_argument("--model", "-m", required=True, help="phidias's model")
    parser.add_argument("--phidias", default=os.path.join(here, "../build/release/phidias"), help="default: build/release")
    parser.add_argument("--peer-args", default="", help="more arguments for the peer, as one string: --peer-args=\"-rtr 1\"")
    parser.add_argument("--phidias-args", default="", help="more arguments for phidias bench, as one string")
    parser.add_argument("--peer-mmap", action="store_true", help="don't pass -mmp 0")
    parser.add_argument("-p", "--n-prompt", default="512", help="prompt tokens, a comma list; 0: no such test")
    parser.add_argument("-n", "--n-gen", default="128", help="tokens to generate, a comma list; 0: no such test")
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)), help="for both")
    parser.add_argument("-r", "--rounds", type=int, default=5, help="rounds; with --slices repetitions")
    parser.add_argument("--slices", type=float, help="seconds that one runs while the other is stopped")
    parser.add_argument("--load-seconds", type=float, default=10,
                        help="with --slices: what each gets to load its model before the turns begin")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that one program may take in a round")
    parser.add_argument("-o", "--output", choices=("md", "json"), default="md")
    args = parser.parse_args(argv)
    if args.rounds < 1 or args.threads < 1:
        parser.error("--rounds and --threads must be at least 1")
    if args.slices is not None and not (args.slices > 0 and args.load_seconds > 0):
        parser.error("--slices and --load-seconds must be above 0")
    for path in (args.peer, args.gguf, args.model, args.phidias):
        if not os.path.exists(path):
            parser.error(f"{path}: no such file")
    return args


def main(argv=None):
    args = arguments(argv)
    try:
        rows = slice_summary(args) if args.slices else summary(measure(args))
    except BenchError as error:
        sys.exit(f"peer_bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    shown = slice_table if args.slices else table
    print(json.dumps(rows, indent=2) if args.output == "json" else shown(rows))


if __name__ == "__main__":
    main()
