"""Schedules for JAX. A schedule is an optax schedule unchanged; this module adds features that optax lacks.

    optax.adamw(laju.cosine(3e-4, total=10_000, warmup=500))

The schedule runs under `jit`, `vmap` and `scan`, and reads no value back from the device. Positions are subtracted as
integers, so counts beyond 2²⁴ are exact in float32. The position is optax's own `count`, which is a part of the optimizer's
state: a checkpoint of the state resumes the schedule.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from laju.core.checks import is_number, nearest, number, shown, whole
from laju.core.extras import needed_by
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.frameworks.values import Factor, given

with needed_by("laju.frameworks.jax", "jax"):
    import jax
    import jax.numpy as jnp
    import optax


def scheduled(factory: Callable[..., Any], *, plan: RunPlan | None = None, **hyper_parameters: Any) -> Any:
    """An optax optimizer, each of whose hyper-parameters may be a schedule: weight decay, momentum, betas …

    The transformation is `optax.inject_hyperparams`, whose state shows the values of the last update as `state.hyperparams`,
    with two differences: a `mask` that is a function stays a function, since only schedules are schedules; and names are checked.

    Args:
        factory: a function that makes an optax transformation, such as `optax.adamw`.
        plan: the run, for schedules in epochs or percent.
        hyper_parameters: arguments of `factory` by name: schedules, numbers, or any value. A text with a parenthesis is the text
            of a schedule; any other text (the name of a dtype, say) is left to the factory.

    Raises:
        TypeError: not a function; a required argument is missing; a `Factor`, which has no base here.
        ValueError: an unknown argument, or a text that is not a schedule's (`SpecError`).
        UnresolvedError: a schedule's lengths are not in updates, and there is no plan.

    >>> import jax.numpy as jnp, laju, optax
    >>> rate = laju.linear(1, 0, total=4)
    >>> optimizer = scheduled(optax.adamw, learning_rate=rate, weight_decay=0.1 * rate, b1=0.8)
    >>> weights = jnp.ones(2)
    >>> state = optimizer.init(weights)
    >>> for _ in range(3):
    ...     updates, state = optimizer.update(weights, state, weights)
    >>> float(state.hyperparams["learning_rate"]), float(state.hyperparams["weight_decay"])  # of update 2
    (0.5, 0.05000000074505806)
    """
    if not callable(factory):
        raise TypeError(f"factory must make an optax transformation, as optax.adamw does, got {shown(factory)}")
    names = inspect.signature(factory).parameters
    for name, value in hyper_parameters.items():
        if name not in names:
            raise ValueError(
                f"{_factory_name(factory)} has no argument {name!r}{nearest(name, names)}; it takes {', '.join(names)}"
            )
        if isinstance(value, Schedule | Factor) or (isinstance(value, str) and "(" in value):
            hyper_parameters[name] = given(name, value, plan, hint="it has no base here; write base * schedule")
    # optax takes every function that is not static for a schedule, and calls it with the count.
    fixed = [name for name, value in hyper_parameters.items() if not (isinstance(value, Schedule) or is_number(value))]
    # An argument that is left out has its default, which may be a function too.
    fixed += [name for name, p in names.items() if name not in hyper_parameters and callable(p.default)]
    return optax.inject_hyperparams(factory, static_args=[name for name in fixed if name in names])(**hyper_parameters)


def schedule(s: Schedule | str, plan: RunPlan | None = None) -> Callable[[Any], Any]:
    """A schedule that holds its first value before update 0: t ↦ s(max(t, 0)), for combinators that ask there.

    `optax.join_schedules` computes every schedule at every step and then chooses, so that the later ones are asked for values
    before their beginning: `join_schedules([schedule(a), schedule(b)], [1000])`. `a >> b` says the same in laju.

    Args:
        s: a schedule, or its text.
        plan: the run, for a schedule in epochs or percent.

    Returns:
        A function of the count, a number or an array of any shape, eager or inside `jit`, `vmap` and `scan`.

    Raises:
        TypeError: not a schedule.
        SpecError: a text that is not a schedule's.
        UnresolvedError: the schedule's lengths are not in updates, and there is no plan.

    >>> import laju, optax
    >>> joined = optax.join_schedules([schedule(laju.constant(0.1)), schedule(laju.linear(0.1, 0, total=4))], [10])
    >>> [round(float(joined(t)), 3) for t in (0, 10, 12, 20)]
    [0.1, 0.1, 0.05, 0.0]
    """
    values = given("s", s, plan)

    def held(count: Any) -> Any:
        return values(max(count, 0) if is_number(count) else jnp.maximum(count, 0))

    return held


def resumed(schedule: Schedule | str, completed: int) -> Schedule:
    """The schedule for an optimizer whose own count begins at 0 after `completed` updates: t ↦ schedule(completed + t).

    A restored optimizer state does not need this, since its count goes on.

    Raises:
        TypeError: not a schedule.
        ValueError: not a whole number of updates.

    >>> import laju
    >>> resumed(laju.linear(1, 0, total=4), 3).values(2)
    array([0.25, 0.  ])
    """
    return given("schedule", schedule).shift(-whole("completed", completed))


class FactorState(NamedTuple):
    """The state of `scale_by_factor`."""

    laju_factor: jax.Array


def scale_by_factor() -> optax.GradientTransformation:
    """A transformation that multiplies updates by a number in its state, which `set_factor` sets: as the last of a chain, the
    transformation multiplies the learning rate.

    A metric decides on the host, between steps, and the compiled step takes the new number without compiling again. A
    checkpoint of the optimizer's state has the factor; save `controller.state_dict()`, which is JSON, beside the checkpoint.

    >>> import jax.numpy as jnp, laju, optax
    >>> from laju.adaptive import Controller, Plateau
    >>> optimizer = optax.chain(optax.sgd(laju.constant(0.5)), scale_by_factor())
    >>> controller = Controller(Plateau(0.1, patience=0))
    >>> state = optimizer.init(jnp.zeros(()))
    >>> for loss in (1.0, 1.0):
    ...     state = set_factor(state, controller.observe(loss))
    >>> float(optimizer.update(jnp.ones(()), state)[0])
    -0.05000000074505806
    """

    def init(params: Any) -> FactorState:
        return FactorState(jnp.ones(()))

    def update(updates: Any, state: FactorState, params: Any = None) -> tuple[Any, FactorState]:
        scaled = jax.tree.map(lambda u: u * state.laju_factor.astype(u.dtype), updates)
        return scaled, state

    return optax.GradientTransformation(init, update)


def set_factor(state: Any, factor: float) -> Any:
    """The optimizer's state with another factor; its structure, types and devices are the same.

    Raises:
        TypeError, ValueError: the factor is not a finite number of 0 or more.
        ValueError: no `scale_by_factor` is in the optimizer.
    """
    factor = number("factor", factor, least=0)
    found = 0

    def replaced(part: Any) -> Any:
        nonlocal found
        if not isinstance(part, FactorState):
            return part
        found += 1
        return FactorState(jax.device_put(jnp.asarray(factor, part.laju_factor.dtype), part.laju_factor.sharding))

    changed = jax.tree.map(replaced, state, is_leaf=lambda part: isinstance(part, FactorState))
    if not found:
        raise ValueError("state has no factor; put scale_by_factor() last: optax.chain(optimizer, scale_by_factor())")
    return changed


def _factory_name(factory: Any) -> str:
    return str(getattr(factory, "__name__", factory))
