"""BlackJAX's stochastic-gradient Langevin kernels, driven by the same schedules.

BlackJAX's step is half of Welling & Teh's: θ + s·∇log p + √(2·s·T)·N(0, 1) with s = ε/2. Here, as everywhere in
`laju.sampling`, the step is ε.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from laju.core.checks import is_number, nearest, shown, whole
from laju.core.extras import needed_by
from laju.core.schedule import Schedule
from laju.sampling.chains import Chains
from laju.sampling.steps import Diverged, read_steps, read_temperatures

with needed_by("laju.sampling.jax", "jax"):
    import jax
    import jax.numpy as jnp

_KERNELS = {"blackjax.sgmcmc.sgld": "step_size", "blackjax.sgmcmc.csgld": "step_size_diff"}


def sample(
    algorithm: Any,
    start: Any,
    step: Schedule | float,
    updates: int,
    *,
    temperature: Schedule | float = 1.0,
    data: Any = None,
    batch_size: int | None = None,
    burn_in: int = 0,
    every: int = 1,
    seed: int = 0,
    **parameters: Schedule | float,
) -> Chains:
    """Run BlackJAX's stochastic-gradient Langevin dynamics on many chains at once, compiled, with a schedule as its step.

    Args:
        algorithm: `blackjax.sgld(gradient)` or the contour variant `blackjax.csgld(log_density, gradient, …)`; their functions
            take a position and a mini-batch, as the functions of `blackjax.sgmcmc.gradients.grad_estimator` do.
        start: first positions, an array (chains, *shape).
        step: ε, a schedule or a number, at least 0.
        updates: number of updates.
        temperature: T, a schedule or a number, at least 0.
        data: an array of shape (N, ...), or a tree of such arrays; None, the default, if the algorithm's functions need no
            mini-batch: their mini-batch is then None.
        batch_size: samples per update, drawn with replacement for each chain; None for all samples.
        burn_in: updates at the beginning whose positions are not kept.
        every: after the burn-in, positions are kept every `every` updates.
        seed: seed of all randomness.
        parameters: further arguments of the algorithm's step by name, as numbers or schedules, such as `step_size_stoch` of
            csgld.

    Returns:
        The kept positions, with the update and the step size of each.

    Raises:
        TypeError: if `algorithm` is neither of the two.
        ValueError: if a step or temperature is below 0, a parameter is unknown, or a batch size is passed without data.
        Diverged: if positions are no longer finite.

    >>> import blackjax, laju
    >>> algorithm = blackjax.sgld(lambda position, batch: -position)  # the gradient of a standard Gaussian's log density
    >>> chains = sample(algorithm, jnp.zeros((2000, 1)), laju.welling_teh(0.5, b=10), updates=300, burn_in=200)
    >>> chains.draws.shape
    (2000, 100, 1)
    >>> 0.9 < chains.variance()[0] < 1.1
    np.True_
    """
    own = _step_of(algorithm)
    takes = list(inspect.signature(algorithm.step).parameters)[3:]
    for name, value in parameters.items():
        if name not in takes or name in (own, "temperature"):
            rest = [other for other in takes if other not in (own, "temperature")]
            raise ValueError(
                f"the step of this algorithm has no parameter {name!r}{nearest(name, rest)} ({', '.join(rest) or 'none'})"
            )
        if not (is_number(value) or isinstance(value, Schedule)):
            raise TypeError(f"{name} must be a laju schedule or a number, got {shown(value)}")
    eps = read_steps(step, updates)
    read_temperatures(temperature, updates)
    updates, burn_in, every = whole("updates", updates), whole("burn_in", burn_in), whole("every", every, least=1)
    driven = {own: step, "temperature": temperature, **parameters}
    if batch_size is not None:
        batch_size = whole("batch_size", batch_size, least=1)
        if data is None:
            raise ValueError(f"batch_size needs data, got batch_size={batch_size} and data=None")
    data = jax.tree.map(jnp.asarray, data)  # of None, too
    lengths = [part.shape[0] if part.ndim else 0 for part in jax.tree.leaves(data)]
    if lengths and (len(set(lengths)) > 1 or not lengths[0]):
        raise ValueError(f"arrays of data must have the same length and not be empty, got lengths {lengths}")
    size = lengths[0] if lengths else 0
    start = jnp.asarray(start)
    if start.ndim < 1 or not start.size or not jnp.issubdtype(start.dtype, jnp.floating):
        raise ValueError(f"start must be an array (chains, *shape) of a floating type, got {shown(start)}")
    kept = max(0, (updates - burn_in) // every)

    def one(state: Any, t: Any, key: Any) -> Any:
        key, choice = jax.random.split(key)
        batch = data
        if batch_size is not None:
            chosen = jax.random.randint(choice, (batch_size,), 0, size)
            batch = jax.tree.map(lambda part: part[chosen], data)
        values = {name: value(t) if isinstance(value, Schedule) else value for name, value in driven.items()}
        # BlackJAX's SGLD moves by its step times the gradient, where ε/2 is meant.
        values[own] = values[own] / 2
        return algorithm.step(key, state, batch, **values)

    def update(states: Any, t: Any) -> tuple[Any, None]:
        # Keys by update: the draws do not depend on `every` and `burn_in`.
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), t), len(start))
        return jax.vmap(one, in_axes=(0, None, 0))(states, t, keys), None

    def next_kept(states: Any, first: Any) -> tuple[Any, Any]:
        states, _ = jax.lax.scan(update, states, first + jnp.arange(every))
        return states, getattr(states, "position", states)

    @jax.jit
    def everything(positions: Any) -> Any:
        states = jax.vmap(lambda position: algorithm.init(position))(positions)
        states, _ = jax.lax.scan(update, states, jnp.arange(min(burn_in, updates)))
        return jax.lax.scan(next_kept, states, burn_in + every * jnp.arange(kept))[1]

    draws = np.moveaxis(np.asarray(everything(start)), 0, 1)
    after = burn_in + every * np.arange(1, kept + 1)
    lost = np.flatnonzero(~np.isfinite(draws).all(axis=tuple(i for i in range(draws.ndim) if i != 1)))
    if lost.size:
        last = int(after[lost[0]])
        raise Diverged(step=float(eps[:last].max()), update=last - 1)
    return Chains(draws, after, eps[after - 1])


def _step_of(algorithm: Any) -> str:
    """The algorithm's own name for its step."""
    module = getattr(getattr(algorithm, "step", None), "__module__", None)
    if module not in _KERNELS:
        raise TypeError(f"algorithm must be blackjax.sgld(…) or blackjax.csgld(…), got {shown(algorithm)}")
    return _KERNELS[module]
