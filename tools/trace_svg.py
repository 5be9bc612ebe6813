#!/usr/bin/env python3
"""Draws a stretch of a Chrome trace as an SVG: `tools/trace_svg.py TRACE.json OUT.svg [--layer N] [--token N]`.

The trace is `phidias run --device u280-emu --card-trace TRACE.json`'s. A row per compute unit, a bar per run. What is
drawn is one layer of one token: from that layernorm's start to that residual's end.
"""

import argparse
import json
import sys
from xml.sax.saxutils import escape

ROWS = ["layernorm", "q", "k", "v", "attention", "fc1", "gelu", "fc2", "residual", "lm_head"]
COLOURS = {
    "layernorm": "#6b7280",
    "q": "#2563eb",
    "k": "#3b82f6",
    "v": "#60a5fa",
    "attention": "#7c3aed",
    "fc1": "#ea580c",
    "gelu": "#f59e0b",
    "fc2": "#f97316",
    "residual": "#6b7280",
    "lm_head": "#059669",
}
LEFT, TOP, WIDTH, ROW, BAR = 90, 46, 860, 30, 20


def read_runs(path):
    """(unit, start, end) in microseconds, by start."""
    with open(path, encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    runs = []
    for event in events:
        unit = tracks.get(event.get("tid"), "").split(":")[-1]
        if event["ph"] == "X" and unit in COLOURS:
            runs.append((unit, event["ts"], event["ts"] + event["dur"]))
    return sorted(runs, key=lambda run: run[1])


def one_layer(runs, token, layer):
    """The runs of a layer. A layer ends with its residual; a token with as many residuals as the model has layers."""
    lm_heads = [start for unit, start, _ in runs if unit == "lm_head"]
    first = lm_heads[token - 1] if token > 0 else runs[0][1]
    residuals = [end for unit, start, end in runs if unit == "residual" and start >= first]
    if layer >= len(residuals):
        sys.exit(f"layer {layer} of token {token} isn't in the trace: it has {len(residuals)} residuals from there on")
    begin = residuals[layer - 1] if layer > 0 else first
    return [run for run in runs if begin <= run[1] and run[2] <= residuals[layer] and run[0] != "lm_head"]


def draw(runs, title):
    begin = min(start for _, start, _ in runs)
    span = max(end for _, _, end in runs) - begin
    rows = [unit for unit in ROWS if any(unit == run[0] for run in runs)]
    height = TOP + ROW * len(rows) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 20}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="22" font-size="14">{escape(title)}</text>',
    ]
    for row, unit in enumerate(rows):
        y = TOP + ROW * row
        parts.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{unit}</text>')
        parts.append(f'<line x1="{LEFT}" y1="{y + 24}" x2="{LEFT + WIDTH}" y2="{y + 24}" stroke="#e5e7eb"/>')
        for _, start, end in (run for run in runs if run[0] == unit):
            x = LEFT + WIDTH * (start - begin) / span
            width = max(1.0, WIDTH * (end - start) / span)
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2" fill="{COLOURS[unit]}">'
                f"<title>{unit}: {end - start:.0f} us</title></rect>"
            )
    y = TOP + ROW * len(rows) + 16
    parts.append(f'<text x="{LEFT}" y="{y}">0</text>')
    parts.append(f'<text x="{LEFT + WIDTH}" y="{y}" text-anchor="end">{span / 1000:.2f} ms (emulated: not a card\'s time)</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace")
    parser.add_argument("svg")
    parser.add_argument("--layer", type=int, default=1)
    parser.add_argument("--token", type=int, default=1, help="0: the first; N: what follows the Nth run of lm_head")
    parser.add_argument("--title")
    args = parser.parse_args()
    runs = one_layer(read_runs(args.trace), args.token, args.layer)
    title = args.title or f"Layer {args.layer} of token {args.token}: runs of the compute units"
    with open(args.svg, "w", encoding="utf-8") as file:
        file.write(draw(runs, title))


if __name__ == "__main__":
    main()
