"""What a shell is told after Tab."""

import pytest
from click.shell_completion import BashComplete

from laju.cli import cli


def completed(*arguments: str) -> list[str]:
    *before, incomplete = arguments
    shell = BashComplete(cli, {}, "laju", "_LAJU_COMPLETE")
    return [item.value for item in shell.get_completions(list(before), incomplete)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("sh",), ["show"]),
        (("show", "cosine_r"), ["cosine_restarts("]),
        (("show", "chapter:co"), ["chapter:constant", "chapter:cosine", "chapter:cosine-with-warmup"]),
        (("plot", "0.1", "tri"), ["triangular(", "triangular2("]),
        (("diff", "wsd_"), ["wsd_s("]),
        (("convert", "--from", "ti"), ["timm"]),
        (("convert", "--from", "conf"), ["config"]),
        (("convert", "--to", "op"), ["optax"]),
        (("compare", "0.1", "--task", "d"), ["digits"]),
        (("chapter", "--tab", "t"), ["tensorflow"]),
        (("study", "over"), ["overfitting"]),
        (("tune", "line"), ["linear", "linear_to_zero"]),
        (("check", "--ignore", "LAJU018"), ["LAJU018"]),
        (("forecast", "pre"), ["predict"]),
        (("diff", "log.csv"), ["log.csv"]),  # which the shell completes as a file
    ],
)
def test_names_are_completed(arguments: tuple[str, ...], expected: list[str]) -> None:
    assert completed(*arguments) == expected


def test_a_package_that_is_missing_completes_nothing_and_says_nothing(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setitem(__import__("sys").modules, "laju.lab.trials.tasks", None)
    assert completed("compare", "--task", "d") == []
    assert capfd.readouterr() == ("", "")
