#!/usr/bin/env python3
"""clang-tidy over src/ (tests excepted), skipping what has passed before: `tools/run_tidy.py [build folder]`.

What has passed is remembered in build/tidy-cache as a hash over all that the verdict depends on: the source, the headers
of this repository that it reaches, its compile command, the .clang-tidy files and clang-tidy's version.

Most of clang-tidy's time goes into the headers of libraries, which it reads and matches anew for each file. So the files
of a layer are looked at several at a time, written one after the other into one file. Where that has findings, or doesn't
compile since two files use a name for things of their own, halves of it are looked at, down to a file alone, whose
verdict counts.
"""

import concurrent.futures
import glob
import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.path.join(ROOT, "build", "tidy-cache")
TOGETHER = os.path.join(ROOT, "build", "tidy")
BATCH = 10  # files
INCLUDE = re.compile(rb'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
ANY_INCLUDE = re.compile(r'^#include (<[^>]+>|"[^"]+\.h")', re.MULTILINE)
UNNAMED = re.compile(r"^namespace \{$(.*?)^\}  // namespace$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"(?!__attribute__|alignas|decltype|final)\b(\w+)\s*(?:[({=;\[]|: |final|$)")


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


def flags_of(entry):
    """The compile command's words without the compiler, the source and the output."""
    words = shlex.split(entry["command"]) if "command" in entry else entry["arguments"]
    kept, skip = [], False
    for word in itertools.dropwhile(lambda word: not word.startswith("-"), words):  # the compiler, a launcher before it
        if skip or word in ("-o", "-c"):
            skip = not skip
        else:
            kept.append(word)
    return kept


def layer_of(entry):
    return os.path.relpath(entry["file"], ROOT).split(os.sep)[1]


def own_names(text):
    """What a source declares for itself alone, roughly, by the lines of its unnamed namespaces that aren't indented: the
    names of things, and how functions begin."""
    things, functions = set(), set()
    for body in UNNAMED.findall(text):
        for line in re.findall(r"^(?!using |namespace )[A-Za-z].*", body, re.MULTILINE):
            found = NAME.search(line)
            if found and line[found.end() - 1] == "(":
                functions.add(line)
            elif found:
                things.add(found.group(1))
    return things, functions


def in_batches(todo):
    """Lists of (entry, key) that can probably be compiled as one file: of one layer, with the same flags, no function
    twice."""
    batches = []
    for entry, key in todo:
        kind = (layer_of(entry), flags_of(entry))
        functions = own_names(read(entry["file"]).decode())[1]
        for batch in batches:
            if batch["kind"] == kind and len(batch["items"]) < BATCH and not functions & batch["functions"]:
                break
        else:
            batch = {"kind": kind, "items": [], "functions": set()}
            batches.append(batch)
        batch["items"].append((entry, key))
        batch["functions"] |= functions
    return [batch["items"] for batch in batches]


def together(texts):
    """Sources as one. Includes that an earlier one had are left out; what has the name of another's thing gets a number."""
    includes, taken, parts = set(), set(), []
    for number, text in enumerate(texts):
        things = own_names(text)[0]
        text, had = ANY_INCLUDE.sub(lambda found: "" if found.group(1) in includes else found.group(0), text), text
        includes.update(ANY_INCLUDE.findall(had))
        for name in things & taken:
            text = re.sub(rf"(?<![:.>/])\b{name}\b", f"{name}{number}", text)
        taken |= things
        parts.append(text)
    return "\n".join(parts)


def write_together(batch, name):
    """The files of a batch as one, below a copy of their layer's rules."""
    layer = layer_of(batch[0][0])
    folder = os.path.join(TOGETHER, layer)
    os.makedirs(folder, exist_ok=True)
    rules = os.path.join(ROOT, "src", layer, ".clang-tidy")
    if os.path.exists(rules):
        shutil.copy(rules, folder)
    path = os.path.join(folder, f"together_{name}.cc")
    with open(path, "w", encoding="utf-8") as file:
        file.write(together([read(entry["file"]).decode() for entry, _ in batch]))
    return path


def tidy(tool, path, where):
    """Whether the file passes, and what clang-tidy said. `where` says how it is compiled."""
    done = subprocess.run(
        [tool, "--quiet", "--extra-arg=-Wno-unknown-warning-option", path] + where,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    # A .clang-tidy that cannot be parsed is reported on stderr, with exit code 0.
    passed = done.returncode == 0 and not done.stdout.strip() and "rror" not in done.stderr
    return passed, done.stdout + ("" if passed else done.stderr)


def tidy_batch(tool, build, name, batch):
    """[(entry, key, passed, said)] of a batch. One that doesn't pass as a whole is halved, so that few are looked at alone."""
    if len(batch) == 1:
        [(entry, key)] = batch
        return [(entry, key, *tidy(tool, entry["file"], [f"-p={build}"]))]
    path = write_together(batch, name)
    if tidy(tool, path, ["--"] + flags_of(batch[0][0]))[0]:
        return [(entry, key, True, "") for entry, key in batch]
    half = len(batch) // 2
    return tidy_batch(tool, build, f"{name}a", batch[:half]) + tidy_batch(tool, build, f"{name}b", batch[half:])


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
    shutil.rmtree(TOGETHER, ignore_errors=True)
    batches = in_batches(todo)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda item: tidy_batch(tool, build, *item), enumerate(batches))
        for entry, key, passed, said in itertools.chain.from_iterable(results):
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
