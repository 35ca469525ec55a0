"""laju check: levels, what a project's pyproject.toml says, and corrections that can be typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import laju
from laju.cli import cli
from laju.inspect.lint import check

SHORT = ["check", "cosine(0.3, total=1000, warmup=50)", "--updates", "900"]  # LAJU001 and LAJU005


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, [*SHORT, *arguments])
    return done.exit_code, done.output


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    return tmp_path / "pyproject.toml"


def test_a_note_alone_is_no_failure(project: Path) -> None:
    done = CliRunner().invoke(cli, ["check", "cosine(0.3, total=1000, warmup=50)"])
    assert done.exit_code == 0
    assert done.output.startswith("LAJU001 note at update 0")
    assert [f.level for f in check(laju.cosine(0.3, total=1000, warmup=50), 900)] == ["note", "warning"]


def test_select_ignore_and_exit_zero(project: Path) -> None:
    code, output = invoke("--select", "laju005")
    assert (code, "LAJU001" in output, "LAJU005 warning" in output) == (1, False, True)
    assert invoke("--ignore", "LAJU001,LAJU005") == (0, "no findings in a run of 900 updates\n")
    assert invoke("--exit-zero")[0] == 0
    code, output = invoke("--select", "LAJU05")
    assert code == 2
    assert "did you mean 'LAJU0" in output


def test_a_project_says_so_once(project: Path) -> None:
    project.write_text('[project]\nname = "x"\n')
    assert invoke()[0] == 1
    project.write_text('[tool.laju]\nignore = ["LAJU005"]\n')
    code, output = invoke()
    assert (code, "LAJU005" in output, "LAJU001" in output) == (0, False, True)
    project.write_text("[tool.laju]\nexit-zero = true\n")
    assert invoke()[0] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.laju]\nignores = []\n", "has no key 'ignores'; did you mean 'ignore'?"),
        ('[tool.laju]\nignore = "LAJU001"\n', "must be a list of codes"),
        ('[tool.laju]\nselect = ["LAJU99"]\n', "is not a code"),
        ("[tool.laju]\nexit-zero = 1\n", "must be true or false"),
        ("[tool\n", "cannot be read"),
        ('[tool]\nlaju = "x"\n', "must be a table"),
    ],
)
def test_a_table_that_says_something_else_is_a_usage_error(project: Path, text: str, said: str) -> None:
    project.write_text(text)
    code, output = invoke()
    assert code == 2
    assert said in output.replace("\n", " ")


def test_fix_prints_the_corrected_text_in_the_words_of_the_given_one(project: Path) -> None:
    done = CliRunner().invoke(cli, [*SHORT, "--fix"])
    assert done.exit_code == 0
    fixed = laju.parse(done.stdout.strip())
    assert str(fixed) == "cosine(0.3, total=900, warmup=45, first=True)"
    assert check(fixed, 900) == []
    found = json.loads(CliRunner().invoke(cli, [*SHORT, "--fix", "--json"]).stdout)
    assert (found["schedule"], found["fixed"]) == (SHORT[1], str(fixed))


def test_corrections_are_in_the_words_of_the_caller() -> None:
    for given, updates, wanted in [
        ("cosine(0.3, total=20)", 30, "cosine(0.3, total=30)"),
        ("cosine(0.3, 20).per('epoch')", 30, "cosine(0.3, 30).per('epoch')"),
        ("wsd(0.1, total=100, cooldown=20) * 2", 80, None),
        ("linear(0.1, 0, total='50%')", 80, None),
    ]:
        plan = laju.RunPlan(samples=1, batch_size=1, epochs=updates)
        for finding in check(laju.parse(given), plan):
            if finding.fix is not None:
                assert str(laju.parse(finding.fix)) == finding.fix
                assert wanted is None or finding.fix == wanted
