"""laju as a person installs it: with what it requires and nothing else, from a folder, an archive, an index, or editable."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

import laju

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="the commands are those of a POSIX shell"),
]

ROOT = Path(__file__).parent.parent
LOG = "step,lr,loss\n" + "".join(f"{t},{0.1 - t / 1000},{3 + 1 / t}\n" for t in range(10, 100, 5))
S = "cosine(0.3, total=20)"


class Environment:
    """A virtual environment in which laju is installed in one way or another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder / "venv", with_pip=True)
        self.bin = folder / "venv" / "bin"
        self.source = folder / "a clone"
        shutil.copytree(ROOT / "src", self.source / "src", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml"):
            shutil.copy(ROOT / name, self.source / name)

    def run(self, command: str, within: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command as in a shell where the environment is active."""
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        active = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(self.folder / "venv"),
            "COLUMNS": "200",
        }
        return subprocess.run(
            command,
            shell=True,
            cwd=within or self.folder,
            env=kept | active,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def pip(self, arguments: str) -> None:
        done = self.run(f"pip --disable-pip-version-check --quiet {arguments}")
        assert done.returncode == 0, done.stderr

    def install(self, way: str) -> None:
        """Leaves laju, what it requires, and nothing else."""
        self.pip("uninstall --yes laju matplotlib plotext")
        dist = self.folder / "dist"
        if way in ("archive", "index") and not dist.exists():
            self.pip("install build")
            done = self.run(f"python -m build --outdir {shlex.quote(str(dist))}", self.source)
            assert done.returncode == 0, done.stderr
            self.pip("uninstall --yes build pyproject_hooks")
        self.pip(
            {
                "folder": "install './a clone'",
                "editable": "install --editable './a clone'",
                "archive": "install dist/*.tar.gz",
                "index": "install --find-links dist laju",
            }[way]
        )


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("install"))


@pytest.fixture(scope="module")
def bare(environment: Environment) -> Environment:
    environment.install("folder")
    return environment


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text(LOG)
    (tmp_path / "b.csv").write_text(LOG)
    (tmp_path / "c.yaml").write_text("learning_rate: 0.1\nlr_scheduler_type: linear\nmax_steps: 100\n")
    (tmp_path / "store.sqlite").touch()
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "events.out.tfevents.1.host").touch()
    return tmp_path


def needs(package: str, extra: str | None) -> str:
    """The whole of a message, but for who needs it."""
    what = f"{{clone}}[{extra}]" if extra else package
    return f"needs the package {package}, which is not installed: pip install {shlex.quote(what)}"


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ("--version", 0, "laju, version"),
        ("show", 2, "Missing argument 'SCHEDULE'"),
        (f"show '{S}'", 0, S.partition("(")[0]),
        ("plot", 2, "Missing argument 'SCHEDULE...'"),
        (f"plot '{S}'", 3, needs("plotext", "plot")),
        ("plot chapter --epochs 30", 3, needs("plotext", "plot")),
        (f"plot '{S}' --out a.png", 3, needs("matplotlib", "plot")),
        ("check", 2, "Missing argument 'SCHEDULE'"),
        (f"check '{S}'", 0, "no findings"),
        ("diff", 2, "Missing argument 'A'"),
        (f"diff '{S}' 'linear(0.3, 0, total=20)'", 1, "a: "),
        (f"diff '{S}' 'linear(0.3, 0, total=20)' --out a.png", 3, needs("matplotlib", "plot")),
        ("convert", 2, "Missing argument 'SCHEDULE'"),
        ("convert --from torch 'OneCycleLR(max_lr=0.1, total_steps=9)' --to keras", 0, "from "),
        ("convert --from torch 'OneCycleLR(max_lr=1, total_steps=9)' --to keras --out new", 3, needs("matplotlib", "convert")),
        ("convert --from config c.yaml --to torch", 3, needs("yaml", "convert")),
        ("recognise", 2, "Missing argument 'LOG"),
        ("diagnose", 2, "Missing argument 'LOG"),
        ("diagnose a.csv --meant 'linear(0.2, 0, total=100)'", 1, "at update 10 the rate is 0.09"),
        ("recognise a.csv --column lr", 0, "linear("),
        ("compare", 2, "Missing argument 'SCHEDULE...'"),
        ("compare chapter", 3, needs("sqlalchemy", "lab")),
        ("compare 'constant(0.1)' --framework jax", 3, needs("sqlalchemy", "lab")),
        ("compare 'constant(0.1)' --program 'python train.py' --samples 10", 3, needs("sqlalchemy", "lab")),
        ("compare 'constant(0.1)' --on ray", 3, needs("sqlalchemy", "lab")),
        ("chapter", 3, needs("sqlalchemy", "lab")),
        ("chapter --epochs 1", 3, needs("sqlalchemy", "lab")),
        ("find", 3, needs("rich", "lab")),
        ("find --task digits", 3, needs("rich", "lab")),
        ("study", 0, "fixed-rates"),
        ("study nothing", 2, "'nothing' is not a study"),
        ("study fixed-rates", 3, needs("rich", "lab")),
        ("tune", 2, "Missing argument 'POLICY'"),
        ("tune cosine --space 'peak=1e-3..1 log'", 3, needs("rich", "tune")),
        ("advise", 2, "Missing argument 'LOG"),
        ("forecast", 2, "Usage: laju forecast"),
        ("forecast fit", 2, "Missing argument 'CURVE...'"),
        ("forecast fit a.csv b.csv", 3, needs("scipy", "forecast")),
        ("forecast fit events b.csv", 3, needs("tensorboard", "logs")),
        ("forecast fit --store store.sqlite", 3, needs("sqlalchemy", "lab")),
        ("forecast predict a.csv b.csv --schedule 'cosine(0.1, total=200)' --updates 200", 3, needs("scipy", "forecast")),
        ("forecast best a.csv b.csv --updates 200", 3, needs("scipy", "forecast")),
        ("forecast extend a.csv b.csv --schedule 'cosine(0.1, total=99)' --at 50 --updates 200", 3, needs("scipy", "forecast")),
        ("forecast check a.csv b.csv --fit a", 3, needs("scipy", "forecast")),
    ],
)  # fmt: skip
def test_every_verb_works_without_the_optional_packages_or_says_what_it_needs(
    bare: Environment, files: Path, arguments: str, code: int, line: str
) -> None:
    before = sorted(files.rglob("*"))
    done = bare.run(f"laju {arguments}", files)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    if code == 3:
        assert re.fullmatch(r"(note: .*\n)*Error: .+\n", done.stderr), done.stderr
        assert done.stderr.rstrip().endswith(line.format(clone=bare.source))
        assert sorted(files.rglob("*")) == before
    else:
        assert line in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("code", "package", "extra"),
    [
        ("import laju.lab", "sqlalchemy", "lab"),
        ("import laju.lab.tasks", "sqlalchemy", "lab"),
        ("import laju.sampling", "torch", "sampling"),
        ("import laju.frameworks.torch", "torch", "torch"),
        ("import laju.frameworks.keras", "keras", "keras"),
        ("import laju.frameworks.jax", "jax", "jax"),
        ("import laju.frameworks.mxnet", "mxnet", "mxnet"),
        ("import laju.frameworks.paddle", "paddle", "paddle"),
        ("import laju.testing", "pytest", None),
        ("import laju.studies as s; s.run('fixed-rates')", "sqlalchemy", "lab"),
        (
            "import laju.forecast as f; f.fit([f.Curve([9, 18, 27], [3, 2.5, 2.4], [0.1] * 27)] * 3)",
            "scipy",
            "forecast",
        ),
        ("import laju; laju.view.plot.plot(laju.cosine(0.3, total=9))", "matplotlib", "plot"),
    ],
)
def test_what_is_imported_without_its_package_says_what_to_install(
    bare: Environment, code: str, package: str, extra: str | None
) -> None:
    done = bare.run(f"python -c {shlex.quote(f'import laju.view.plot; {code}')}")
    assert done.returncode == 1
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith("laju.core.extras.MissingPackage: ")
    assert last.endswith(needs(package, extra).format(clone=bare.source))


def test_what_needs_numpy_alone_works_without_anything_else(bare: Environment) -> None:
    code = "import laju; from laju.forecast import bound; assert bound(laju.linear(0.1, 0, total=100), 100) > 0"
    assert bare.run(f"python -c {shlex.quote(code)}").returncode == 0


EVERY_MODULE = """
import importlib, pkgutil, laju
from laju.core.extras import MissingPackage

names, missing = [], {}
for module in pkgutil.walk_packages(laju.__path__, "laju.", onerror=lambda name: None):
    names.append(module.name)
    try:
        importlib.import_module(module.name)
    except MissingPackage as error:
        missing[module.name] = str(error)
assert len(names) > 100 and "laju.studies.exponents" in missing, names
assert all("which is not installed: pip install " in text for text in missing.values()), missing
"""


def test_each_module_can_be_imported_or_says_what_to_install(bare: Environment) -> None:
    (bare.folder / "every_module.py").write_text(EVERY_MODULE)
    done = bare.run("python every_module.py")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("way", ["folder", "editable", "archive", "index"])
def test_the_command_that_is_named_is_a_cure(environment: Environment, way: str) -> None:
    environment.install(way)
    command = f"laju plot '{S}'"
    done = environment.run(command)
    assert done.returncode == 3, done.stderr
    cure = done.stderr.strip().rpartition(": ")[2]
    assert (
        cure
        == {
            "folder": f"pip install '{environment.source}[plot]'",
            "editable": f"pip install --editable '{environment.source}[plot]'",
            "archive": f"pip install '{environment.folder}/dist/laju-{laju.__version__}.tar.gz[plot]'",
            "index": "pip install 'matplotlib>=3.8' 'plotext>=6'",
        }[way]
    )
    assert environment.run(cure).returncode == 0
    done = environment.run(command)
    assert (done.returncode, done.stderr) == (0, "")
    assert environment.run("pip show --verbose laju").stdout.count("Editable project location") == (way == "editable")
