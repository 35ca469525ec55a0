"""The content of a damaged SQLite file, read page by page, even if the tree of the pages is broken.

SQLite's own `.recover` does the same, but Python's sqlite3 lacks `.recover`. The format:
https://www.sqlite.org/fileformat2.html. SQLite keeps no checksums. A row is therefore taken only if laju can have written its
values, and a row that reaches into 512 bytes of zeros is left out, because zeros would look like valid figures.
"""

from __future__ import annotations

import bisect
import shutil
import sqlite3
import struct
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from laju.lab.statistics import counted
from laju.lab.store import tables
from laju.lab.store.rows import INCOMPLETE, fault

_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR = 0x0D, 0x0A, 0x02
_BLOCK = 512
# Claims are over. Branch points only save time, and damage to a branch point would not show.
KEPT = (tables.trials, tables.records, tables.observed, tables.results)
_FORMER = {  # columns in the order of files that an earlier laju made
    "trials": (_PLAIN := tuple(c.name for c in tables.trials.columns if c.name != "framework"), (*_PLAIN, "framework")),
    "records": (tuple(c.name for c in tables.records.columns if c.name != "test_loss"),),
}

Row = dict[str, Any]


@dataclass(frozen=True)
class Recovery:
    """The rows of a file, by table and SQLite's row number, and SQLite's own description of the damage."""

    rows: dict[str, dict[int, Row]]
    damage: tuple[str, ...]
    faults: tuple[str, ...]
    """The faults of readable rows that laju cannot have written, and of anything else that does not belong in a store."""
    owners: dict[str, dict[int, str]] = field(repr=False)
    """By table and row number, the trial of each row that the indices list, whether or not the row can be read."""

    @cached_property
    def incomplete(self) -> dict[str, str]:
        """By fingerprint, the reason why a trial's records are not all present, or not known to be all present.

        A trial is written in a single transaction, so the numbers of its records are consecutive.
        """
        found: dict[str, str] = {}
        if not self.damage:
            return found
        trials = {row["fingerprint"]: row for row in self.rows["trials"].values()}
        for table in ("records", "observed"):
            own: dict[str, list[int]] = defaultdict(list)
            for number, row in self.rows[table].items():
                own[row["trial"]].append(number)
            owners = self.owners[table]
            for number, trial in owners.items():
                if number not in self.rows[table]:
                    found.setdefault(trial, f"{table} that the index tells of are lost")
            known = self.rows[table].keys() | owners.keys()
            most = max(known, default=0)
            for trial, numbers in own.items():
                first, last = min(numbers), max(numbers)
                whole = last - first + 1 == len(numbers) and (first == 1 or first - 1 in known)
                if whole and last == most and table == "records" and trial in trials:
                    # No later row proves the last records whole, but a last epoch that is the trial's last does.
                    ended = self.rows[table][last]["epoch"] >= trials[trial]["epochs"]
                    whole = ended or trials[trial]["status"] == "diverged"
                elif whole:
                    whole = last == most or last + 1 in known
                if not whole:
                    found.setdefault(trial, f"{table} beside it are lost, which may be its own")
            if table == "records":
                for trial, row in trials.items():
                    if trial not in own and row["status"] != "diverged":
                        found.setdefault(trial, "none of its records can be read")
        return found

    @cached_property
    def without_trial(self) -> int:
        """The number of trials whose records exist although the trial itself is lost."""
        there = {row["fingerprint"] for row in self.rows["trials"].values()}
        return len({row["trial"] for row in self.rows["records"].values()} - there)

    def told(self) -> str:
        """A description of how much can be read."""
        trials = len({row["fingerprint"] for row in self.rows["trials"].values()} - self.incomplete.keys())
        parts = [counted(trials, "trial") + (" can be read" if self.damage else "")]
        if results := len(self.rows["results"]):
            parts.append(f"{counted(results, 'result')} of studies")
        if lost := len(self.incomplete):
            parts.append(f"{lost} {'is' if lost == 1 else 'are'} incomplete")
        return ", ".join(parts)

    def write(self, connection: sa.Connection) -> None:
        """Insert all rows, under the same numbers, into an empty store."""
        for table in KEPT:
            rows = [
                {"rowid": number, **{column.name: row[column.name] for column in table.columns}}
                for number, row in sorted(self.rows[table.name].items())
            ]
            if table is tables.trials:
                for row in rows:
                    if row["fingerprint"] in self.incomplete:
                        row["status"] = INCOMPLETE
            names = ", ".join(f'"{name}"' for name in ("rowid", *(column.name for column in table.columns)))
            values = ", ".join(f":{name}" for name in ("rowid", *(column.name for column in table.columns)))
            if rows:
                # Two pages may hold the same row, such as one that a kill kept from being freed.
                connection.execute(sa.text(f"INSERT OR IGNORE INTO {table.name} ({names}) VALUES ({values})"), rows)


