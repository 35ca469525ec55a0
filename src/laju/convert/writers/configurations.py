"""Configuration blocks that may make a system follow a schedule, in the system's own file format.

A suggested block may be wrong: `laju.dialects.convert` reads each block with `laju.dialects.configs` and keeps a block whose
schedule has the same values. Names and units of a block are the system's.
"""

from __future__ import annotations

import ast
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from laju.convert.writers import plain, torch, transformers, whole
from laju.core.extras import needed_by
from laju.core.outline import Geometric, Transition
from laju.inspect.outline import Outline, Part

Block = dict[str, Any]

TITLES = {
    "axolotl": "axolotl", "transformers": "Transformers", "deepspeed": "DeepSpeed", "torchtitan": "torchtitan",
    "torchtune": "torchtune", "mmengine": "MMEngine", "composer": "Composer", "ultralytics": "Ultralytics", "nanogpt": "nanoGPT",
    "llamafactory": "LLaMA-Factory", "diffusers": "diffusers", "kohya": "kohya's scripts", "megatron": "Megatron-LM",
    "nemo": "NeMo", "nanotron": "nanotron", "fairseq": "fairseq", "detectron2": "Detectron2",
}  # fmt: skip
"""Systems that a block is written for, as their authors write them."""
FORMATS = {"deepspeed": "json", "torchtitan": "toml", "kohya": "toml", "mmengine": "py", "nanogpt": "py"}
"""File formats by system; all other systems read YAML."""
NOTES = {
    "deepspeed": 'optimizer.type "AdamW" stands for the optimizer of the run',
    "torchtune": "max_steps_per_epoch cuts an epoch short: the data must have as many updates",
    "ultralytics": 'optimizer "SGD" stands for the optimizer of the run; with "auto" the trainer chooses the rate',
}


def blocks(
    system: str, outline: Outline, *, in_epochs: bool, per_epoch: int | None, source: str | None = None
) -> Iterator[Block]:
    """Yield blocks that may make the system follow the outline's schedule, most likely first.

    Args:
        system: a key of `TITLES`.
        outline: outline of the schedule over the run.
        in_epochs: whether the schedule counts epochs, which only MMEngine's blocks support.
        per_epoch: number of updates per epoch; None if not known.
        source: the call from which the schedule was read, if the source is the same system.
    """
    if system == "mmengine" and source is not None and source.startswith("param_scheduler("):
        call = ast.parse(source, mode="eval").body
        assert isinstance(call, ast.Call)
        lr, entries = (ast.literal_eval(argument) for argument in call.args[:2])
        yield _mmengine_block(lr, entries, in_epochs, outline.updates)
    if outline.peak > 0:
        suggest: Callable[[Outline, bool, int | None], Iterator[Block]] = globals()[f"_{system}"]
        yield from suggest(outline, in_epochs, per_epoch)


def text(system: str, block: Block) -> str:
    """Return the block as text in the format of the system's file."""
    kind = FORMATS.get(system, "yaml")
    if kind == "json":
        return json.dumps(block, indent=2) + "\n"
    if kind == "toml":
        sections = (
            "".join([f"[{name}]\n", *(f"{key} = {json.dumps(value)}\n" for key, value in section.items())])
            for name, section in block.items()
        )
        return "\n".join(sections)
    if kind == "py":
        return "".join(f"{name} = {_python(value)}\n" for name, value in block.items())
    with needed_by("configurations in YAML", "convert"):
        import yaml
    written: str = yaml.safe_dump(block, sort_keys=False)
    return written


def _python(value: Any) -> str:
    if isinstance(value, dict):
        return f"dict({', '.join(f'{key}={_python(part)}' for key, part in value.items())})"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "".join(["[\n", *(f"    {_python(part)},\n" for part in value), "]"])
    return repr(value)


# --- systems that take the schedulers of Transformers ------------------------------------------------------------------


