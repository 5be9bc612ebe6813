#!/usr/bin/env python3
"""Measures phidias against another program's llama-bench, in turns, and prints the ratios of the medians.

  tools/peer_bench.py --peer PATH/TO/llama-bench --gguf PEER.gguf --model PHIDIAS_MODEL -p 512 -n 128 -t 2 -r 5
  tools/peer_bench.py ... --peer-args="-rtr 1" --phidias-args="--arith integer"

A shared machine's speed changes from minute to minute, so the two never run far apart: each round starts both programs
once (one warm-up and one measured repetition of every test), the order changing from round to round, and a round's ratio
is that of the same minute. The peer runs without mmap (-mmp 0), its weights in anonymous memory; --peer-mmap leaves that
out, and --peer-args passes anything else on. Both must know the flags -p -n -t -r -o json.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys

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


def commands(args):
    """[(name, command)] of the two programs."""
    tests = ["-p", args.n_prompt, "-n", args.n_gen, "-t", str(args.threads), "-r", "1", "-o", "json"]
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
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that one program may take in a round")
    parser.add_argument("-o", "--output", choices=("md", "json"), default="md")
    args = parser.parse_args(argv)
    if args.rounds < 1 or args.threads < 1:
        parser.error("--rounds and --threads must be at least 1")
    for path in (args.peer, args.gguf, args.model, args.phidias):
        if not os.path.exists(path):
            parser.error(f"{path}: no such file")
    return args


def main(argv=None):
    args = arguments(argv)
    try:
        rows = summary(measure(args))
    except BenchError as error:
        sys.exit(f"peer_bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print(json.dumps(rows, indent=2) if args.output == "json" else table(rows))


if __name__ == "__main__":
    main()
