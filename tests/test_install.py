"""laju as a person installs it: with what it requires and nothing else, from a folder, an archive, an index, or editable."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import venv
import zipfile
from pathlib import Path

import jsonschema
import pytest

import laju
from tests.cli.rows import LAB, ROWS, Row, write_files
from tests.cli.test_table import SCHEMA, check

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="the commands are those of a POSIX shell"),
]

ROOT = Path(__file__).parent.parent
S = "cosine(0.3, total=20)"


class Environment:
    """A virtual environment in which laju is installed in one way or another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder / "venv", with_pip=True)
        self.bin = folder / "venv" / "bin"
        self.wheel = folder / "dist" / f"laju-{laju.__version__}-py3-none-any.whl"
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
        if way in ("wheel", "archive", "index") and not dist.exists():
            self.pip("install build")
            done = self.run(f"python -m build --outdir {shlex.quote(str(dist))}", self.source)
            assert done.returncode == 0, done.stderr
            self.pip("uninstall --yes build pyproject_hooks")
        self.pip(
            {
                "folder": "install './a clone'",
                "editable": "install --editable './a clone'",
                "wheel": "install dist/*.whl",
                "archive": "install dist/*.tar.gz",
                "index": "install --find-links dist laju",
            }[way]
        )


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("install"))


@pytest.fixture(scope="module")
def bare(environment: Environment) -> Environment:
    environment.install("wheel")
    return environment


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_files(tmp_path)
    (tmp_path / "store.sqlite").touch()
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "events.out.tfevents.1.host").touch()
    return tmp_path


def says_what_it_needs(message: str, bare: Environment, package: str, extra: str | None) -> bool:
    """Whether a message ends with what is missing and the command that installs it, the extra's first package or another."""
    what = f"{bare.wheel}[{extra}]" if extra else package
    command = re.escape(f"pip install {shlex.quote(what)}")
    missing = r"[\w-]+" if extra else package
    return bool(re.search(rf"needs the package {missing}, which is not installed: {command}$", message.rstrip()))


BARE = [
    *ROWS,
    Row("--version", 0, "laju, version"),
    Row("compare chapter", 3, "", LAB),
    Row("compare 'constant(0.1)' --framework jax", 3, "", LAB),
    Row("compare 'constant(0.1)' --program 'python train.py' --samples 10", 3, "", LAB),
    Row("compare 'constant(0.1)' --on ray", 3, "", LAB),
    Row("chapter", 3, "", LAB),
    Row("find", 3, "", LAB),
    Row("study fixed-rates", 3, "", LAB),
    Row("forecast fit events b.csv", 3, "", ("tensorboard", "logs")),
    Row("forecast fit --store store.sqlite", 3, "", LAB),
]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.arguments[:80]) for row in BARE])
def test_every_verb_works_without_the_optional_packages_or_says_what_it_needs(
    bare: Environment, files: Path, row: Row
) -> None:
    before = sorted(files.rglob("*"))
    done = bare.run(f"laju {row.arguments}", files)
    if row.bare is None:
        assert done.returncode == row.code, done.stderr
        check(row, done.stdout, done.stderr)
        return
    assert done.returncode == 3, done.stderr
    assert re.fullmatch(r"(note: .*\n)*Error: .+\n", done.stderr), done.stderr
    assert says_what_it_needs(done.stderr, bare, *row.bare), done.stderr
    assert sorted(files.rglob("*")) == before
    if "--json" in row.arguments:
        said = json.loads(done.stdout)
        jsonschema.validate(said, SCHEMA)
        assert said["exit"] == 3


def test_the_wheel_holds_every_file_of_the_package(bare: Environment) -> None:
    with zipfile.ZipFile(bare.wheel) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    source = bare.source / "src"
    assert held == {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    assert {"laju/lab/report/report.html.j2", "laju/text/schema.json", "laju/forecast/priors/algoperf.json"} <= held
    where = bare.run("python -c 'import laju; print(laju.__file__)'").stdout
    assert "site-packages" in where


@pytest.mark.parametrize(
    ("code", "package", "extra"),
    [
        ("import laju.lab", "sqlalchemy", "lab"),
        ("import laju.lab.trials.tasks", "sqlalchemy", "lab"),
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
    assert says_what_it_needs(last, bare, package, extra), last


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


@pytest.mark.parametrize("way", ["folder", "editable", "wheel", "archive", "index"])
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
            "wheel": f"pip install '{environment.wheel}[plot]'",
            "archive": f"pip install '{environment.folder}/dist/laju-{laju.__version__}.tar.gz[plot]'",
            "index": "pip install 'matplotlib>=3.8' 'plotext>=6'",
        }[way]
    )
    assert environment.run(cure).returncode == 0
    done = environment.run(command)
    assert (done.returncode, done.stderr) == (0, "")
    assert environment.run("pip show --verbose laju").stdout.count("Editable project location") == (way == "editable")
