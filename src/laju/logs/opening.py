"""Detection of the kind of a log: a folder, a packed file, a table, JSON, printed lines or event files."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from laju.logs import events, names, printed, records, tables
from laju.logs.columns import ChosenColumns, build, resumed
from laju.logs.log import Format, Log, LogError, Row

_SAMPLE = 1 << 16
_MOST_JSON = 1 << 29
"""The most bytes of a JSON file with a single value, which cannot be read line by line."""

_NAMED = (
    "trainer_state.json",
    "metrics.csv",
    "results.csv",
    "summary.csv",
    "scalars.json",
    "metrics.json",
    "training_log.csv",
)
_MAGIC = {
    b"\x89PNG": "a picture", b"PK\x03\x04": "a zip archive (a checkpoint of PyTorch, or an .xlsx table)",
    b"PAR1": "a Parquet table", b"\x80\x02": "a pickle", b"\x80\x04": "a pickle", b"%PDF": "a PDF",
    b"SQLite": "an SQLite database (of trackio: `trackio get metric --project P --run R --metric train/lr --json`)",
    b":W&B": "W&B's own store of a run (export the chart of the rate as CSV, or `run.history().to_csv(…)`)",
    b"\x89HDF": "an HDF5 file", b"7z\xbc\xaf": "an archive", b"BZh": "a bzip2 archive", b"\xfd7zXZ": "an xz archive",
    b"\x93NUMPY": "a NumPy array",
}  # fmt: skip


def read(
    path: str | os.PathLike[str] | IO[Any],
    *,
    update: str | None = None,
    rate: str | None = None,
    loss: str | None = None,
    run: int | None = None,
) -> Log:
    """Read a training log from a file or folder.

    Supported are tables (CSV, semicolons, tabs; with or without header), JSON lines, JSON, Trainer's `trainer_state.json`, the
    printed output of training programs, TensorBoard's event files, MLflow's file store, and gzipped files of these formats; a
    folder is searched for them. Files are read row by row; of more than a million cells, every 2nd, 4th, … row is kept.

    Args:
        path: a file, a folder, "-" for standard input, or an open file.
        update, rate, loss: names of columns; by default recognised by names and contents.
        run: the number of the run, from 1, in a file with several runs; by default the last.

    Raises:
        OSError: if the file cannot be read.
        LogError: if the file is not a log, a column is missing or ambiguous, or a row is broken; the message names the columns
            and the argument that decides.
        ModuleNotFoundError: for event files, if the package tensorboard is not installed.

    >>> import io
    >>> print(read(io.StringIO("step,loss,lr-AdamW\\n9,2.5,0.1\\n19,2.25,0.05\\n29,2,0\\n")))
    rates: 'lr-AdamW', updates: 'step' 9 … 29, every 10th; also: 'loss'
    """
    given = ChosenColumns(update, rate, loss, run)
    if not isinstance(path, str | os.PathLike):
        return _log_of_text(_stream(path), str(getattr(path, "name", "the log")), given)
    if os.fspath(path) == "-":
        return _log_of_text(_stream(sys.stdin), "standard input", given)
    where = Path(path)
    if where.is_dir():
        return _log_of_folder(where, given)
    if events.is_events(where):
        return _log_of_events(str(path), [where], given)
    with where.open("rb") as file:
        return _log_of_text(file, str(path), given, where.name)


def _stream(file: IO[Any]) -> IO[bytes]:
    binary = getattr(file, "buffer", file)
    if isinstance(binary, io.TextIOBase):
        return io.BytesIO(binary.read().encode())
    return binary


# --- folders -----------------------------------------------------------------------------------------------------------


def _log_of_folder(folder: Path, given: ChosenColumns) -> Log:
    found = [folder / name for name in _NAMED if (folder / name).is_file()]
    if len(found) == 1:
        return read(found[0], **given._asdict())
    if found:
        raise LogError(f"{folder} has several logs: {', '.join(each.name for each in found)}; name one of them")
    below = events.files(folder)
    if folder in below or len(below) == 1:
        at = folder if folder in below else next(iter(below))
        return _log_of_events(str(folder), below[at], given, [] if at == folder else [f"read from {at}"])
    if below:
        several = ", ".join(str(each.relative_to(folder)) for each in list(below)[:12])
        raise LogError(f"{folder} has runs in several folders: {several}; name one of them")
    if (folder / "metrics").is_dir():
        return _mlflow(folder / "metrics", given)
    # By number: as texts, checkpoint-1000 comes before checkpoint-200.
    states = sorted(
        folder.glob("checkpoint-*/trainer_state.json"), key=lambda each: int(re.sub(r"\D", "", each.parent.name) or 0)
    )
    if states:
        return read(states[-1], **given._asdict())
    deeper = sorted(each for name in _NAMED for each in (*folder.glob(f"*/{name}"), *folder.glob(f"*/*/{name}")))
    if len(deeper) == 1:
        return read(deeper[0], **given._asdict())
    if deeper:
        several = ", ".join(str(each.relative_to(folder)) for each in deeper[:12])
        raise LogError(f"{folder} has several logs: {several}; name one of them")
    raise LogError(
        f"{folder} has no event files of TensorBoard in it (events.out.tfevents…), nor another log ({', '.join(_NAMED)})"
    )


def _log_of_events(path: str, files: list[Path], given: ChosenColumns, notes: Iterable[str] = ()) -> Log:
    told = list(notes)
    source = list(events.rows(files, told))
    if not source:
        raise LogError(f"{path} has no scalars in its event files")
    merged = _by_step(source, told)
    tags = {name for row in merged for name in row.names}
    return build(path, events.format_of(tags), merged, given, told)


def _by_step(rows: list[Row], notes: list[str]) -> list[Row]:
    """The rows of a step, merged. In a resumed run the later values of each tag count, as in TensorBoard."""
    back: set[tuple[float, float]] = set()
    last: dict[str, float] = {}
    kept: dict[str, dict[float, float]] = {}
    for row in rows:
        name, (step, value) = row.names[1], row.cells
        points = kept.setdefault(name, {})
        if step < last.get(name, -1):
            back.add((last[name], step))
            # A resumed run writes its steps again from the checkpoint on: what the first attempt wrote beyond it was never part
            # of the run.
            for later in [each for each in points if each >= step]:
                del points[later]
        points[step] = value
        last[name] = step
    if back:
        notes.append(resumed(*max(back)))
    steps = sorted({step for points in kept.values() for step in points})
    return [
        Row(i + 1, ("step", *names), [step, *(kept[name][step] for name in names)])
        for i, step in enumerate(steps)
        for names in (tuple(name for name in kept if step in kept[name]),)
    ]


def _mlflow(folder: Path, given: ChosenColumns) -> Log:
    """MLflow's file store: a file a metric, a line `timestamp value step` a value."""
    rows: list[Row] = []
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = file.relative_to(folder).as_posix()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            parts = line.split()
            if len(parts) != 3:
                raise LogError(f"{file}, line {number} must have a time, a value and a step, got {line[:60]!r}")
            rows.append(Row(number, ("step", name), [parts[2], parts[1]]))
    rows.sort(key=lambda row: float(row.cells[0]))
    return build(str(folder.parent), Format("MLflow's files"), rows, given)


