"""One table of what people type, of every verb: the exit status, and a part of what is said first.

`test_table.py` runs the rows where everything is installed, `test_install.py` those of them that tell another thing, or the same,
where nothing is. A row is one verb's; a verb without rows fails both tests.
"""

from __future__ import annotations

import re
import sqlite3
import struct
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

LOG = "step,lr,loss\n" + "".join(f"{t},{0.1 - t / 1000},{3 + 1 / t}\n" for t in range(10, 100, 5))
S = "'cosine(0.3, total=20)'"
LONG = "n" * 5000
STRANGE = ("<script>alert(1)</script>", "学習率の名前", "\u202eabc\u202c مرحبا", LONG)
"""Names with HTML, of wide letters, written from right to left, and of 5,000 letters."""


@dataclass(frozen=True)
class Row:
    """A command and its answer.

    Args:
        arguments: as a shell reads them.
        code: the exit status.
        says: a part of the first line that is said: of standard output if it has one, else of the message.
        bare: the package without which the command cannot be answered, and the extra with it; the exit status is then 3.
    """

    arguments: str
    code: int
    says: str
    bare: tuple[str, str | None] | None = None

    @property
    def verb(self) -> str:
        found = re.match(r"((?:forecast|store) [a-z]+|[\w-]+)", self.arguments)
        assert found is not None, self.arguments
        return found[1]


def write_files(folder: Path) -> None:
    """What the rows read."""
    (folder / "a.csv").write_text(LOG)
    (folder / "b.csv").write_text(LOG)
    (folder / "c.yaml").write_text("learning_rate: 0.1\nlr_scheduler_type: linear\nmax_steps: 100\n")
    (folder / "c.json").write_text('{"learning_rate": 0.1, "lr_scheduler_type": "linear", "max_steps": 100}')
    (folder / "ds.json").write_text('{"optimizer": {"params": {"lr": 0.1}}, "scheduler": {"type": "WarmupLR"}}')
    (folder / "betas.json").write_text(
        '{\n"learning_rate": 0.1, "lr_scheduler_type": "linear", "betas": [0.9, 0.99]\n}'
    )
    (folder / "empty.csv").touch()
    (folder / "picture.csv").write_bytes(bytes(range(256)))
    with closing(sqlite3.connect(folder / "kept.sqlite")) as connection:
        connection.execute(f"PRAGMA application_id = {int.from_bytes(b'laju')}")
    (folder / "folder").mkdir()
    for update in (
        100,
        200,
        300,
    ):  # safetensors files of one number, by hand: a bare environment has no package for them
        head = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        content = len(head).to_bytes(8, "little") + head + struct.pack("<f", update)
        (folder / f"step{update}.safetensors").write_bytes(content)
    (folder / "file").touch()


PLOT, DRAW = ("plotext", "plot"), ("matplotlib", "plot")
LAB, TUNE, FIT = ("sqlalchemy", "lab"), ("sqlalchemy", "tune"), ("scipy", "forecast")
MERGE = ("torch", "average")
CHECKPOINTS = "step100.safetensors step200.safetensors step300.safetensors"
TINY = "--epochs 1 --seeds 1 --jobs 1"
UNKNOWN = "unknown policy 'cosin'; did you mean 'cosine'?"
EXTRA = "Got unexpected extra argument"
NO_SUCH = "No such option '--nothing'"

