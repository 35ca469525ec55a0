"""What studies answered at their own size, for the pages that quote them: `answers/NAME.md`, as `laju study NAME` wrote it.

    PYTHONPATH=docs_build python docs_build/docs_answers.py [NAME ...] [--data-dir FOLDER] [--store FILE] [--jobs N]

trains the studies anew and writes these files; `--data-dir` has the slice of Fashion-MNIST. Together they take about an hour
of one core. A sentence of a page that holds only for what came out is made here, and is an error where something else came out.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "answers"
QUOTED = ("fixed-rates", "exponents", "plateau", "warmup-length", "restarts-and-averaging", "overfitting")
SEEDS = {"overfitting": 5}
IN_INDONESIAN = {
    "square root": "akar kuadrat",
    "multi-factor": "multifaktor",
    "cosine": "kosinus",
    "constant": "tetap",
    "constant, a third": "tetap, sepertiga",
    "Adam, constant": "Adam, tetap",
    "schedule": "jadwal",
    "training loss": "galat latih",
    "test accuracy": "akurasi uji",
    "difference": "selisih",
}


class Kept(NamedTuple):
    """An answer: its verdict, its text, and tables by title, as lists of cells, the headings first."""

    verdict: str
    text: str
    tables: dict[str, list[list[str]]]


def kept(name: str) -> Kept:
    """What the study answered."""
    _, verdict, *parts = (FOLDER / f"{name}.md").read_text(encoding="utf-8").strip().split("\n\n")
    text, tables, title = [], dict[str, list[list[str]]](), ""
    for part in parts:
        if part.startswith("## "):
            title = part.removeprefix("## ")
        elif part.startswith("| "):
            rows = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in part.splitlines()]
            tables[title] = [rows[0], *rows[2:]]
        elif not part.startswith("!["):
            text.append(part)
    return Kept(verdict.strip("*"), "\n\n".join(text), tables)


def answer(name: str) -> str:
    """The whole answer: verdict and text as a quotation, then the tables."""
    found = kept(name)
    quoted = f"**{found.verdict}**\n\n{found.text}"
    parts = ["\n".join(f"> {line}".rstrip() for line in quoted.splitlines())]
    for title, rows in found.tables.items():
        parts += [f"*{title}*", table(rows)]
    return "\n\n".join(parts)


def verdict(name: str) -> str:
    """The verdict as a quotation."""
    return f"> {kept(name).verdict}"


def table(rows: list[list[str]]) -> str:
    """Cells as Markdown, the first row as headings."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "| " + " | ".join("---" for _ in rows[0]) + " |", *lines[1:]])


# --- the page of claims ------------------------------------------------------------------------------------------------


def overfitting(language: str = "en") -> str:
    """The schedules at equal training loss, in bold where the difference is shown, and what that says of the claim."""
    found = kept("overfitting")
    rows = next(iter(found.tables.values()))
    columns = [rows[0].index(heading) for heading in ("schedule", "training loss", "test accuracy", "difference")]
    chosen = [[row[i] for i in columns] for row in rows]
    told = dict(re.findall(r"\*\*(.+?): (overfits less|overfits more|not told)", found.text))
    for row in chosen[1:]:
        row[-1] = row[-1] if told[row[0]] == "not told" else f"**{row[-1]}**"
    (size,) = re.findall(r"^\S+, (\d+) epochs, batch size (\d+), (\d+) seeds\.", found.text)
    (gap,) = re.findall(r"less its test accuracy is \+(\S+ ± \S+) at its lowest", found.text)
    falling = ("square root", "multi-factor", "cosine")
    assert "overfits more" not in told.values(), "no sentence below is for a schedule that overfits more"
    shown, open_ = ([name for name in falling if (told[name] == "overfits less") == less] for less in (True, False))
    ahead = all(float(row[-1].strip("*").split()[0]) > 0 for row in chosen[1:])
    ((seeds, apart),) = re.findall(r"about (\d+) seeds would show a difference of ([\d.]+):", found.verdict)
    as_said = shown and open_ and ahead and told["constant, a third"] == "not told"
    assert as_said, "other sentences are needed"
    if language == "en":
        before = (
            "On the slice ({} epochs, batch size {}, {} seeds; differences to a constant 0.3, whose training accuracy is {} "
            "above its test accuracy):"
        ).format(*size, gap)
        after = (
            f"{_and(shown)} {'is' if len(shown) == 1 else 'are'} shown to overfit less; {_and(open_)} "
            f"{'is' if len(open_) == 1 else 'are'} only ahead. A constant rate of a third is ahead as well, which is not shown "
            f"either, so the fall need not be the reason. About {seeds} seeds would show a difference of {apart}."
        )
        return f"{before}\n\n{table(chosen)}\n\n{after[0].upper()}{after[1:]}"
    before = (
        "Pada potongan tadi ({} epoch, ukuran batch {}, {} benih acak; selisih terhadap laju tetap 0,3, yang akurasi latihnya "
        "{} di atas akurasi ujinya):"
    ).format(*size, _comma(gap))
    chosen = [[_comma(IN_INDONESIAN.get(cell, cell)) for cell in row] for row in chosen]
    after = (
        f"{_and(shown, 'id')} terbukti mengurangi *overfitting*; {_and(open_, 'id')} hanya unggul sementara. Laju tetap "
        f"sepertiganya juga unggul, dan itu pun belum terbukti, jadi penurunan laju belum tentu sebabnya. "
        f"Sekitar {seeds} benih acak akan menunjukkan selisih sebesar {_comma(apart)}."
    )
    return f"{before}\n\n{table(chosen)}\n\n{after[0].upper()}{after[1:]}"


