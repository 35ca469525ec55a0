"""Readers of configuration files: JSON, TOML, YAML, Python that is not executed, or the arguments of a command.

The content of a file includes the content of its base files: files under `_BASE_`, as in detectron2 and PaddlePaddle's tools, and
the files of groups under `defaults` in a YAML file of Hydra.
"""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laju.core import limits
from laju.core.checks import shown
from laju.core.extras import needed_by
from laju.dialects.base import DialectError
from laju.dialects.python_config import Unread, merged, python

SCRIPTS = "_scripts_"
"""The key of the names of the Python scripts in the content of a file with commands."""
KINDS = (".json", ".toml", ".yaml", ".yml", ".py", ".sh", ".txt", ".args")


def is_file(text: str) -> bool:
    """Return whether a text is the path of a configuration file, and not a call or a spec."""
    return text.lower().endswith(KINDS) and "(" not in text and "\n" not in text


def content(path: Path, above: tuple[Path, ...] = (), files: list[Path] | None = None) -> Any:
    """Return the content of a file, including its base files.

    Args:
        path: path of the file.
        above: files whose base this file is, to find cycles.
        files: all files read so far, to limit their number.

    Raises:
        DialectError: if the file cannot be parsed, is its own base, or a base is missing.
        OSError: if the file cannot be read.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise DialectError(f"{path} must be a {', '.join(KINDS[:-1])} or {KINDS[-1]} file")
    files = [] if files is None else files
    if path.resolve() in above:
        raise DialectError(f"{path} is its own _BASE_ or in its own defaults")
    files.append(path)
    # Files that name each other twice would be read 2^n times without being their own base.
    if len(files) > limits.FILES:
        raise DialectError(f"{path}: a configuration may be made of at most {limits.FILES} files, its bases counted")
    if kind == ".py":
        return python(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DialectError(f"{path} is not text in UTF-8: {error}") from None
    try:
        found = _parsed(text, kind, path)
        limits.size(found)
    except (ModuleNotFoundError, DialectError):
        raise
    except RecursionError:
        raise DialectError(f"{path} is nested too deeply") from None
    except Exception as error:  # YAML's own errors have no base that Python knows
        raise DialectError(f"{path} cannot be read as {kind[1:]}: {error}") from None
    if isinstance(found, Mapping) and isinstance(found.get("defaults"), list):
        found = _composed(found, path, (*above, path.resolve()), files)
    if not isinstance(found, Mapping) or "_BASE_" not in found:
        return found
    bases = found["_BASE_"]
    under: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases if isinstance(bases, list) else [None]:
        if not isinstance(base, str) or "://" in base or not (path.parent / base).is_file():
            raise DialectError(
                f"{path}: _BASE_ names {shown(base)}, which is not beside it: its keys may decide the rate"
            )
        under = merged(under, content(path.parent / base, (*above, path.resolve()), files))
    return merged(under, {key: value for key, value in found.items() if key != "_BASE_"})


_PACKAGE = re.compile(r"^\s*#\s*@package\s+(\S+)", re.MULTILINE)
_CHOICE = re.compile(r"(?:override\s+|optional\s+)*/?([^@:]+)(?:@([^:]+))?")


def _composed(own: Mapping[str, Any], path: Path, above: tuple[Path, ...], files: list[Path]) -> dict[str, Any]:
    """Return the keys of a Hydra file and of the files in its `defaults`; later keys win, by default the file's own.

    Entries of `defaults` without a file are kept. The keys of a group are in the section with its name, or at its `@package`.

    Source: Hydra 1.3, "The Defaults List" and "Packages".
    """
    rest = {key: value for key, value in own.items() if key != "defaults"}
    # Where `_self_` is not in the list, the file's own keys come last.
    entries = own["defaults"] if "_self_" in own["defaults"] else [*own["defaults"], "_self_"]
    result: dict[str, Any] = {}
    unread = []
    for entry in entries:
        if entry == "_self_":
            result = merged(result, rest)
            continue
        name, choice = next(iter(entry.items())) if isinstance(entry, Mapping) and len(entry) == 1 else ("", entry)
        for chosen in choice if isinstance(choice, list) else [choice] if choice is not None else []:
            said = _CHOICE.fullmatch(str(name)) if name else None
            if str(name).startswith("override") and not (said and said[1].startswith("hydra/")):
                raise DialectError(
                    f"{path}: defaults has {shown(entry)}, which is not supported: write the chosen values into the file"
                )
            group = said[1].strip() if said else ""
            file = path.parent / group / f"{str(chosen).removesuffix('.yaml')}.yaml"
            if not isinstance(chosen, str) or (name and said is None) or not file.is_file():
                unread.append(entry)
                continue
            package = _PACKAGE.search(file.read_text(encoding="utf-8", errors="replace"))
            place = (said[2] if said else None) or (package[1] if package else group.replace("/", "."))
            place = place.replace("_group_", group.replace("/", "."))
            part = content(file, above, files)
            for key in reversed([key for key in place.split(".") if key not in ("", "_global_", "_here_")]):
                part = {key: part}
            result = merged(result, part if isinstance(part, Mapping) else {})
    return {**result, "defaults": unread} if unread else result


def _parsed(text: str, kind: str, path: Path) -> Any:
    if kind == ".json":
        return json.loads(text, object_pairs_hook=_once)
    if kind == ".toml":
        import tomllib

        return tomllib.loads(text)
    if kind in (".yaml", ".yml"):
        with needed_by(str(path), "convert"):
            import yaml
        # A loader made from SafeLoader: no tag of a file makes an object.
        return yaml.load(text, _loader(yaml))
    if len(text) > limits.TEXT:
        raise DialectError(f"{path} must have at most {limits.TEXT:,} characters")
    found = arguments(text)
    scripts = re.findall(r"(?<![^\s/'\"])[\w.-]+\.py(?=[\s;'\"]|$)", re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE))
    return {**found, SCRIPTS: list(dict.fromkeys(scripts))} if scripts else found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the mapping of JSON's pairs, and refuse a key with two values, which readers treat differently.

    Source: DeepSpeed 0.19.8, runtime/config_utils.py: `dict_raise_error_on_duplicate_keys`.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise _twice(key, shown(found[key]), shown(value))
        found[key] = value
    return found


def _twice(key: str, before: str, after: str) -> ValueError:
    return ValueError(f"{key!r} is there twice, with {before} and with {after}: leave the value that counts")


_ASSIGNED = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)=(.*)", re.DOTALL)


def arguments(text: str) -> dict[str, Any]:
    """Return the arguments of a command or of a script: `--lr 1e-4` is lr, `--lr-decay-style=cosine` is lr_decay_style.

    Variables that the script assigns are replaced by their values; a variable assigned in a branch (`if`, `case`, a loop) has the
    value in that branch only. A flag without a value is True. An argument with different values in two commands is `Unread`.

    >>> arguments("LR=1e-4; python train.py --lr ${LR} --lr-decay-style=cosine --bf16 # a comment")
    {'lr': '1e-4', 'lr_decay_style': 'cosine', 'bf16': True}
    >>> arguments("python first.py --lr 1e-4; python second.py --lr 2e-4")
    {'lr': '--lr 1e-4 or --lr 2e-4'}
    """
    found: dict[str, Any] = {}
    for name, places in _said(text, {}).items():
        values = [value for (assigned, _), value in places.items() if not assigned] or list(places.values())
        found[name] = values[-1]
        if any(value != values[0] for value in values):
            option = f"--{name}" if f"--{name}" in text else f"--{name.replace('_', '-')}"
            found[name] = Unread(" or ".join(dict.fromkeys(f"{option} {value}" for value in values)))
    return found


class _Lines(io.StringIO):
    """Text stream whose comments end before the end of the line, so that the line end still ends the command."""

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # of typeshed, which has bytes
        line = super().readline(size)
        if line.endswith("\n"):
            self.seek(self.tell() - 1)
        return line


_ENDS = set(";()&|<>\n")
_OPEN, _SHUT, _BRANCH = {"if", "case", "for", "while", "until"}, {"fi", "esac", "done"}, {"else", "elif", "then", "do"}


def _said(text: str, own: dict[str, str], quoted: bool = False) -> dict[str, dict[tuple[bool, int], Any]]:
    """Return the values of each argument, by (whether the value is inside a variable or parentheses, number of the command).

    Args:
        text: text of the script.
        own: values of the known variables.
        quoted: whether the text is the value of a variable, in which the end of a line does not end a command.
    """
    text = re.sub(r"^(\s*#.*)\\\r?$", r"\1", text, flags=re.MULTILINE)  # a comment goes on in no next line
    lexer = shlex.shlex(
        _Lines(re.sub(r"\\\r?\n", " ", text)), posix=True, punctuation_chars="".join(_ENDS - set("\n" * quoted))
    )
    lexer.whitespace_split = True
    lexer.whitespace = " \t\r\n" if quoted else " \t\r"
    found: dict[str, dict[tuple[bool, int], Any]] = {}
    branches: list[set[str]] = []
    name, command, depth, first = None, 0, 0, True
    for word in lexer:
        place = (bool(depth), command)
        if set(word) <= _ENDS:
            depth = max(0, depth + word.count("(") - word.count(")"))
            if depth and set(word) <= set("(\n"):  # an array, such as ARGS=(…), goes on over lines
                continue
            name = None
            if not depth and (set(word) & set(";|\n") or word in ("&", "&&")):
                command, first = command + 1, True
            first = first or (")" in word and not depth)  # a pattern of `case`
            if ";;" in word and branches:  # the end of a branch of `case`
                _forget(own, branches)
            continue
        begins, first = first, first and (word in _BRANCH | _OPEN)
        if begins and not depth and word in _OPEN:
            branches.append(set())
        elif begins and not depth and branches and word in _SHUT | {"else", "elif"}:
            _forget(own, branches)
            if word in _SHUT:
                branches.pop()
        elif word.startswith("--") and len(word) > 2 and not word[2:3].isspace() and " " not in word.partition("=")[0]:
            name, _, value = word[2:].partition("=")
            name = name.replace("-", "_")
            found.setdefault(name, {})[place] = _filled(value, own) if value else True
            name = None if value else name
        elif word.startswith("-") and word[1:2].isalpha():
            name = None
        elif name is not None:
            value, before = _filled(word, own), found[name][place]
            if word.startswith("$") and (before is not True or "--" in value):  # more arguments, such as $GPT_ARGS
                name = None
            else:
                more = [*(before if isinstance(before, list) else [before]), value]
                found[name][place] = value if before is True else more
        elif assigned := _ASSIGNED.fullmatch(word):
            own[assigned[1]] = _filled(assigned[2], own)
            if branches:
                branches[-1].add(assigned[1])
            if "--" in assigned[2]:  # such as GPT_ARGS="--lr 1e-4", which a command takes in
                for key, places in _said(assigned[2], dict(own), quoted=True).items():
                    found.setdefault(key, {})[True, command] = list(places.values())[-1]
    return found


def _forget(own: dict[str, str], branches: list[set[str]]) -> None:
    """Forget the variables of a branch at its end, because the branch may not be executed."""
    for name in branches[-1]:
        own.pop(name, None)
    branches[-1].clear()


def _filled(word: str, own: Mapping[str, str]) -> str:
    found = re.fullmatch(r"\$(?:(\w+)|\{(\w+)\})", word)
    return own.get(found[1] or found[2], word) if found else word


def _loader(yaml: Any) -> Any:
    """Return YAML's safe loader with unknown tags read as `Unread` values instead of errors.

    A mapping with an unknown tag, such as PaddleDetection's `!PiecewiseDecay`, has the tag under `_tag_`.
    """

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def compose_mapping_node(self, anchor: Any) -> Any:
            # Keys are compared here, since a merge (<<) adds pairs that the mapping's own keys may replace.
            node = super().compose_mapping_node(anchor)
            found: dict[tuple[str, str], Any] = {}
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    before = found.setdefault((key.tag, key.value), value)
                    texts = ("", "") if before is value else (_written(before), _written(value))
                    if texts[0] != texts[1] or len(texts[0]) > _COMPARED:
                        raise _twice(key.value, *(" ".join(text.split())[:80] for text in texts))
            return node

    def unread(loader: Any, suffix: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode) and not suffix.startswith("tag:"):
            return {"_tag_": suffix.lstrip("!"), **loader.construct_mapping(node, deep=True)}
        text = f"{suffix} {node.value}" if isinstance(node.value, str) else suffix
        return Unread(text.strip(), node.start_mark.line + 1)

    Loader.add_multi_constructor("", unread)
    return Loader


_COMPARED = 1000  # characters of a value, so that aliases of long values cost no more than their own size


def _written(node: Any) -> str:
    """Return the text of a YAML node in its file, up to the length that is compared."""
    begin, end = node.start_mark, node.end_mark
    return str(begin.buffer[begin.pointer : min(end.pointer, begin.pointer + _COMPARED + 1)])


_NUMBER = re.compile(r"\s*[-+]?(\d[\d_]*)?(\.\d*)?([eE][-+]?\d+)?\s*")


def numbers(value: Any) -> Any:
    """Convert strings that are numbers to numbers, because YAML reads 2e-5 as a string."""
    if isinstance(value, Mapping):
        return {key: numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [numbers(inner) for inner in value]
    if isinstance(value, str) and len(value) <= 40 and (found := _NUMBER.fullmatch(value)):
        try:
            return float(value) if found[2] or found[3] else int(value)
        except ValueError:  # such as "." and ""
            return value
    return value
