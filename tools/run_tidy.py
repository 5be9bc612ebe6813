#!/usr/bin/env python3
"""clang-tidy over src/ (tests excepted), skipping what has passed before: `tools/run_tidy.py [build folder]`.

What has passed is remembered in build/tidy-cache as a hash over all that the verdict depends on: the source, the headers
of this repository that it reaches, its compile command, the .clang-tidy files and clang-tidy's version.
"""

import concurrent.futures
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.path.join(ROOT, "build", "tidy-cache")
INCLUDE = re.compile(rb'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def with_headers(source):
    """The source and every header of src/ that it includes, directly or not, sorted."""
    found, waiting = set(), [source]
    while waiting:
        path = waiting.pop()
        if path in found or not os.path.isfile(path):
            continue
        found.add(path)
        waiting += [os.path.join(ROOT, "src", name.decode()) for name in INCLUDE.findall(read(path))]
    return sorted(found)


def verdict_key(entry, tool_and_rules):
    digest = hashlib.sha256(tool_and_rules)
    digest.update((entry.get("command") or " ".join(entry["arguments"])).encode())
    for path in with_headers(entry["file"]):
        digest.update(path.encode() + b"\0" + hashlib.sha256(read(path)).digest())
    return digest.hexdigest()


def tidy(tool, build, entry):
    """Whether the file passes, and what clang-tidy said."""
    done = subprocess.run(
        [tool, "-p", build, "--quiet", "--extra-arg=-Wno-unknown-warning-option", entry["file"]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    # A .clang-tidy that cannot be parsed is reported on stderr, with exit code 0.
    passed = done.returncode == 0 and not done.stdout.strip() and "rror" not in done.stderr
    return passed, done.stdout + ("" if passed else done.stderr)


def main():
    build = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(ROOT, "build", "release")
    tool = shutil.which("clang-tidy-14") or shutil.which("clang-tidy") or sys.exit("clang-tidy is not installed")
    version = subprocess.run([tool, "--version"], capture_output=True, check=True).stdout
    rules = sorted(glob.glob(os.path.join(ROOT, "src", "*", ".clang-tidy"))) + [os.path.join(ROOT, ".clang-tidy")]
    tool_and_rules = version + b"".join(map(read, rules))
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        entries = [
            entry
            for entry in json.load(file)
            if entry["file"].startswith(os.path.join(ROOT, "src", "")) and not entry["file"].endswith("_test.cc")
        ]
    os.makedirs(CACHE, exist_ok=True)
    keys = [os.path.join(CACHE, verdict_key(entry, tool_and_rules)) for entry in entries]
    todo = [(entry, key) for entry, key in zip(entries, keys) if not os.path.exists(key)]
    failures = 0
    findings = set()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda item: tidy(tool, build, item[0]), todo)
        for (entry, key), (passed, said) in zip(todo, results):
            if passed:
                open(key, "w", encoding="utf-8").close()
            else:
                failures += 1
                findings |= {line.replace(ROOT + "/", "") for line in said.splitlines() if ": error: " in line}
                print(f"--- {os.path.relpath(entry['file'], ROOT)}\n{said}", flush=True)
    print("".join(f"{line}\n" for line in sorted(findings)), end="")
    print(f"{len(entries)} files, {len(entries) - len(todo)} unchanged since they passed, {failures} with findings")
    sys.exit(1 if failures or not entries else 0)


if __name__ == "__main__":
    main()
