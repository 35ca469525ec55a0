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
    """Return an optax optimizer in which any hyper-parameter (weight decay, momentum, betas …) may be a schedule.

    The transformation is `optax.inject_hyperparams`, whose state has the values of the last update as `state.hyperparams`, with
    two differences: a function such as `mask` is passed on and not called as a schedule, and argument names are checked.

    Args:
        factory: function that returns an optax transformation, such as `optax.adamw`.
        plan: the run plan, needed for schedules in epochs or percent.
        hyper_parameters: arguments of `factory` by name: schedules, numbers, or any value. A string with a parenthesis is the
            text of a schedule; a string without a parenthesis, such as the name of a dtype, is passed to the factory.

    Raises:
        TypeError: if `factory` is not a function, a required argument is missing, or an argument is a `Factor`, which has no base
            in optax.
        ValueError: if the factory does not take one of the arguments, or a text is not a schedule (`SpecError`).
        UnresolvedError: if lengths are not in updates and there is no plan.

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
    """Return an optax schedule that holds its first value before update 0, t ↦ s(max(t, 0)), for `optax.join_schedules`.

    `optax.join_schedules` evaluates every schedule at every step and then selects, so later schedules are also evaluated before
    their beginning: write `join_schedules([schedule(a), schedule(b)], [1000])`. The equivalent in laju is `a.take(1000) >> b`.

    Args:
        s: a schedule, or its text.
        plan: the run plan, needed for a schedule in epochs or percent.

    Returns:
        A function of the count, which may be a number or an array of any shape, eager or inside `jit`, `vmap` and `scan`.

    Raises:
        TypeError: if `s` is not a schedule.
        SpecError: if the text is not a schedule.
        UnresolvedError: if lengths are not in updates and there is no plan.

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
    """Return the schedule for a new optimizer state after `completed` updates of the run: t ↦ schedule(completed + t).

    A restored optimizer state continues its count and needs no `resumed`.

    Args:
        schedule: the schedule of the whole run, or its text.
        completed: number of completed updates.

    Raises:
        TypeError: if `schedule` is not a schedule.
        ValueError: if `completed` is not a whole number of at least 0.

    >>> import laju
    >>> resumed(laju.linear(1, 0, total=4), 3).values(2)
    array([0.25, 0.  ])
    """
    return given("schedule", schedule).shift(-whole("completed", completed))


class FactorState(NamedTuple):
    """State of `scale_by_factor`: the factor."""

    laju_factor: jax.Array


def scale_by_factor() -> optax.GradientTransformation:
    """Return an optax transformation that multiplies updates by a factor in its state, which `set_factor` changes.

    As the last transformation of a chain, the transformation multiplies the learning rate. A metric-driven rule computes the
    factor on the host, between steps, and a compiled step uses a new factor without recompilation. A checkpoint of the
    optimizer's state includes the factor; also save `controller.state_dict()`, which is JSON.

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
    """Return the optimizer's state with a new factor; structure, types and devices are unchanged.

    Args:
        state: state of an optimizer with `scale_by_factor`.
        factor: the new factor, at least 0.

    Raises:
        TypeError, ValueError: if the factor is not a finite number of at least 0.
        ValueError: if the optimizer has no `scale_by_factor`.
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
