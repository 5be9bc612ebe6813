#!/usr/bin/env python3
"""A picture of a command at work: runs it and draws what it said, as an SVG of a terminal.

usage: tools/terminal_svg.py OUT.svg COMMAND [ARGUMENT ...]

stdout is drawn bright, stderr dim, in that order.
"""

import html
import shlex
import subprocess
import sys
import textwrap

COLUMNS, LINE, CHARACTER, MARGIN = 100, 20, 8.43, 18


def lines(text, style):
    return [(piece, style) for line in text.splitlines() for piece in textwrap.wrap(line, COLUMNS) or [""]]


def main():
    out, command = sys.argv[1], sys.argv[2:]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = lines("$ " + shlex.join(command), "prompt") + lines(result.stdout, "out") + [("", "out")] + lines(
        result.stderr, "err")
    width, height = COLUMNS * CHARACTER + 2 * MARGIN, len(rows) * LINE + 2 * MARGIN
    body = "\n".join(
        f'<text x="{MARGIN}" y="{MARGIN + 15 + i * LINE}" class="{style}" xml:space="preserve">{html.escape(text)}</text>'
        for i, (text, style) in enumerate(rows))
    with open(out, "w", encoding="utf-8") as file:
        file.write(f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" role="img">
<style>text {{ font: 14px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }}
.prompt {{ fill: #7ee787 }} .out {{ fill: #f0f6fc }} .err {{ fill: #8b949e }}</style>
<rect width="100%" height="100%" rx="10" fill="#0d1117"/>
{body}
</svg>
""")


main()