def recovery(path: Path) -> Recovery:
    """Read the content of a file, which is not changed.

    Raises:
        OSError: the file cannot be read.
    """
    content = _content(path)
    pages = _Pages(content)
    rows: dict[str, dict[int, Row]] = {table.name: {} for table in KEPT}
    owners: dict[str, dict[int, str]] = {"records": {}, "observed": {}}
    indices = pages.indices()
    for number in range(1, pages.count + 1):
        kind = pages.kind(number)
        if kind == _TABLE_LEAF:
            for rowid, values in pages.rows(number):
                for table in KEPT:
                    row = _row(table, values)
                    if row is not None:
                        rows[table.name].setdefault(rowid, row)
                        break
        elif kind in (_INDEX_LEAF, _INDEX_INTERIOR) and number in indices:
            name = indices[number]
            if name in owners:
                for values in pages.entries(number, kind):
                    if [type(value) for value in values] == [str, int, int]:
                        owners[name][values[2]] = values[0]
    for table in KEPT:  # the first copy of a row counts
        key = [column.name for column in table.primary_key]
        seen, found = set[tuple[Any, ...]](), rows[table.name]
        for rowid in sorted(found):
            one = tuple(found[rowid][column] for column in key)
            if one in seen:
                del found[rowid]
            seen.add(one)
    return Recovery(rows, *_inspected(content), owners)


def _row(table: sa.Table, values: list[Any]) -> Row | None:
    """The values as a row of the table; None if the values cannot be a row of the table."""
    for names in (tuple(column.name for column in table.columns), *_FORMER.get(table.name, ())):
        if len(names) != len(values):
            continue
        row: Row = dict.fromkeys((column.name for column in table.columns), None)
        for name, value in zip(names, values, strict=True):
            # SQLite keeps 1.0 as 1.
            real = isinstance(table.columns[name].type, sa.Float) and type(value) is int
            row[name] = float(value) if real else value
        if table is tables.trials and row["framework"] is None:
            row["framework"] = "torch"
        if (row.get("status") == INCOMPLETE and fault(table, row | {"status": "finished"}) is None) or (
            fault(table, row) is None
        ):
            return row
    return None


