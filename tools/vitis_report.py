#!/usr/bin/env python3
"""Lays Vitis HLS's reports of a kernel beside the sources: `tools/vitis_report.py KERNEL REPORT_FOLDER FIGURES`.

REPORT_FOLDER holds csynth.xml and one NAME_csynth.xml a function. Printed are clock and resources of the kernel, the
loop model's cycles from FIGURES, and every pipelined loop whose interval isn't the one that its PHIDIAS_PIPELINE asks
for. Exits with 1 if there is such a loop, or none at all.
"""

import glob
import os
import re
import sys
import xml.etree.ElementTree as ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def wanted_intervals():
    """Label of a loop -> the intervals that loops of that name ask for, from the sources."""
    wanted, constants = {}, {}
    hls = os.path.join(ROOT, "src", "hls")
    with open(os.path.join(hls, "design.h"), encoding="utf-8") as file:
        for name, value in re.findall(r"constexpr int (k\w+) = (\d+);", file.read()):
            constants[name] = int(value)
    for path in glob.glob(os.path.join(hls, "*.h")) + glob.glob(os.path.join(hls, "*.cc")):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for label, interval in re.findall(r"\b([A-Z_]+):\s(?:[^;{}]|;(?=[^{}]*\{))*\{\s*PHIDIAS_PIPELINE\((\w+)\)", text):
            # kInterval is linear_s8's template argument: 1, or 2 behind an 8-bit port.
            values = {1, 2} if interval == "kInterval" else {constants.get(interval) or int(interval)}
            wanted.setdefault(label, set()).update(values)
    return wanted


def loops(report):
    """(name, interval) of the pipelined loops in one report."""
    for summary in ElementTree.parse(report).iter("SummaryOfLoopLatency"):
        for loop in summary.iter():
            interval = loop.findtext("PipelineII")
            if interval is not None and interval.isdigit():
                yield loop.findtext("Name") or loop.tag, int(interval)


def interval_asked(name, wanted):
    """A flattened nest is named OUTER_INNER: the innermost label decides."""
    candidates = [label for label in wanted if name == label or name.endswith("_" + label)]
    return max(wanted[max(candidates, key=len)]) if candidates else None


def main():
    kernel, folder, figures = sys.argv[1:]
    top = ElementTree.parse(os.path.join(folder, f"{kernel}_csynth.xml"))
    with open(figures, encoding="utf-8") as file:
        cycles, shape = next(line.split()[1:3] for line in file if line.split()[0] == kernel)
    resources = top.find(".//AreaEstimates/Resources")
    used = ", ".join(f"{cell.tag} {cell.text}" for cell in resources) if resources is not None else "?"
    clock = top.findtext(".//EstimatedClockPeriod") or "?"
    print(f"{kernel}: {clock} ns; {used}; the loop model: {cycles} cycles for {shape}")
    wanted, seen, slow = wanted_intervals(), 0, 0
    for report in sorted(glob.glob(os.path.join(folder, "*_csynth.xml"))):
        for name, interval in loops(report):
            asked = interval_asked(name, wanted)
            seen += 1
            if asked is not None and interval > asked:
                slow += 1
                where = os.path.basename(report).removesuffix("_csynth.xml")
                print(f"  {where}: loop {name} starts every {interval} cycles, not every {asked}")
    print(f"  {seen} pipelined loops, {slow} slower than asked for")
    sys.exit(1 if slow or not seen else 0)


if __name__ == "__main__":
    main()