# --- texts -------------------------------------------------------------------------------------------------------------


def _log_of_text(file: IO[bytes], path: str, given: ChosenColumns, name: str = "") -> Log:
    notes: list[str] = []
    # A pipe cannot be read twice: the sample for detection is joined with the rest afterwards.
    head = b""
    while len(head) < _SAMPLE and (part := file.read(_SAMPLE - len(head))):
        head += part
    if head.startswith(b"\x1f\x8b"):
        return _log_of_text(
            cast(IO[bytes], _Unzipped(_Joined(head, file), path)), path, given, name.removesuffix(".gz")
        )
    if not head.strip():
        raise LogError(f"{path} is empty")
    known = next((what for magic, what in _MAGIC.items() if head.startswith(magic)), None)
    if known:
        raise LogError(f"{path} is no log but {known}")
    encoding = _encoding(head, path, notes)
    sample = head.decode(encoding, errors="replace").lstrip("\ufeff")
    # A progress bar's carriage returns end no line.
    lines: Iterator[str] = io.TextIOWrapper(
        io.BufferedReader(_Joined(head, file)),
        encoding=encoding,
        errors="replace",
        newline="\n" if "\n" in sample else "",
    )
    begin = sample.lstrip()
    if _is_json(begin):
        return _log_of_json(begin, lines, path, given, notes)
    whole = printed.ANSI.sub("", sample if len(head) < _SAMPLE else sample[: sample.rfind("\n") + 1])
    parted = tables.delimiter(whole)
    if parted is not None and not printed.looks_like_dicts(sample):
        tag = re.search(r"-tag-(.+?)(?:\.csv)?$", name)
        return build(
            path, _table_format(sample, name), tables.rows(lines, path, parted, notes, tag and tag[1]), given, notes
        )
    writer = printed.format_of(sample)
    if writer is None and tables.is_spaced(whole):
        return build(path, Format("table"), tables.rows(map(tables.parted, lines), path, "\t", notes), given, notes)
    if writer is None:
        first = sample.strip().splitlines()[0][:80]
        raise LogError(
            f"{path} is no log that laju knows: a table with a header, JSON lines, trainer_state.json, event files, or lines "
            f"that name steps and losses or rates; it begins {first!r}. {records.of_configuration(str(path))}"
        )
    return build(path, writer, printed.rows(lines, notes), given, notes)


