"""laju average: merge checkpoints into a mean that replaces a cooldown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from laju.cli import completion
from laju.cli.arguments import plain_errors
from laju.cli.run_options import as_text
from laju.view.table import table

if TYPE_CHECKING:
    from laju.averaging.merging import Merge


def _counts(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> list[int] | None:
    found = []
    for text in (part for each in given for part in each.split(",")):
        if not re.fullmatch(r"\d+(_\d+)*", text.strip()):
            raise click.BadParameter(f"{text.strip()!r} is not a number of updates, such as 8000 or 8000,9000,10000")
        found.append(int(text))
    return found or None


@click.command("average")
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT...", type=click.Path(path_type=Path))
@click.option(
    "--like",
    "average",
    required=True,
    metavar="SCHEDULE",
    shell_complete=completion.schedules,
    help="Schedule of the cooldown to imitate, ending at the last checkpoint; or ema:DECAY, tail:LENGTH, latest:COUNT.",
)
@click.option(
    "--trunk",
    metavar="SCHEDULE",
    shell_complete=completion.schedules,
    help="Schedule of the run that wrote the checkpoints.  [default: constant at the cooldown's first rate]",
)
@click.option(
    "--at",
    multiple=True,
    metavar="UPDATES",
    callback=_counts,
    help="Completed updates of each checkpoint, such as 8000,9000; by default from its metadata, else its name.",
)
@click.option(
    "--within",
    type=click.FloatRange(min=0),
    default=0.25,
    show_default=True,
    help="Largest difference between the imitated learning rates and the cooldown's, relative to the trunk's.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Checkpoint to write; by default nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    checkpoints: tuple[Path, ...],
    average: str,
    trunk: str | None,
    at: list[int] | None,
    within: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Merge the weights of CHECKPOINTs of a run into their mean, which imitates a cooldown without training the cooldown.

    A CHECKPOINT is a safetensors file, a torch file of tensors, the index of shards, or a folder with any of these. Pickles that
    need code are refused. Tensors are merged in float32 and keep their dtype; the optimizer's state is not merged.

    \b
    laju average run/checkpoint-8000 run/checkpoint-9000 run/checkpoint-10000 --like 'linear(1, 0, total=2000)' --out merged
    laju average step*.safetensors --like 'wsd(1, total=2000, cooldown=2000, shape="1-sqrt")' --out merged.safetensors
    laju average a.pt b.pt c.pt --at 8000,9000,10000 --like latest:3 --out merged.pt
    """
    with plain_errors():
        from laju.averaging import parse
        from laju.text.spec import parse as parse_schedule

        rule, rate = parse(average), None if trunk is None else parse_schedule(trunk)
        from laju.averaging.merging import merge

        result = merge(checkpoints, rule, out, at=at, trunk=rate, within=within)
        if as_json:
            click.echo(as_text(result.to_json()))
            return
        rows = [(str(part.path), f"{part.update:,}", part.source, f"{part.share:.4f}") for part in result.parts]
        click.echo(table(("checkpoint", "update", "from", "share"), rows, text=(0, 2)))
        click.echo()
        for sentence in _sentences(result):
            click.echo(sentence)


def _sentences(result: Merge) -> Iterator[str]:
    if result.distance is not None:
        yield f"stands for {result.average}, its rates off by up to {result.distance:.1%} of the trunk's"
    if any(part.share < 0 for part in result.parts):
        yield "note: shares below 0, since the rate rises: the mean lies outside of the checkpoints"
    tensors, numbers = "tensor" if result.tensors == 1 else "tensors", "number" if result.numbers == 1 else "numbers"
    yield f"merged in float32: {result.tensors:,} {tensors}, {result.numbers:,} {numbers}"
    if result.kept:
        yield f"taken from the last checkpoint, since they have no mean: {_some(result.kept)}"
    if result.statistics:
        yield (
            f"note: batch statistics are means, too ({_some(result.statistics)}), which are no statistics of the merged weights: "
            "recompute them by torch.optim.swa_utils.update_bn(loader, model)"
        )
    if result.unmerged:
        yield f"not merged, and left out: {_some(result.unmerged)}"
    yield f"wrote {result.out}" if result.out is not None else "nothing is written: --out names the checkpoint to write"


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
