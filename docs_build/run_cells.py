"""Runs the cells of a file one after another, as a notebook does, and writes what each printed.

    python run_cells.py FILE OUTPUT

A cell begins with a line `# %% name`. OUTPUT gets a JSON object of texts by name.
"""

import contextlib
import io
import json
import re
import sys
from pathlib import Path


def cells(text: str) -> dict[str, str]:
    """The source of each cell, by name, in order."""
    parts = re.split(r"^# %% ([\w-]+)\n", text, flags=re.MULTILINE)
    return {name: source.strip() + "\n" for name, source in zip(parts[1::2], parts[2::2])}  # noqa: B905


def main(file: str, output: str) -> None:
    namespace: dict = {"__name__": "__main__"}
    printed = {}
    for name, source in cells(Path(file).read_text(encoding="utf-8")).items():
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            exec(compile(source, f"{Path(file).name}, cell {name}", "exec"), namespace)
        printed[name] = text.getvalue()
    Path(output).write_text(json.dumps(printed), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