ROWS = [
    # --- show
    Row("show", 2, "Missing argument 'SCHEDULE'"),
    Row(f"show {S}", 0, "cosine(0.3, total=20)"),
    Row(f"show {S} --json", 0, "{"),
    Row("show 'cosin(1)'", 2, UNKNOWN),
    Row("show 'cosin(1)' --json", 2, "{"),
    Row("show 'step(1)'", 2, "unknown policy 'step'; in laju that is factor("),
    Row("show 'StepLR(step_size=10)'", 2, "laju convert --from torch 'StepLR(step_size=10)' --to laju"),
    Row("show 'CosineAnnealingLR(T_max=10)'", 2, "laju convert --from torch 'CosineAnnealingLR(T_max=10)' --to laju"),
    Row("show 'get_cosine_schedule_with_warmup(3, 9)'", 2, "laju convert --from transformers"),
    Row("show 'ReduceLROnPlateau()'", 2, "laju.adaptive.Plateau"),
    Row("show chapter", 2, "chapter:cosine-with-warmup"),
    Row("show chapter:cosine --epochs 30", 0, "cosine\n"),
    Row("show chapter:cosin --epochs 30", 2, "did you mean 'cosine'?"),
    Row(f"show {S} {S}", 2, EXTRA),
    Row(f"show {S} --nothing", 2, NO_SUCH),
    Row(f"show {S} --samples 0", 2, "'--samples'"),
    Row("show folder", 2, "unknown name 'folder'"),
    Row("show 'constant(1)'", 2, "give the number of updates to show: --updates N"),
    *(Row(f"show '{name}=cosine(0.3, total=20)'", 0, "cosine(0.3") for name in STRANGE),
    Row(f"show '{LONG}'", 2, "unknown name"),
    Row(f"show {S} --studio --json", 2, "{"),
    # --- studio
    Row("studio --help", 0, "Usage: laju studio"),
    Row("studio 'cosin(1)' --no-browser", 2, UNKNOWN),
    Row("studio folder --no-browser", 2, "folder"),
    Row("studio picture.csv --no-browser", 2, "picture.csv"),
    Row("studio ds.json --no-browser", 2, "laju convert --from config ds.json --to laju"),
    Row(
        "studio c.json --no-browser",
        2,
        "c.json is a configuration of transformers, not a log; its schedule: laju convert",
    ),
    Row("studio betas.json --no-browser", 2, "betas.json is a configuration of transformers, not a log"),
    Row("studio --port x", 2, "'--port'"),
    Row("studio --nothing", 2, NO_SUCH),
    Row("studio 'http://127.0.0.1:8421/#s=constant(1)&colour=red' --no-browser", 2, "unknown part 'colour'"),
    # --- plot
    Row("plot", 2, "Missing argument 'SCHEDULE...'"),
    Row(f"plot {S}", 0, "┌", PLOT),
    Row("plot chapter", 0, "┌", PLOT),
    *(Row(f"plot '{name}=cosine(0.3, total=20)'", 0, "┌", PLOT) for name in STRANGE),
    Row(f"plot {S} --out a.png", 0, "wrote a.png", DRAW),
    Row(f"plot {S} --out a.docx", 2, "'a.docx'", DRAW),
    Row(f"plot {S} --out folder", 2, "'folder' is a directory"),
    Row(f"plot {S} --out nowhere/a.png", 2, "there is no folder 'nowhere'", DRAW),
    Row("plot 0.1 --updates 99999999999999", 2, "99,999,999,999,999 updates are too many to draw"),
    Row("plot 'StepLR(10)'", 2, "laju convert --from torch"),
    Row(f"plot {S} --nothing", 2, NO_SUCH),
    # --- check
    Row("check", 2, "Missing argument 'SCHEDULE'"),
    Row(f"check {S}", 0, "no findings"),
    Row(f"check {S} --updates 30", 1, "LAJU006"),
    Row(f"check {S} --updates 30 --json", 1, "{"),
    Row(f"check {S} --updates x --json", 2, "{"),
    Row(f"check {S} --select LAJU1", 2, "'LAJU1' is not a code"),
    Row("check 'StepLR(10)'", 2, "laju convert --from torch"),
    Row("check a.csv", 2, "a.csv is a file; the schedule of a log: laju recognise a.csv"),
    Row("check folder", 2, "folder is a folder; the schedule of a log: laju recognise folder"),
    Row(f"check {S} {S}", 2, EXTRA),
    Row(f"check '{LONG}={S[1:-1]}' --updates 20", 0, "no findings"),
    # --- diff
    Row("diff", 2, "Missing argument 'A'"),
    Row(f"diff {S}", 2, "Missing argument 'B'"),
    Row(f"diff {S} {S}", 0, "a: cosine(0.3, total=20)"),
    Row(f"diff {S} 'linear(0.3, 0, total=20)'", 1, "a: cosine(0.3, total=20)"),
    Row(f"diff {S} 'linear(0.3, 0, total=20)' --json", 1, "{"),
    Row(f"diff {S} 'linear(0.3, 0, total=20)' --out a.png", 1, "a: cosine", DRAW),
    Row("diff a.csv 'linear(0.1, 0, total=100)'", 0, "a: rates: 'lr'"),
    Row("diff a.csv 'linear(0.2, 0, total=100)' --json", 1, "{"),
    Row("diff empty.csv 'linear(0.1, 0, total=100)'", 2, "empty.csv"),
    Row(f"diff {S} nowhere.csv", 2, "SCHEDULE"),
    Row(f"diff {S} 0.1 --tolerance -1 --json", 2, "{"),
    Row(f"diff {S} {S} {S}", 2, EXTRA),
    # --- convert
    Row("convert", 2, "Missing argument 'SCHEDULE'"),
    Row("convert 'StepLR(10)'", 2, "Missing option '--from'"),
    Row("convert a.csv --to torch", 2, "The schedule of a log: laju recognise LOG"),
    Row(
        "convert --from torch 'get_cosine_schedule_with_warmup(10, 100)' --to laju",
        2,
        "not a scheduler of PyTorch but of Transformers: name the system 'transformers'",
    ),
    Row("convert --from torch 'OneCycleLR(max_lr=0.1, total_steps=9)' --to keras", 0, "from "),
    Row("convert --from torch 'OneCycleLR(max_lr=0.1, total_steps=9)' --to keras --json", 0, "{"),
    Row("convert --from torch 'StepLR(step_size=10)' --to laju", 2, "--lr 0.1"),
    Row("convert --from torhc 'StepLR(10)' --to laju --lr 0.1", 2, "did you mean 'torch'?"),
    Row("convert --from torch 'StepLr(10)' --to laju --lr 0.1 --json", 2, "{"),
    Row("convert --from config nowhere.yaml --to laju", 2, "nowhere.yaml"),
    Row("convert --from config folder --to laju", 2, "folder"),
    Row("convert --from config c.yaml --to torch", 0, "from ", ("yaml", "convert")),
    Row("convert --from laju 'cosine(1, total=9)' --to yaml:axolotl", 0, "lr_scheduler: cosine", ("yaml", "convert")),
    Row("convert --from laju 'cosine(1, total=9)' --to yaml", 2, "name a system, such as yaml:transformers"),
    Row(
        "convert --from laju 'cosine(1, total=9, warmup=3)' --to yaml:nanogpt",
        2,
        "no configuration of nanoGPT was found",
    ),
    Row("convert --from timm 'CosineLRScheduler(t_initial=9)' --lr 1 --to keras", 0, "UPDATES_PER_EPOCH = ..."),
    Row(
        "convert --from torch 'OneCycleLR(max_lr=1, total_steps=9)' --to keras --out new",
        0,
        "from ",
        ("matplotlib", "convert"),
    ),
    Row(f"convert --from laju {S} {S} --to torch", 2, EXTRA),
    Row(f"convert --from torch {S} --to torhc", 2, "did you mean 'torch'?"),
    *(Row(f"convert --from laju '{name}' --to torch", 2, "") for name in STRANGE),
    # --- recognise
    Row("recognise", 2, "Missing argument 'LOG"),
    Row("recognise a.csv", 0, "linear("),
    Row("recognise a.csv --json", 0, "{"),
    Row("recognise a.csv --column LR2", 2, "'LR2'"),
    Row("recognise nowhere.csv", 2, "nowhere.csv"),
    Row("recognise nowhere.csv --json", 2, "{"),
    Row("recognise folder", 2, "folder"),
    Row("recognise empty.csv", 2, "empty.csv"),
    Row("recognise c.yaml", 2, "laju convert --from config c.yaml --to laju"),
    Row("recognise c.json", 2, "c.json is a configuration of transformers, not a log; its schedule: laju convert"),
    Row("recognise picture.csv", 2, "picture.csv"),
    Row("recognise a.csv b.csv", 2, EXTRA),
    *(Row(f"recognise '{name}.csv'", 2, "") for name in STRANGE),
    Row("recognise ds.json", 2, "laju convert --from config ds.json --to laju"),
    Row("recognise betas.json", 2, "betas.json is a configuration of transformers, not a log"),
    # --- diagnose
    Row("diagnose", 2, "Missing argument 'LOG"),
    Row("diagnose a.csv --meant 'linear(0.1, 0, total=100)'", 0, "healthy"),
    Row("diagnose a.csv --meant 'linear(0.2, 0, total=100)'", 1, "at update 10 the rate is 0.09"),
    Row("diagnose a.csv --meant 'linear(0.2, 0, total=100)' --json", 1, "{"),
    Row("diagnose a.csv --meant 'StepLR(10)'", 2, "laju convert --from torch"),
    Row("diagnose a.csv --meant nowhere.yaml", 2, "nowhere"),
    Row("diagnose nowhere.csv", 2, "nowhere.csv"),
    Row("diagnose folder --json", 2, "{"),
    Row("diagnose a.csv b.csv", 2, EXTRA),
    Row("diagnose a.csv --meant 'linear(0.1, 0, total=100)' --nothing", 2, NO_SUCH),
    *(Row(f"diagnose '{name}.csv' --meant 0.1", 2, "") for name in STRANGE),
    # --- average
    Row("average", 2, "Missing argument 'CHECKPOINT...'"),
    Row("average step100.safetensors", 2, "Missing option '--like'"),
    Row(f"average {CHECKPOINTS} --like 'linear(1, 0, total=200)'", 0, "checkpoint", MERGE),
    Row(f"average {CHECKPOINTS} --like ema:0.99 --out merged.safetensors --json", 0, "{", MERGE),
    Row(
        f"average {CHECKPOINTS} --like latest:9", 2, "count must be at most the number of checkpoints, 3, got 9", MERGE
    ),
    Row(f"average {CHECKPOINTS} --like tail:400", 2, "length must be at most the 300 updates of the run", MERGE),
    Row(f"average {CHECKPOINTS} --like 'linear(1, 0, total=300)'", 2, "off by up to 33% of the trunk's", MERGE),
    Row(f"average {CHECKPOINTS} --like latest:2 --out step100.safetensors", 2, "--out must not be one of the", MERGE),
    Row(f"average {CHECKPOINTS} --like latest:2 --out merged.pt", 2, "--out must end with .safetensors", MERGE),
    Row(f"average {CHECKPOINTS} --like latest:2 --at 1,2", 2, "--at must have the update of each checkpoint", MERGE),
    Row(f"average {CHECKPOINTS} --like latest:2 --at one --json", 2, "{"),
    Row(f"average {CHECKPOINTS} --like latst:2", 2, "did you mean 'latest'?"),
    Row(f"average {CHECKPOINTS} --like 'cosin(1)'", 2, UNKNOWN),
    Row(f"average {CHECKPOINTS} --like latest:2 --trunk 'cosin(1)'", 2, UNKNOWN),
    Row("average nowhere.pt --like latest:1", 2, "there is no file 'nowhere.pt'", MERGE),
    Row("average folder --like latest:1", 2, "folder must hold one file of weights", MERGE),
    Row("average picture.csv --like latest:1", 2, "picture.csv is no torch file", MERGE),
    Row("average empty.csv --like latest:1", 2, "empty.csv is no torch file", MERGE),
    # --- compare
    Row("compare", 2, "Missing argument 'SCHEDULE...'"),
    Row(f"compare 0.1 {TINY}", 0, "1 trial", LAB),
    Row(f"compare 0.1 {TINY} --json", 0, "{", LAB),
    Row("compare 'StepLR(10)'", 2, "laju convert --from torch"),
    Row("compare digits", 2, "digits"),
    Row("compare 0.1 --task digit", 2, "did you mean 'digits'?", LAB),
    Row("compare 0.1 --data-dir folder", 2, "takes no --data-dir", LAB),
    Row("compare 0.1 --epochs 0 --json", 2, "{"),
    Row("compare 0.1 --beside nowhere.csv", 2, "nowhere.csv", LAB),
    Row("compare 0.1 --out file", 2, "cannot write a report into", LAB),
    Row("compare 0.1 --store folder", 2, "folder", LAB),
    Row("compare 0.1 --average em:0.9", 2, "did you mean 'ema'?", LAB),
    Row("compare 0.1 --epochs 2 --average tail:5000", 2, "length must be at most the 46 updates of the run", LAB),
    Row("compare 0.1 --average ema:0.9 --race", 2, "is of averaged weights, which go with no race", LAB),
    Row("compare 0.1 --tuned --equal-area", 2, "--equal-area", LAB),
    # --- chapter
    Row(f"chapter --task digits {TINY}", 0, "5 trials", LAB),
    Row("chapter --tab pytorhc", 2, "--tab: ", LAB),
    Row("chapter --data-dir nowhere", 2, "--data-dir: there is no folder", LAB),
    Row("chapter --framework jax", 2, "--tab pytorch"),
    Row("chapter extra", 2, EXTRA),
    Row("chapter --nothing", 2, NO_SUCH),
    Row("chapter --epochs x --json", 2, "{"),
    # --- find
    Row("find --updates 10 --seeds 1", 0, "digits", LAB),
    Row("find --updates 10 --seeds 1 --json", 0, "{", LAB),
    Row("find --low 1 --high 0.1", 2, "--low must be below high", LAB),
    Row("find --task digit", 2, "did you mean 'digits'?", LAB),
    Row("find --out a.jpg", 2, "--out: ", LAB),
    Row("find --out file/a.png", 2, "cannot write the picture 'file/a.png'", LAB),
    Row("find extra", 2, EXTRA),
    Row("find --seeds 0 --json", 2, "{"),
    # --- study
    Row("study", 0, "fixed-rates"),
    Row("study --json", 0, "{"),
    Row("study nothing", 2, "'nothing' is not a study"),
    Row("study nothing --json", 2, "{"),
    Row("study fixed-rates --task digit", 2, "did you mean 'digits'?", LAB),
    Row("study fixed-rates --small --set nothing", 2, "'nothing' is not SETTING=VALUE", LAB),
    Row("study fixed-rates --small --out file/a", 2, "cannot write a report into", LAB),
    Row("study fixed-rates extra", 2, EXTRA),
    *(Row(f"study '{name}'", 2, "is not a study") for name in STRANGE),
    # --- tune
    Row("tune", 2, "Missing argument 'POLICY'"),
    Row("tune constant --space value=0.1..1 --trials 1 --confirm 0 --epochs 1 --jobs 1", 0, "1 trial", TUNE),
    Row("tune cosin --space 'peak=1e-3..1 log'", 2, "did you mean 'cosine'?", TUNE),
    Row("tune cosine --space peak=2..1 --json", 2, "{", TUNE),
    Row("tune wsd --space peak=0.1..0.3", 2, "cooldown must be given with total='100%', such as cooldown='20%'", TUNE),
    Row("tune trapezoid --space peak=0.1..0.3", 2, "trapezoid needs warmup and cooldown", TUNE),
    Row("tune constant --space value=0.1..1 --objective loss", 2, "--objective", TUNE),
    Row("tune cosine", 2, "Missing option '--space'"),
    Row("tune cosine extra --space peak=1..2", 2, EXTRA),
    Row("tune StepLR --space gamma=1..2", 2, "", TUNE),
    *(Row(f"tune '{name}' --space peak=1..2", 2, "", TUNE) for name in STRANGE),
    # --- store
    *(Row(f"store {verb}", 2, "Missing argument 'FILE|URL'") for verb in ("list", "check", "recover", "export")),
    Row("store list nowhere.sqlite", 2, "there is no store nowhere.sqlite", LAB),
    Row("store list nowhere.sqlite --json", 2, "{", LAB),
    Row("store list a.csv", 2, "a.csv is not a SQLite file", LAB),
    Row("store list kept.sqlite", 0, "kept.sqlite: 0 trials", LAB),
    Row("store check folder --json", 2, "{", LAB),
    Row("store check a.csv", 2, "a.csv holds nothing of a store", LAB),
    Row("store check kept.sqlite", 0, "kept.sqlite is whole: 0 trials", LAB),
    Row("store recover a.csv --json", 2, "{", LAB),
    Row("store recover kept.sqlite --out a.csv", 2, "--out: a.csv exists already", LAB),
    Row("store recover kept.sqlite", 0, "kept-recovered.sqlite: 0 trials", LAB),
    Row("store export kept.sqlite --out a.docx", 2, "a.docx must end in .jsonl or .csv", LAB),
    Row("store export kept.sqlite --out kept.csv", 0, "", LAB),
    # --- advise
    Row("advise", 2, "Missing argument 'LOG"),
    Row("advise a.csv --updates 100", 0, "losses: 'loss'", FIT),
    Row("advise a.csv --updates 100 --json", 0, "{", FIT),
    Row("advise nowhere.csv", 2, "nowhere.csv"),
    Row("advise folder --json", 2, "{"),
    Row("advise a.csv --out a.docx", 2, "--out: "),
    Row("advise a.csv b.csv --budget 40", 0, "which run tells most", FIT),
    Row("advise a.csv b.csv --target 3", 2, "--target goes with one log"),
    Row("advise a.csv --meant 'StepLR(10)'", 2, "laju convert --from torch"),
    *(Row(f"advise '{name}.csv'", 2, "") for name in STRANGE),
    # --- watch
    Row("watch", 2, "Missing argument 'LOG|FOLDER'"),
    Row("watch a.csv --updates 96", 0, "update 95 of 96: "),
    Row("watch a.csv --updates 96 --json", 0, "{"),
    Row("watch - --json", 2, "{"),
    Row("watch -", 2, "standard input cannot be followed"),
    Row("watch a.csv --schedule 'StepLR(10)'", 2, "laju convert --from torch"),
    Row("watch a.csv --prior nowhere.json", 2, "nowhere.json"),
    Row("watch a.csv b.csv", 2, EXTRA),
    Row("watch nowhere/a.csv", 2, "there is no folder"),
    # --- verbs of other tools
    Row("predict a.csv", 2, "did you mean 'forecast'?"),
    Row("chek a.csv", 2, "did you mean 'check'?"),
    # --- forecast
    Row("forecast", 2, "Usage: laju forecast"),
    Row("forecast nothing", 2, "No such command 'nothing'"),
    Row("forecast fit", 2, "Missing argument 'CURVE...'"),
    Row("forecast fit a.csv b.csv", 0, "law: average", FIT),
    Row("forecast fit a.csv b.csv --json", 0, "{", FIT),
    Row("forecast fit nowhere.csv", 2, "there is no file 'nowhere.csv'"),
    Row("forecast fit folder --json", 2, "{"),
    Row("forecast fit --store file", 2, "file", LAB),
    Row("forecast predict a.csv b.csv", 2, "Missing option '--schedule'"),
    Row("forecast predict a.csv b.csv --schedule 'cosine(0.1, total=200)' --updates 200", 0, "law: average", FIT),
    Row("forecast predict a.csv b.csv --schedule 'StepLR(10)' --updates 200", 2, "laju convert --from torch"),
    Row("forecast predict a.csv b.csv --schedule 'cosine(0.1, total=200)'", 0, "after 200 updates", FIT),
    Row("forecast predict a.csv b.csv --schedule 0.1", 2, "--updates N"),
    Row("forecast best a.csv b.csv", 2, "--updates N"),
    Row("forecast best a.csv b.csv --updates 200 --json", 0, "{", FIT),
    Row("forecast extend a.csv b.csv --schedule 'cosine(0.1, total=99)' --updates 200", 2, "Missing option '--at'"),
    Row("forecast extend a.csv b.csv --schedule 'cosine(0.1, total=99)' --at 50 --updates 200", 0, "law: average", FIT),
    Row("forecast check a.csv b.csv --fit c", 2, "'c' is no curve"),
    Row("forecast check a.csv b.csv --fit a", 0, "law: average", FIT),
    Row("forecast learn a.csv b.csv", 2, "Missing option '--out'"),
    Row("forecast learn a.csv b.csv --out mine.json", 0, "wrote mine.json"),
    Row("forecast learn a.csv b.csv --out nowhere/mine.json", 2, "nowhere"),
    *(Row(f"forecast fit '{name}.csv' b.csv", 2, "") for name in STRANGE),
]
