#!/usr/bin/env python3
"""Fails on an include that points up: `tools/check_includes.py [repository root]`.

The table below is the layering of docs/architecture.md. Quoted includes must be rooted at src/ (or spell out tests/...,
bench/...) and must exist; a header of this repository is never included in angle brackets.
"""

import os
import re
import sys

# What host, kernels and the timing model share of a design: sizes, constants, layouts.
DESIGN = ["hls/design.h", "hls/layout.h", "hls/tiled_cycles.h", "hls/tiled_design.h", "hls/tiled_layout.h", "hls/tiled_plan.h"]
BACKEND_API = "backend/*.h"  # the headers that lie in backend/ itself, not those of cpu/ or fpga/
BELOW_ENGINE = ["common", "numerics", "backend", "model"]

# Layer -> what it may include besides itself: a whole layer, one header, or the headers of one folder (FOLDER/*.h).
ALLOWED = {
    "common": [],
    "numerics": [],
    "ref": ["common", "numerics"],
    "hls": ["numerics"],
    "backend": ["common", "numerics", "ref", *DESIGN],
    "emu": ["common", "hls", "backend/fpga"],
    "model": ["common", "numerics", BACKEND_API],
    "engine": BELOW_ENGINE,
    "quant": BELOW_ENGINE + ["engine", "ref"],
    "perf": BELOW_ENGINE + ["engine"],
    "sim": ["common", "hls/cycles.h", *DESIGN, BACKEND_API, "backend/fpga"],
    "serve": BELOW_ENGINE + ["engine"],
    "cli": ["common", "numerics", "ref", "hls", "backend", "emu", "model", "engine", "quant", "perf", "sim", "serve"],
}
# Folders whose system headers are limited, because Vitis HLS has to take them as they are. The longest match counts.
ALLOWED_SYSTEM = {
    "numerics": ["cstdint"],
    "hls": ["cstdint", "ap_int.h", "hls_stream.h", "ap_axi_sdata.h"],
    "hls/csim": None,  # the C simulation is ordinary C++
}
# Unit tests beside the sources may include these as well; what lies in tests/ and bench/ may include every layer.
FOR_TESTS = "tests/support/"
TEST_LIBRARIES = ("gtest/", "gmock/", "benchmark/")
OUTER_FOLDERS = ("tests", "bench")

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
SOURCES = (".h", ".cc", ".cpp")


def permits(entries, header):
    """Whether one of the table's entries covers the header, a path below src/."""
    folder = os.path.dirname(header)
    for entry in entries:
        if entry.endswith("/*.h"):
            if folder == entry[: -len("/*.h")]:
                return True
        elif header == entry or header.startswith(entry + "/"):
            return True
    return False


def check_quoted(root, path, header):
    """The complaint about `#include "header"` in the file at `path` (relative to the root), or None."""
    if ".." in header.split("/") or header.startswith("/"):
        return "includes are rooted at src/, not relative"
    top = path.split("/")[0]
    is_test = top in OUTER_FOLDERS or path.endswith("_test.cc")
    if header.split("/")[0] in OUTER_FOLDERS:
        if not os.path.isfile(os.path.join(root, header)):
            return "no such file"
        if top in OUTER_FOLDERS or (is_test and header.startswith(FOR_TESTS)):
            return None
        return f"only tests may include it (unit tests: {FOR_TESTS})"
    if not os.path.isfile(os.path.join(root, "src", header)):
        return "no such file below src/ (includes are rooted there; other libraries' headers go in <>)"
    if top in OUTER_FOLDERS:
        return None
    layer = path.split("/")[1]
    if not permits([layer] + ALLOWED[layer], header):
        return f"{layer} may include: {', '.join([layer] + ALLOWED[layer])}"
    return None


def check_angled(root, path, header):
    """The complaint about `#include <header>`, or None."""
    if os.path.isfile(os.path.join(root, "src", header)):
        return 'a header of this repository goes in ""'
    if not path.startswith("src/") or path.endswith("_test.cc"):
        return None
    if header.startswith(TEST_LIBRARIES):
        return "only tests and benchmarks may include it"
    folder = os.path.dirname(path)[len("src/") :]
    while folder and folder not in ALLOWED_SYSTEM:
        folder = os.path.dirname(folder)
    allowed = ALLOWED_SYSTEM.get(folder)
    if allowed is not None and header not in allowed:
        return f"{folder} may include: {', '.join(f'<{name}>' for name in allowed)}"
    return None


def check_file(root, path):
    layer = path.split("/")[1]
    if path.startswith("src/") and layer not in ALLOWED:
        return [f"{path}:1: not in a known layer; tools/check_includes.py lists them"]
    complaints = []
    with open(os.path.join(root, path), encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            quoted, angled = match.groups()
            why = check_quoted(root, path, quoted) if quoted else check_angled(root, path, angled)
            if why:
                spelled = f'"{quoted}"' if quoted else f"<{angled}>"
                complaints.append(f"{path}:{number}: #include {spelled}: {why}")
    return complaints


def check_tree(root):
    """All complaints about a repository, in the order of the files' names, and the number of files."""
    paths = []
    for top in ("src",) + OUTER_FOLDERS:
        for folder, _, names in os.walk(os.path.join(root, top)):
            paths += [os.path.relpath(os.path.join(folder, name), root) for name in names if name.endswith(SOURCES)]
    return [complaint for path in sorted(paths) for complaint in check_file(root, path)], len(paths)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    complaints, files = check_tree(root)
    print("\n".join(complaints + [f"{files} files, {len(complaints)} includes against the layering"]))
    sys.exit(1 if complaints or files == 0 else 0)


if __name__ == "__main__":
    main()
