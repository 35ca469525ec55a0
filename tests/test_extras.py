"""What is missing is said with the command that installs it into this environment, from where laju came from."""

from __future__ import annotations

import ast
import json
import pickle
import shlex
import sys
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

import pytest

import laju
from laju.core import extras
from laju.core.extras import MissingPackage, explained, install_command, missing, needed_by

SOURCE = Path(laju.__file__).parent
REQUIRED = {"array_api_compat", "click", "numpy", "rich"}
IN_NO_EXTRA = {
    "IPython",  # is there where a notebook is
    "cmaes",  # of one sampler of Optuna
    "dask",  # comes with distributed
    "markdown_it",  # comes with Rich
    "markupsafe",  # comes with Jinja
    "mlflow",  # whose run a user made
    "pytest",  # of laju.testing
    "pytorch_lightning",  # the other name of lightning
    "timm",  # models that a user names
    "torchvision",
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes laju's own metadata look as an installer leaves it for this origin."""

    def install(direct_url: dict | None, installer: str = "pip") -> None:
        folder = tmp_path / "laju-0.1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(distribution("laju").read_text("METADATA") or "")
        (folder / "INSTALLER").write_text(f"{installer}\n")
        if direct_url is not None:
            (folder / "direct_url.json").write_text(json.dumps(direct_url))
        monkeypatch.setattr(extras, "_installed", lambda: PathDistribution(folder))

    return install


def arguments(command: str) -> list[str]:
    """What a command installs."""
    words = shlex.split(command)
    return words[words.index("install") + 1 :]


def test_every_package_that_laju_imports_is_in_an_extra() -> None:
    imported: dict[str, str] = {}
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            imported |= {name.partition(".")[0]: str(file) for name in names}
    others = {
        name: file
        for name, file in imported.items()
        if name not in sys.stdlib_module_names | REQUIRED | {"laju", "laju_start"}
    }
    assert {"torch", "yaml", "sklearn", "mxnet", "paddle"} <= set(others)
    users = {name: found for name, found in extras._extras(distribution("laju")).items() if name not in ("dev", "docs")}
    held = {requirement for found in users.values() for requirement in found}
    assert {name for name in others if extras._distribution(name) not in held} == IN_NO_EXTRA, others


@pytest.mark.parametrize(
    ("package", "extra", "expected"),
    [
        ("matplotlib", None, "plot"),
        ("scipy", None, "forecast"),
        ("yaml", None, "convert"),
        ("optuna", None, "tune"),
        ("sqlalchemy", None, "lab"),
        ("torch", None, "torch"),
        ("torch", "lab", "lab"),
        ("torch", "sampling", "sampling"),
        ("joblib", "tune", "tune"),
        ("jax", "lab", "jax"),  # which lab does not hold
        ("joblib", "compare", "lab"),  # no extra
        ("PIL", None, "large"),
        ("tensorflow", "tensorflow", "tensorflow"),
        ("arviz", None, "sampling"),
    ],
)
def test_the_extra_is_the_one_that_was_meant_or_the_smallest_with_the_package(
    installed, tmp_path: Path, package: str, extra: str | None, expected: str
) -> None:
    installed({"url": tmp_path.as_uri(), "dir_info": {}})
    assert arguments(install_command(package, extra)) == [f"{tmp_path}[{expected}]"]


def test_a_package_of_no_extra_is_installed_by_its_own_name(installed, tmp_path: Path) -> None:
    installed({"url": tmp_path.as_uri(), "dir_info": {}})
    assert arguments(install_command("hypothesis")) == ["hypothesis"]  # which developers alone have in an extra


@pytest.mark.parametrize(
    ("direct_url", "expected"),
    [
        ({"url": "{here}", "dir_info": {}}, ["{path}[plot]"]),
        ({"url": "{here}", "dir_info": {"editable": False}}, ["{path}[plot]"]),
        ({"url": "{here}", "dir_info": {"editable": True}}, ["--editable", "{path}[plot]"]),
        ({"url": "{here}/laju.tar.gz", "archive_info": {}}, ["{path}/laju.tar.gz[plot]"]),
        ({"url": "https://host/laju.zip", "archive_info": {}}, ["laju[plot] @ https://host/laju.zip"]),
        (
            {"url": "https://host/laju.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b"}},
            ["laju[plot] @ git+https://host/laju.git@0a1b"],
        ),
        (
            {
                "url": "{here}",
                "vcs_info": {"vcs": "git", "commit_id": "0a1b", "requested_revision": "main"},
                "subdirectory": "python",
            },
            ["laju[plot] @ git+{here}@main#subdirectory=python"],
        ),
        (None, ["matplotlib>=3.8", "plotext>=6"]),  # an index
        ({"url": "{here}/gone", "dir_info": {}}, ["matplotlib>=3.8", "plotext>=6"]),
    ],
)
def test_an_extra_is_installed_from_where_laju_was(installed, tmp_path: Path, direct_url, expected: list[str]) -> None:
    folder = tmp_path / "a clone (of mine)"
    folder.mkdir()
    (folder / "laju.tar.gz").touch()
    if direct_url is not None:
        direct_url = direct_url | {"url": direct_url["url"].format(here=folder.as_uri())}
    installed(direct_url)
    assert arguments(install_command("matplotlib")) == [
        text.format(here=folder.as_uri(), path=folder) for text in expected
    ]


def test_the_installer_is_that_of_this_environment(installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(None)
    monkeypatch.setenv("PATH", "")
    assert install_command("timm").startswith(shlex.join([sys.executable, "-m", "pip", "install"]))
    here = tmp_path / "bin"
    here.mkdir()
    (here / "pip").touch(0o755)
    monkeypatch.setenv("PATH", str(here))
    assert install_command("timm").startswith(shlex.join([sys.executable, "-m", "pip", "install"]))  # another's pip
    monkeypatch.setattr(sys, "executable", str(here / "python"))
    assert install_command("timm") == "pip install timm"
    (tmp_path / "laju-0.1.0.dist-info" / "INSTALLER").write_text("uv")
    assert install_command("timm") == shlex.join(["uv", "pip", "install", "--python", str(here / "python"), "timm"])


def test_without_metadata_the_package_is_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_installed", lambda: None)
    assert arguments(install_command("sklearn", "lab")) == ["scikit-learn"]


def test_of_two_contexts_the_outer_one_speaks_where_its_extra_holds_the_package(installed) -> None:
    installed(None)
    absent = ModuleNotFoundError("No module named 'torch'", name="torch")

    def nested(what: str, extra: str | None) -> MissingPackage:
        with pytest.raises(MissingPackage) as caught, needed_by(what, extra), needed_by("an adapter", "torch"):
            raise absent
        return caught.value

    assert str(nested("the lab", "lab")).startswith("the lab needs the package torch, which is not installed: ")
    assert str(nested("a forecast", "forecast")).startswith("an adapter needs the package torch, ")
    assert nested("the lab", "lab").name == "torch"
    assert nested("the lab", "lab").__cause__ is not None


@pytest.mark.parametrize("name", [None, "laju", "laju.nothing", "torch.nothing"])
def test_an_error_that_is_of_no_missing_package_stays_as_it_is(name: str | None) -> None:
    error = ModuleNotFoundError("as it was", name=name)
    assert explained(error, "anything", "lab") is error


def test_the_error_reaches_another_process_whole() -> None:
    error = missing("drawing", "nosuch")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.name) == (MissingPackage, str(error), "nosuch")
