"""Draw run.svg, the picture in the README, from a stored run.

Usage: ``python docs/images/make_run_svg.py [FILE]``. The text is what coldwarm prints for the run, without log lines,
explanations and notes, which are long.
"""

from __future__ import annotations

import io
import re
import sys
import textwrap
from pathlib import Path

from rich.console import Console
from rich.text import Text

from coldwarm.catalog.catalog import Catalog
from coldwarm.report.summary import SuiteSummary
from coldwarm.report.table import print_results
from coldwarm.suite.stored import judge_stored

HERE = Path(__file__).parent
RUN = HERE.parent.parent / "records" / "h200-2026-11-29-vllm-0.33"
COMMAND = (
    "coldwarm run deepseek-v3.2 glm-4.5 gpt-oss-120b kimi-k2.5 llama-3.1-8b minimax-m2.5 phi-tiny-moe qwen3-32b "
    "--device cuda"
)
WIDTH = 100

# Line beginnings: a heading or row of the table, the load, a model with its verdict, a reason.
SHOWN = re.compile(r"(model\b|[a-z0-9.-]+ +\d|times |timings |[a-z0-9.-]+: |  - )")


def console(width: int, *, record: bool = False) -> Console:
    """Return a console that looks the same on every machine."""
    return Console(
        file=io.StringIO(), width=width, record=record, force_terminal=True, color_system="standard", highlight=False
    )


def lines_of(run: Path) -> list[Text]:
    """Return the lines that coldwarm prints for the stored `run`, with their colors."""
    wide = console(1000)
    print_results(wide, SuiteSummary.of(judge_stored(run, Catalog.read())))
    assert isinstance(wide.file, io.StringIO)
    lines = [Text.from_ansi(line.rstrip()) for line in wide.file.getvalue().splitlines()]
    return [line for line in lines if not line.plain.strip() or SHOWN.match(line.plain)]


def draw(path: Path) -> None:
    """Write the picture to `path`."""
    picture = console(WIDTH, record=True)
    picture.print(Text.assemble(("$ ", "dim"), (COMMAND, "bold")))
    for line in lines_of(RUN):
        if len(line.plain) <= WIDTH:
            picture.print(line)
        else:
            picture.print("\n".join(textwrap.wrap(line.plain, WIDTH, subsequent_indent="    ")), markup=False)
    svg = picture.export_svg(title="coldwarm", unique_id="coldwarm")
    # rich loads a font from a server; without it, the viewer's own monospaced font is used.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "run.svg")