def algorithms(language: str = "en") -> str:
    """How far Adam and the best falling rate are ahead at equal training loss."""
    found = kept("overfitting")
    rows = next(iter(found.tables.values()))
    column = rows[0].index("difference")
    adam, step = (next(row[column] for row in rows if row[0] == name) for name in ("Adam, constant", "multi-factor"))
    for name in ("Adam, constant", "multi-factor"):
        assert f"**{name}: overfits less.**" in found.text, "another sentence is needed"
    if language == "en":
        return (
            f"The same run as for the first claim: at equal training loss Adam is {adam} ahead of SGD at a constant 0.3, "
            f"which is shown here, and multi-factor {step}. Which of algorithm and rate matters more, these runs do not tell."
        )
    return (
        f"Pelatihan yang sama seperti untuk pernyataan pertama: pada galat latih yang sama, Adam unggul {_comma(adam)} atas "
        f"SGD dengan laju tetap 0,3, dan itu terbukti di sini; multifaktor unggul {_comma(step)}. Mana yang lebih "
        f"berpengaruh, algoritma atau laju, belum terjawab oleh pelatihan ini."
    )


def plateaus(language: str = "en") -> str:
    """Whether letting the loss decide is better than the best fixed schedule."""
    found = kept("plateau")
    assert found.verdict.startswith("Whether it is better to let the loss decide is not shown"), "another sentence"
    if language == "en":
        return verdict("plateau")
    rows = {row[0]: row[-1] for row in next(iter(found.tables.values()))[1:]}
    (size,) = re.findall(r"^digits, (\d+) epochs, batch size \d+, (\d+) seeds", found.text)
    fixed = [name for name in rows if "plateau" not in name]
    best = max(fixed, key=lambda name: float(rows[name].split()[0]))
    return (
        "Pada angka tulisan tangan ({} epoch, {} benih acak), membiarkan galat menentukan memberi akurasi uji {}, jadwal "
        "tetap yang terbaik ({}) {}: tidak ada yang terbukti lebih baik."
    ).format(*size, _comma(rows["plateau"]), IN_INDONESIAN.get(best, best), _comma(rows[best]))


def warmups(language: str = "en") -> str:
    """Up to which rate the network with initial weights that are too large trains, by warmup."""
    found = kept("warmup-length")
    assert found.verdict.startswith("No warmup is shown to change the range of rates that train"), "another sentence"
    tables = {title: {row[0]: row for row in rows[1:]} for title, rows in found.tables.items()}
    deep, own = tables["16 plain layers, initial weights too large, SGD"], tables["The task's own network, SGD"]
    ways = ("no warmup", "warmup of 1 epoch", "warmup of 4 epochs")
    without, one, four = (deep[way][1] for way in ways)
    (paragraph,) = (
        part for part in found.text.split("\n\n") if part.startswith("**16 plain layers, initial weights too large")
    )
    assert paragraph.count("wider for 3 of 3 seeds") == 2, "another sentence is needed"
    same, *others = {own[way][1] for way in ways}
    as_said = not others and float(without) < float(one) < float(four)
    assert as_said, "another sentence is needed"
    if language == "en":
        return (
            f"16 plain layers whose initial weights are too large train with every seed up to a rate of {without} without a "
            f"warmup, {one} with one of an epoch, and {four} with one of four: wider for each of the three seeds, by so "
            f"uneven factors that the interval does not carry it. LeNet trains up to {same} with "
            "and without."
        )
    return (
        "16 lapisan polos dengan bobot awal yang terlalu besar dapat dilatih dengan setiap benih acak "
        f"sampai laju {_comma(without)} tanpa pemanasan, {_comma(one)} dengan pemanasan satu epoch, dan {_comma(four)} dengan "
        f"pemanasan empat epoch: lebih lebar untuk ketiga benih acak, tetapi dengan kelipatan yang begitu beragam sehingga "
        f"intervalnya belum membuktikannya. LeNet dapat dilatih sampai {_comma(same)} dengan "
        "maupun tanpa pemanasan."
    )


def _comma(text: str) -> str:
    return re.sub(r"(?<=\d)\.(?=\d)", ",", text)


def _and(names: list[str], language: str = "en") -> str:
    words = names if language == "en" else [IN_INDONESIAN[name] for name in names]
    joined = "and" if language == "en" else "dan"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {joined} {words[-1]}"


def main() -> None:
    from laju.lab import Store
    from laju.studies import STUDIES, Options, run

    parser = argparse.ArgumentParser(description="Train studies at their own size and keep their answers.")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--data-dir", help="folder with the slice of Fashion-MNIST")
    parser.add_argument("--store", help="file that keeps trainings")
    parser.add_argument("--jobs", type=int)
    options = parser.parse_args()
    for name in options.names or QUOTED:
        assert name in STUDIES, name
        task, data = ("fashion-mnist", options.data_dir) if name == "overfitting" else ("digits", None)
        with Store(options.store) as store:
            found = run(name, Options(task, data, seeds=SEEDS.get(name), jobs=options.jobs, store=store, display=True))
        text = found.markdown() if data is None else found.markdown().replace(str(data), "FOLDER")
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