def _is_json(begin: str) -> bool:
    """Whether a text begins as JSON, not as a dict of Python's or a line such as `[titan] step: 1`."""
    if begin.startswith("["):
        return begin[1:].lstrip().startswith(("{", "[", "]"))
    return begin.startswith("{") and not begin.startswith("{'")


def _log_of_json(begin: str, lines: Iterator[str], path: str, given: ChosenColumns, notes: list[str]) -> Log:
    try:
        first = json.loads(begin.splitlines()[0])
    except ValueError:
        first = None
    one = isinstance(first, dict) and not any(isinstance(value, list) and value for value in first.values())
    if one and (
        "\n" in begin.strip() or any(names.kind(name) in ("update", "epoch", "rate", "loss") for name in first)
    ):
        return build(path, records.format_of(first), records.line_rows(lines, path, notes), given, notes)
    parts, size = [], 0
    for line in lines:
        parts.append(line)
        size += len(line)
        # Without line breaks between objects, the whole text must be in memory at once.
        if size > _MOST_JSON:
            raise LogError(f"{path} is one JSON value of more than {_MOST_JSON >> 20} MB; write a JSON object a line")
    writer, rows = records.whole("".join(parts).lstrip("\ufeff"), path)
    return build(path, writer, rows, given, notes)


def _table_format(sample: str, name: str) -> Format:
    """The writer of a table, by its header."""
    header = sample.lstrip().splitlines()[0]
    cells = {cell.strip().strip('"') for cell in re.split(r"[,;\t]", header)}
    if any(cell.startswith(("lr/pg", "x/lr")) for cell in cells):
        body = [line.strip() for line in sample.splitlines()[1:2]]
        zero = body and re.match(r"0\s*,", body[0])
        return Format("ultralytics' results.csv", (0,) if zero else (-1,), known=True)
    if "epoch" in cells and "lr" in cells and any(cell.startswith("eval_") for cell in cells):
        return Format("timm's summary.csv", (0,), known=True)
    if "epoch" in cells and "step" in cells and any(cell.startswith("lr-") for cell in cells):
        return Format("Lightning's metrics.csv", (0,), known=True)
    if {"Wall time", "Step", "Value"} <= cells:
        return Format("TensorBoard's CSV")
    if any(cell.endswith(("__MIN", "__MAX")) for cell in cells):
        return Format("W&B's CSV")
    if "epoch" in cells and {"learning_rate", "loss"} <= cells and not cells & {"step", "global_step"}:
        return Format("Keras' CSVLogger", (0,), known=True)
    return Format("table")


def _encoding(head: bytes, path: str, notes: list[str]) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head:
        raise LogError(f"{path} is no log: it is not text, as it has zero bytes")
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(head)
    except UnicodeDecodeError:
        controls = sum(byte < 32 and byte not in b"\t\n\r\x1b\f\b" for byte in head)
        if controls > len(head) // 100:
            raise LogError(f"{path} is no log: it is not text") from None
        notes.append("the text is not UTF-8 and was read as Windows-1252")
        return "cp1252"
    return "utf-8-sig"


class _Joined(io.RawIOBase):
    """The bytes already read for detection, and the bytes after."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._head[: len(buffer)] or self._rest.read(len(buffer)) or b""
        self._head = self._head[len(part) :]
        buffer[: len(part)] = part
        return len(part)


class _Unzipped(io.RawIOBase):
    """The bytes in a .gz, as far as the file was written."""

    def __init__(self, file: _Joined, path: str) -> None:
        self._file = gzip.GzipFile(fileobj=io.BufferedReader(file))
        self._path = path

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read1(size)
        except EOFError:
            return b""  # a file that is being written
        except (OSError, zlib.error) as error:
            raise LogError(f"{self._path} is a broken .gz: {error}") from None
