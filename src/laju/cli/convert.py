"""laju convert: read a schedule of another system, write code for a third system, and report what the migration changes."""

from __future__ import annotations

from pathlib import Path

import click

from laju.cli import completion
from laju.cli.arguments import command_line, functions_allowed, schedule_argument
from laju.cli.run_options import as_text, sketched, usage_errors
from laju.core.checks import shown

_COUNT = click.IntRange(min=1)


def _facts(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, int | float | str]:
    found: dict[str, int | float | str] = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        if not equals or not name.strip() or not value.strip():
            raise click.BadParameter(f"{shown(text)} is not NAME=VALUE, such as 'len(train_loader)=391'")
        found[name.strip()] = _number(value.strip())
    return found


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


class _Source(click.types.StringParamType):
    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        return (
            "The system that SCHEDULE is written for: laju, torch, optax, transformers …; or config for a file of settings. "
            "(The schedule of a log: laju recognise LOG.)"
        )


@click.command("convert")
@schedule_argument()
@click.option(
    "--from",
    "source",
    type=_Source(),
    required=True,
    metavar="SYSTEM",
    shell_complete=completion.sources,
    help="System of SCHEDULE: timm, torch …, laju; for a configuration file, config or its system, such as nemo.",
)
@click.option(
    "--to",
    "target",
    required=True,
    metavar="SYSTEM",
    shell_complete=completion.targets,
    help="Target system: torch, optax …, or laju; yaml:SYSTEM for a configuration, yaml for the source's own system.",
)
@click.option(
    "--lr", type=float, help="The optimizer's learning rate, for a source whose schedulers change the optimizer's rate."
)
@click.option("--updates", type=_COUNT, help="Updates of the run; by default until the schedule ends.")
@click.option("--epochs", type=_COUNT, help="Epochs of the run, instead of --updates.")
@click.option(
    "--updates-per-epoch",
    type=_COUNT,
    help="Updates per epoch, from a source that counts epochs to a target that counts updates.",
)
@click.option(
    "--fact",
    "facts",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_facts,
    help="A value that depends on the run, such as 'len(train_loader)=391' in pasted code, or warmup=100 for a configuration.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the code, the picture, and the report as Markdown and HTML.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    schedule: str,
    source: str,
    target: str,
    lr: float | None,
    updates: int | None,
    epochs: int | None,
    updates_per_epoch: int | None,
    facts: dict[str, int | float | str],
    out: Path | None,
    as_json: bool,
) -> None:
    """Convert SCHEDULE, a call of a scheduler in one system, to code for a second system that gives the same values.

    The code uses the target system's own scheduler if its values are the same during and after the run, or else laju's adapter.
    The report measures the difference to the target system's nearest scheduler. Lengths in epochs become multiples of
    UPDATES_PER_EPOCH if the target counts updates.

    \b
    laju convert --from timm 'CosineLRScheduler(t_initial=300, warmup_t=5)' --lr 0.1 --to optax --updates-per-epoch 391
    laju convert --from torch 'OneCycleLR(max_lr=0.1, total_steps=100)' --to keras --out converted
    laju convert --from laju 'cosine(0.3, total=100, warmup=5)' --to torch
    laju convert --from config ds_config.json --lr 1e-4 --to transformers
    laju convert --from torch 'CosineAnnealingLR(T_max=1000)' --lr 3e-4 --to yaml:axolotl
    """
    with usage_errors():
        from laju.convert.report import facts as said
        from laju.dialects import convert
        from laju.text.spec import parse

        trusted = source == "laju" and functions_allowed()
        found = convert(
            parse(schedule, functions=True) if trusted else schedule,
            source,
            target,
            lr=lr,
            updates=updates,
            epochs=epochs,
            updates_per_epoch=updates_per_epoch,
            facts=facts,
        )
        written = [] if out is None else found.save(out, command_line())
        if as_json:
            click.echo(as_text({**found.to_json(), "report": found.report}))
        else:
            for name, value in said(found).items():
                click.echo(f"{name:8}{value}")
            click.echo(f"\n{found.code}")
            click.echo(found.report)
            if not found.own:
                click.echo(f"\n{sketched(found.sketch, found.updates)}")
        for path in written:
            click.echo(f"wrote {path}", err=as_json)