def _transformers(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    from laju.dialects.transformers import NAMES

    names = {function: name for name, function in NAMES.items()}
    # Within a run the plain cosine has the values of a single cycle with a hard restart behind the run.
    for suggestion in sorted(transformers.suggestions(outline), key=lambda found: "hard_restarts" in found.call):
        call = ast.parse(suggestion.call, mode="eval").body
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Name)
        named = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
        warmup, total = named.pop("num_warmup_steps", 0), named.pop("num_training_steps", outline.updates)
        kwargs = {"lr_scheduler_kwargs": named} if named else {}
        yield {
            "learning_rate": suggestion.lr, "lr_scheduler_type": names[call.func.id], **kwargs, "warmup_steps": warmup,
            "max_steps": total,
        }  # fmt: skip

    match outline.rest[0].form:
        case Transition(high, 0, length, "cosine") if length < outline.updates:  # cycles of no whole number of updates
            up = _up(outline)
            cycles = {"num_cycles": round((outline.updates - up) / length)}
            yield {
                "learning_rate": high, "lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": cycles,
                "warmup_steps": up, "max_steps": outline.updates,
            }  # fmt: skip


def _axolotl(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    for block in _transformers(outline, in_epochs, per_epoch):
        name, kwargs = block.pop("lr_scheduler_type"), block.pop("lr_scheduler_kwargs", {})
        named: Block = {"learning_rate": block.pop("learning_rate")}
        if name == "cosine_with_min_lr" and set(kwargs) == {"min_lr"}:
            share = plain(kwargs["min_lr"] / named["learning_rate"])
            yield {**named, "lr_scheduler": "cosine", "cosine_min_lr_ratio": share, **block}
        yield {**named, "lr_scheduler": name, **({"lr_scheduler_kwargs": kwargs} if kwargs else {}), **block}


def _torchtune(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    name = "torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup"
    for block in _transformers(outline, in_epochs, per_epoch):
        if block["lr_scheduler_type"] == "cosine" and "lr_scheduler_kwargs" not in block:
            scheduler = {"_component_": name, "num_warmup_steps": block["warmup_steps"]}
            total = block["max_steps"]
            run = {"epochs": 1, "max_steps_per_epoch": total}
            if per_epoch is not None and total % per_epoch == 0:
                run = {"epochs": total // per_epoch}
            yield {"optimizer": {"lr": block["learning_rate"]}, "lr_scheduler": scheduler, **run}


def _scripts(outline: Outline, names: Mapping[str, str]) -> Iterator[Block]:
    """Yield settings that diffusers' and kohya's scripts share; `names` are the script's names of the arguments."""
    for block in _transformers(outline, False, None):
        kwargs = block.get("lr_scheduler_kwargs", {})
        own = {name: kwargs[key] for key, name in names.items() if key in kwargs}
        if "min_lr" in own:  # as a share of the rate
            own[names["min_lr_rate"]] = plain(own.pop("min_lr") / block["learning_rate"])
        yield {
            "learning_rate": block["learning_rate"], "lr_scheduler": block["lr_scheduler_type"],
            "lr_warmup_steps": block["warmup_steps"], **own, "max_train_steps": outline.updates,
        }  # fmt: skip


def _diffusers(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    yield from _scripts(outline, {"num_cycles": "lr_num_cycles", "power": "lr_power"})


def _kohya(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    names = {key: f"lr_scheduler_{key}" for key in ("num_cycles", "power")}
    for block in _scripts(outline, {**names, "min_lr": "min_lr", "min_lr_rate": "lr_scheduler_min_lr_ratio"}):
        yield {"optimizer": block, "training": {"max_train_steps": block.pop("max_train_steps")}}


# --- systems with schedulers of their own --------------------------------------------------------------------------------


def _around(*counts: float) -> list[int]:
    """Each count and its neighbours: systems differ in whether an edge is before or behind an update."""
    near = (int(count) + by for count in counts for by in (0, 1, -1, -2))
    return [count for count in dict.fromkeys(near) if count >= 0]


def _rest(outline: Outline) -> list[Part]:
    """Return the parts after the warmup that begin within the run."""
    return [part for part in outline.rest if part.begin + _up(outline) < outline.updates]


def _up(outline: Outline) -> int:
    return 0 if outline.warmup is None else outline.warmup.length


def _fall(outline: Outline) -> Part | None:
    """Return the last part that decreases."""
    parts = [p for p in _rest(outline) if isinstance(p.form, Transition) and p.form.final < p.form.start]
    return parts[-1] if parts else None


def _end(outline: Outline, part: Part) -> float:
    """Return the update at which a part after the warmup ends."""
    assert isinstance(part.form, Transition)
    return float(_up(outline) + part.origin + part.form.length)


def _risen(outline: Outline) -> int:
    """Updates until the peak."""
    values = outline.schedule.values(min(outline.updates, 1 << 20))
    return int((values >= outline.peak * (1 - 1e-12)).argmax())


def _nanogpt(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    warm, first, n, up = outline.warmup, outline.rest[0], outline.updates, _up(outline)
    match first.form:
        case Transition(high, low, length, "cosine"):
            ends = {"lr_decay_iters": whole(up + length) or n, "min_lr": low, "decay_lr": True}
            yield {"learning_rate": high, "warmup_iters": up, **ends, "max_iters": n}
    if warm is None and first.level is not None and first.end is None:
        yield {"learning_rate": first.level, "decay_lr": False, "max_iters": n}


def _torchtitan(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    lr, n, fall = outline.peak, outline.updates, _fall(outline)
    ends = [n] if fall is None else [n, *_around(_end(outline, fall))]
    for up, total in itertools.product(_around(_risen(outline) + 1), dict.fromkeys(ends)):
        scheduler: Block = {"warmup_steps": up}
        if total != n:
            scheduler["total_steps"] = total
        if fall is None:
            yield _titan(lr, n, {**scheduler, "decay_ratio": 0.0})
            continue
        form = fall.form
        assert isinstance(form, Transition)
        scheduler |= {"decay_type": form.shape, "min_lr_factor": plain(form.final / lr)}
        yield _titan(lr, n, scheduler)
        for down in _around(form.length)[:2]:
            yield _titan(lr, n, {**scheduler, "decay_ratio": plain(down / max(total, 1))})


def _titan(lr: float, steps: int, scheduler: Block) -> Block:
    return {"optimizer": {"lr": lr}, "lr_scheduler": scheduler, "training": {"steps": steps}}


def _deepspeed(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    low, fall = float(outline.schedule(0)), _fall(outline)
    lr = fall.form.start if fall is not None and isinstance(fall.form, Transition) else outline.peak
    optimizer = {"type": "AdamW", "params": {"lr": lr}}
    if fall is None and low == lr:
        yield {"optimizer": optimizer}
    end = 0.0 if fall is None else _end(outline, fall)
    for up, kind in itertools.product(_around(_risen(outline)), ("linear", "log")):
        warmup: Block = {"warmup_num_steps": up, "warmup_type": kind}
        rates = {"warmup_min_lr": low, "warmup_max_lr": lr}
        if fall is None:
            yield _speed(optimizer, "WarmupLR", {**rates, **warmup})
            continue
        form = fall.form
        assert isinstance(form, Transition)
        for total in _around(end):
            if form.shape == "linear":
                yield _speed(optimizer, "WarmupDecayLR", {"total_num_steps": total, **rates, **warmup})
            elif form.shape == "cosine":
                starts = {
                    "warmup_min_ratio": plain(float(outline.schedule(1)) / lr),
                    "cos_min_ratio": plain(form.final / lr),
                }
                yield _speed(optimizer, "WarmupCosineLR", {"total_num_steps": total, **starts, **warmup})
    if fall is not None and isinstance(fall.form, Transition):
        for up, down in itertools.product(_around(_risen(outline)), _around(fall.form.length)):
            sizes = {"cycle_first_step_size": up, "cycle_second_step_size": down}
            yield _speed(optimizer, "OneCycle", {"cycle_min_lr": low, "cycle_max_lr": lr, **sizes})


def _speed(optimizer: Block, name: str, params: Block) -> Block:
    return {"optimizer": optimizer, "scheduler": {"type": name, "params": params}}


def _composer(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    # Composer's Trainer trains two batches at the first rate, so that its schedulers are a batch late.
    n = outline.updates
    early = Outline(outline.schedule.shift(-1), n)
    first, lr, up = early.rest[0], early.peak, _up(early)

    def block(name: str, **named: Any) -> Block:
        scheduler = {"name": name, **{key: value for key, value in named.items() if value is not None}}
        return {"max_duration": f"{n}ba", "optimizer": {"lr": lr}, "scheduler": scheduler}

    match first.form:
        case Transition(high, low, length, ("linear" | "cosine") as shape) if high == lr and (steps := whole(length)):
            name = "linear_decay_with_warmup" if shape == "linear" else "cosine_with_warmup"
            end = "1dur" if up + steps == n else f"{up + steps}ba"
            yield block(name, t_warmup=f"{up}ba", alpha_f=plain(low / lr), t_max=end)
        case Geometric(_, factor, every, 0) if not up:
            yield block("ExponentialScheduler", gamma=plain(factor), decay_period=f"{whole(every)}ba")
    if first.level == lr and len(_rest(early)) == 1:
        yield block("constant_with_warmup", t_warmup=f"{up}ba")
    drops = torch.milestones(tuple(_rest(early)))
    if drops is not None:
        times = [f"{up + at}ba" for at in drops[0]]
        yield block("MultiStepWithWarmupScheduler", t_warmup=f"{up}ba", milestones=times, gamma=drops[1])


def _mmengine(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    lr, n, warm = outline.peak, outline.updates, outline.warmup
    for late in (1, 0):
        up: list[Block] = []
        if warm is not None:
            starts = {"start_factor": plain(warm.first / lr), "end_factor": plain(warm.arrives / lr)}
            up = [{"type": "LinearLR", **starts, "by_epoch": in_epochs, "begin": 0, "end": warm.length + late}]
        begin = _up(outline)
        steps = torch.milestones(tuple(_rest(outline)))
        if steps is not None:
            at = [begin + m for m in steps[0]]
            drops = {"type": "MultiStepLR", "milestones": at, "gamma": steps[1], "by_epoch": in_epochs}
            yield _mmengine_block(lr, [*up, drops], in_epochs, n)
        entries = [_entry(part, begin, lr, in_epochs, late) for part in _rest(outline)]
        known = [entry for entry in entries if entry is not None]
        if len(known) == len(entries):
            yield _mmengine_block(lr, [*up, *(entry for entry in known if entry)], in_epochs, n)


def _mmengine_block(lr: float, entries: list[Block], in_epochs: bool, counts: int) -> Block:
    loop = {"by_epoch": in_epochs, "max_epochs" if in_epochs else "max_iters": counts}
    return {"optim_wrapper": {"optimizer": {"lr": lr}}, "param_scheduler": entries, "train_cfg": loop}


def _entry(part: Part, after: int, lr: float, in_epochs: bool, late: int) -> Block | None:
    """Return a part as an entry of param_scheduler: {} if no entry is needed, None if no entry gives the part."""
    begin = part.begin + after
    common: Block = {"by_epoch": in_epochs, "begin": begin}
    match part.form:
        case Transition(start, final, length, shape) if part.whole and (steps := whole(length)):
            if shape == "cosine":
                ends = {"T_max": steps, "eta_min": final, **common, "end": begin + steps}
                return {"type": "CosineAnnealingLR", **ends}
            if shape == "linear" and start == lr:
                return {"type": "PolyLR", "power": 1.0, "eta_min": final, **common, "end": begin + steps + late}
            if shape.startswith("power("):
                power = float(shape[6:-1])
                return {"type": "PolyLR", "power": power, "eta_min": final, **common, "end": begin + steps + late}
        case Geometric(_, factor, every, 0):
            return {"type": "ExponentialLR", "gamma": plain(factor ** (1 / every)), **common}
        case Geometric(_, factor, each, every) if each == every and whole(every):
            return {"type": "StepLR", "step_size": whole(every), "gamma": factor, **common}
    return None if part.level is None else {}


def _ultralytics(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    if per_epoch is None:
        return
    schedule, n = outline.schedule, outline.updates
    epochs = max(n // per_epoch, 1)
    last = epochs - 1

    def at_end(epoch: int) -> float:
        return float(schedule((epoch + 1) * per_epoch - 1))

    first = float(schedule(1)) if schedule(0) == 0 and n > 1 else 0.0
    # Two epochs behind the warmup give the two ends; numbers with few digits are the likely ones.
    for cosine, middle, digits in itertools.product((False, True), (epochs // 2, max(last - 1, 0)), (9, 17)):
        done, behind = (
            (1 - math.cos(math.pi * epoch / epochs)) / 2 if cosine else epoch / epochs for epoch in (middle, last)
        )
        fallen = (at_end(middle) - at_end(last)) / (behind - done) if last > middle else 0.0
        top = at_end(middle) + fallen * done
        lr0, low = float(f"{top:.{digits}g}"), float(f"{(top - fallen) / top if top else 1.0:.{digits}g}")
        batches = round(lr0 / first) if first > 0 else 0
        yield {
            "lr0": lr0, "lrf": low, "cos_lr": cosine, "epochs": epochs, "warmup_epochs": plain(batches / per_epoch),
            "optimizer": "SGD",
        }  # fmt: skip


def _llamafactory(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    yield {"learning_rate": outline.peak, "max_steps": outline.updates}


def _shapes(outline: Outline) -> Iterator[tuple[float, int, int, float, str]]:
    """Yield (peak, begin of the decay, length of the decay, end value, shape) for a plateau and a decay after the warmup."""
    rest, n = _rest(outline), outline.updates
    if len(rest) == 1 and rest[0].level is not None:
        yield rest[0].level, n, 0, rest[0].level, "constant"
    fall = _fall(outline)
    if fall is not None and isinstance(fall.form, Transition) and (length := whole(fall.form.length)):
        yield fall.form.start, _up(outline) + fall.begin, length, fall.form.final, fall.form.shape


def _megatron(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    first = {} if outline.warmup is None or not outline.warmup.first else {"lr_warmup_init": outline.warmup.first}
    for lr, begin, length, low, shape in _shapes(outline):
        common = {"lr": lr, "min_lr": low, "lr_warmup_iters": _up(outline), **first, "train_iters": outline.updates}
        ends = {"lr_decay_iters": begin + length}
        if begin == _up(outline) or shape == "constant":
            yield {**common, **ends, "lr_decay_style": shape}
        decay = {"lr_wsd_decay_style": {"sqrt": "minus_sqrt"}.get(shape, shape), "lr_wsd_decay_iters": length}
        yield {**common, **ends, "lr_decay_style": "WSD", **decay}


def _nemo(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    for lr, begin, length, low, _ in _shapes(outline):
        for held in dict.fromkeys((0, outline.updates - begin - length)):
            sched = {"name": "CosineAnnealing", "warmup_steps": _up(outline), "constant_steps": held, "min_lr": low}
            yield {"trainer": {"max_steps": outline.updates}, "model": {"optim": {"lr": lr, "sched": sched}}}


def _nanotron(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    for lr, begin, length, low, shape in _shapes(outline):
        for late in (0, 1):
            named = {
                "learning_rate": lr, "lr_warmup_steps": _up(outline), "lr_warmup_style": "linear",
                "lr_decay_style": {"sqrt": "1-sqrt", "constant": "linear"}.get(shape, shape),
                "lr_decay_starting_step": begin - late, "lr_decay_steps": length or 1, "min_decay_lr": low,
            }  # fmt: skip
            yield {"optimizer": {"learning_rate_scheduler": named}, "tokens": {"train_steps": outline.updates}}


def _fairseq(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    n, up = outline.updates, _up(outline)
    run = {"optimization": {"lr": [outline.peak], "max_update": n}}
    first = {} if outline.warmup is None else {"warmup_init_lr": outline.warmup.first}
    if up:
        yield {**run, "lr_scheduler": {"_name": "inverse_sqrt", "warmup_updates": up, **first}}
    for _, begin, length, low, shape in _shapes(outline):
        ends = {"warmup_updates": up, "total_num_update": begin + length or n}
        if shape == "linear":
            yield {**run, "lr_scheduler": {"_name": "polynomial_decay", **ends, "end_learning_rate": low}}
        elif shape == "cosine":
            cosine = {"_name": "cosine", "warmup_updates": up, **first, "min_lr": low, "lr_period_updates": length}
            yield {**run, "lr_scheduler": cosine}


def _detectron2(outline: Outline, in_epochs: bool, per_epoch: int | None) -> Iterator[Block]:
    def solver(lr: float, **more: Any) -> Block:
        first = {} if outline.warmup is None else {"WARMUP_FACTOR": plain(outline.warmup.first / lr)}
        return {"SOLVER": {"BASE_LR": lr, "MAX_ITER": outline.updates, "WARMUP_ITERS": _up(outline), **first, **more}}

    drops = torch.milestones(tuple(_rest(outline)))
    if drops is not None or len(_rest(outline)) == 1:
        at, gamma = ([], 0.1) if drops is None else drops
        yield solver(outline.peak, STEPS=[_up(outline) + m for m in at], GAMMA=gamma)
    for lr, *_, low, _ in _shapes(outline):
        yield solver(lr, LR_SCHEDULER_NAME="WarmupCosineLR", BASE_LR_END=low)