def _content(path: Path) -> bytes:
    """The file's bytes with its log or journal applied, if SQLite can apply it; no file is left beside the store's file."""
    beside = {ending: path.with_name(path.name + ending) for ending in ("-wal", "-shm", "-journal")}
    log, index, journal = (found.exists() for found in beside.values())
    if not (log or journal):
        return path.read_bytes()
    if index or not log:  # another program may have the file open
        try:
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
                connection.execute("BEGIN")
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                return connection.serialize()
        except sqlite3.Error:
            pass
    with tempfile.TemporaryDirectory(prefix="laju-recover-") as folder:  # what a kill has left is applied in a copy
        copy = Path(folder) / "copy"
        shutil.copyfile(path, copy)
        for ending in ("-wal", "-journal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(beside[ending], copy.with_name(copy.name + ending))
        with suppress(sqlite3.Error), closing(sqlite3.connect(copy)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return copy.read_bytes()


def _inspected(content: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """SQLite's findings on the pages; if all pages are intact, the faults of rows."""
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            # Written with a log, which a database in memory cannot have.
            connection.deserialize(content[:18] + b"\1\1" + content[20:])
            said = [line for (text,) in connection.execute("PRAGMA integrity_check(20)") for line in text.splitlines()]
            if said != ["ok"]:
                return tuple(line for line in said if not line.startswith("***")), ()
            connection.row_factory = sqlite3.Row
            foreign = connection.execute("SELECT type, name FROM sqlite_schema WHERE type IN ('trigger', 'view')")
            faults = [f"it has the {kind} {name!r}, which is not laju's" for kind, name in foreign]
            for table in KEPT:
                missing = {column.name: "torch" if column.name == "framework" else None for column in table.columns}
                rows = connection.execute(f"SELECT * FROM {table.name} ORDER BY rowid")
                for number, row in enumerate(rows, 1):
                    values = missing | dict(row)
                    reason = fault(table, values)
                    if reason is not None and values.get("status") != INCOMPLETE:
                        faults.append(f"row {number} of {table.name} cannot be right: {reason}")
            return (), tuple(faults)
        except sqlite3.OperationalError as error:
            # A table is not there: another program's file, or a store of an earlier laju, which may lack some.
            return (), () if "no such table" in str(error) else (str(error),)
        except (sqlite3.Error, MemoryError) as error:
            return (str(error),), ()


class _Pages:
    """The pages of a file; any page may be damaged."""

    def __init__(self, content: bytes) -> None:
        # The header may be damaged too: 65,536 does not fit into its two bytes and is written as 1, and anything that is no
        # power of two from 512 on is not a size of pages; SQLite's own default is tried then.
        size = int.from_bytes(content[16:18]) or 4096
        size = 65536 if size == 1 else size
        self.size = size if size >= 512 and not size & (size - 1) else 4096
        self.usable = self.size - (content[20] if len(content) > 20 and content[20] <= 32 else 0)
        self.content = content
        self.count = -(-len(content) // self.size)
        zeros = bytes(_BLOCK)
        self._zeros = [i for i in range(0, len(content), _BLOCK) if content[i : i + _BLOCK] == zeros]

    def _head(self, number: int) -> int:
        return (number - 1) * self.size + (100 if number == 1 else 0)

    def kind(self, number: int) -> int | None:
        at = self._head(number)
        return self.content[at] if at < len(self.content) else None

    def _cells(self, number: int, head: int) -> Iterator[int]:
        """The offsets at which the cells of a page begin."""
        at, start = self._head(number), (number - 1) * self.size
        # The number of cells may be wrong as well. A cell and its pointer take more than four bytes, which bounds the loop.
        count = int.from_bytes(self.content[at + 3 : at + 5])
        for i in range(min(count, self.size // 4)):
            place = at + head + 2 * i
            offset = int.from_bytes(self.content[place : place + 2])
            if offset >= 8:
                yield start + offset

    def rows(self, number: int) -> Iterator[tuple[int, list[Any]]]:
        """The rows of a leaf of a table, each with its number."""
        for cell in self._cells(number, 8):
            try:
                length, at = self._varint(cell)
                rowid, at = self._varint(at)
                # U - 35 bytes of a row lie on its own page at most, with U the usable bytes of a page; the rest is in a chain
                # of overflow pages ("B-tree Cell Format" of the file format). An index keeps (U - 12)·64/255 - 23.
                yield rowid, _values(self._payload(cell, at, length, self.usable - 35, number))
            except (IndexError, ValueError, struct.error):
                continue

    def entries(self, number: int, kind: int) -> Iterator[list[Any]]:
        """The entries of a page of an index."""
        for cell in self._cells(number, 8 if kind == _INDEX_LEAF else 12):
            try:
                length, at = self._varint(cell if kind == _INDEX_LEAF else cell + 4)
                most = (self.usable - 12) * 64 // 255 - 23
                if length <= most:
                    yield _values(self._payload(cell, at, length, most, number))
            except (IndexError, ValueError, struct.error):
                continue

    def _payload(self, cell: int, at: int, length: int, most: int, number: int) -> bytes:
        local = length
        if length > most:
            # SQLite fills overflow pages to the last byte: so much stays on the leaf that the rest is a whole number of pages,
            # unless more than `most` would stay; then the least does.
            least = (self.usable - 12) * 32 // 255 - 23
            local = least + (length - least) % (self.usable - 4)
            local = least if local > most else local
        end = at + local
        if length > len(self.content) or end > number * self.size or self._in_zeros(cell, end):
            raise ValueError("not a cell")
        found = self.content[at:end]
        page = int.from_bytes(self.content[end : end + 4]) if length > local else 0
        while len(found) < length:
            if not 1 < page <= self.count:
                raise ValueError("the chain is broken")
            start = (page - 1) * self.size
            part = self.content[start + 4 : start + 4 + min(self.usable - 4, length - len(found))]
            if not part or self._in_zeros(start + 4, start + 4 + len(part)):
                raise ValueError("the chain is broken")
            found += part
            page = int.from_bytes(self.content[start : start + 4])
        return found

    def _in_zeros(self, begin: int, end: int) -> bool:
        i = bisect.bisect_right(self._zeros, begin - _BLOCK)
        return i < len(self._zeros) and self._zeros[i] < end

    def _varint(self, at: int) -> tuple[int, int]:
        return _varint(self.content, at)

    def indices(self) -> dict[int, str]:
        """The table that each page of an index belongs to, as far as the tree of the index can be followed."""
        found: dict[int, str] = {}
        for _, values in self._below(1):
            if len(values) == 5 and values[0] == "index" and type(values[3]) is int:
                waiting = [values[3]]
                while waiting:
                    page = waiting.pop()
                    if not 1 < page <= self.count or page in found:
                        continue
                    found[page] = str(values[2])
                    if self.kind(page) == _INDEX_INTERIOR:
                        at = self._head(page)
                        waiting.append(int.from_bytes(self.content[at + 8 : at + 12]))
                        waiting += [int.from_bytes(self.content[cell : cell + 4]) for cell in self._cells(page, 12)]
        return found

    def _below(self, root: int) -> Iterator[tuple[int, list[Any]]]:
        """The rows of the schema, which is a table of few pages."""
        if self.kind(root) == _TABLE_LEAF:
            yield from self.rows(root)
        elif self.kind(root) == 0x05:
            at = self._head(root)
            children = [int.from_bytes(self.content[cell : cell + 4]) for cell in self._cells(root, 12)]
            for child in (*children, int.from_bytes(self.content[at + 8 : at + 12])):
                if 1 < child <= self.count and self.kind(child) == _TABLE_LEAF:
                    yield from self.rows(child)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(8):
        byte = content[at + i]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    value = value << 8 | content[at + 8]
    return value - (1 << 64 if value >> 63 else 0), at + 9


_WHOLE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def _values(payload: bytes) -> list[Any]:
    """The values of a record, in SQLite's format."""
    head, at = _varint(payload, 0)
    place = head
    found: list[Any] = []
    if not 0 < head <= len(payload):
        raise ValueError("not a record")
    while at < head:
        kind, at = _varint(payload, at)
        if kind in (8, 9):
            found.append(kind - 8)
            continue
        # Serial types of a record: 0 is NULL, 1 to 6 whole numbers of 1, 2, 3, 4, 6 and 8 bytes, 7 a float, 8 and 9 the numbers
        # 0 and 1 without a byte, 10 and 11 are SQLite's own; from 12 on even types are bytes and odd types text, (type - 12) //
        # 2 long ("Record Format").
        length = 0 if kind == 0 else 8 if kind == 7 else _WHOLE[kind] if kind in _WHOLE else (kind - 12) // 2
        part = payload[place : place + length]
        place += length
        if kind < 0 or kind in (10, 11) or len(part) != length:
            raise ValueError("not a record")
        if kind == 0:
            found.append(None)
        elif kind == 7:
            found.append(struct.unpack(">d", part)[0])
        elif kind in _WHOLE:
            found.append(int.from_bytes(part, signed=True))
        else:
            found.append(part.decode() if kind % 2 else part)
    # A record fills its payload to the byte; what does not is no record, whatever its header says.
    if place != len(payload):
        raise ValueError("not a record")
    return found
