"""Draw docs/demo.svg from what `make demo` shows of its second run: `.venv/bin/python docs/demo.py`."""  # noqa: INP001 (a script)

from __future__ import annotations

import io
import os
import pty
import re
from pathlib import Path

from rich.console import Console
from rich.text import Text


def show_at_terminal(*command: str) -> str:
    """Return what is on an endless screen after a command, colours included."""
    printed = b""

    def read(terminal: int) -> bytes:
        nonlocal printed
        chunk = os.read(terminal, 1 << 16)
        printed += chunk
        return chunk

    pty.spawn(["env", "TERM=xterm-256color", "COLUMNS=80", *command], read)
    lines, row = [""], 0
    for part in re.split(r"(\x1b\[[\d;?]*[A-Za-z]|\r|\n)", printed.decode()):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part.endswith("A") and part.startswith("\x1b["):
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part.endswith("m") or not part.startswith("\x1b"):
            lines[row] += part.strip("\r")
    return "\n".join(lines)


printed = show_at_terminal("make", "--no-print-directory", "demo", "RUNNER=local")
console = Console(record=True, width=80, file=io.StringIO())
console.print(Text.from_ansi(printed[printed.index("== At the source") :].replace(str(Path.cwd()), "/srv/toubib")))
svg = console.export_svg(title="make demo")
# the fonts are the reader's; clipped to their lines, some would lose their underscores
svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
svg = re.sub(r' clip-path="url\(#[^)]*-line-\d+\)"', "", svg)
svg = re.sub(r'<clipPath id="[^"]*-line-\d+">.*?</clipPath>', "", svg, flags=re.DOTALL)
svg = svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace")
Path(__file__).with_suffix(".svg").write_text(re.sub(r"\n\s*\n", "\n", svg), encoding="utf-8")
