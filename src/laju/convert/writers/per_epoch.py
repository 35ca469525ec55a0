"""Programs with lengths in multiples of `UPDATES_PER_EPOCH`, for a schedule in epochs and a system that counts updates."""

from __future__ import annotations

import ast
from typing import Any

NAME = "UPDATES_PER_EPOCH"
ADAPTER = f".stretch({NAME}).staircase({NAME})"
"""What turns a schedule in epochs into a schedule in updates, each value in force during its whole epoch."""


def multiples(first: str, second: str, updates: tuple[int, int]) -> str | None:
    """Return the common form of two calls that differ only in whole numbers, each c·UPDATES_PER_EPOCH + d with whole c and d.

    Args:
        first, second: the calls for the first and the second number of updates per epoch.
        updates: the two numbers of updates per epoch, which must differ.

    Returns:
        The call, or None if there is no common form.

    >>> multiples("StepLR(step_size=70, gamma=0.1)", "StepLR(step_size=110, gamma=0.1)", (7, 11))
    'StepLR(step_size=10 * UPDATES_PER_EPOCH, gamma=0.1)'
    >>> multiples("StepLR(step_size=70, gamma=0.1)", "StepLR(step_size=110, gamma=0.2)", (7, 11)) is None
    True
    """
    a, b = ast.parse(first, mode="eval"), ast.parse(second, mode="eval")
    merged = _merged(a.body, b.body, updates)
    return None if merged is None else ast.unparse(merged)


def _merged(a: Any, b: Any, updates: tuple[int, int]) -> Any:
    """A node of both trees, with multiples in the place of different numbers; None where the trees differ otherwise."""
    if isinstance(a, ast.Constant) and isinstance(b, ast.Constant) and type(a.value) is type(b.value) is int:
        return a if a.value == b.value else _linear_in_epochs(a.value, b.value, updates)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        items = [_merged(x, y, updates) for x, y in zip(a, b, strict=True)]
        return None if any(new is None is not old for new, old in zip(items, a, strict=True)) else items
    if isinstance(a, ast.AST) and type(a) is type(b):
        for name, old in list(ast.iter_fields(a)):
            new = _merged(old, getattr(b, name), updates)
            if new is None is not old:
                return None
            setattr(a, name, new)
        return a
    return a if type(a) is type(b) and a == b else None


def _linear_in_epochs(x: int, y: int, updates: tuple[int, int]) -> ast.expr | None:
    """Return the expression c·UPDATES_PER_EPOCH + d with the values x and y for the two numbers; None if there is none."""
    # Two points determine the line; a remainder says that the number is no such line.
    times, left = divmod(y - x, updates[1] - updates[0])
    if left:
        return None
    more = x - times * updates[0]
    product = NAME if times == 1 else f"{times} * {NAME}"
    return ast.parse(product if not more else f"{product} {'+' if more > 0 else '-'} {abs(more)}", mode="eval").body


def with_constant(code: str, updates_per_epoch: int | None) -> str:
    """Add the constant UPDATES_PER_EPOCH after the imports of a program that uses the constant.

    Without a number, the program raises an error until the number is filled in.

    >>> print(with_constant("import laju\\n\\nn = 3 * UPDATES_PER_EPOCH", 391))
    import laju
    <BLANKLINE>
    UPDATES_PER_EPOCH = 391  # len(train_loader)
    <BLANKLINE>
    n = 3 * UPDATES_PER_EPOCH
    """
    if NAME not in code:
        return code
    block = f"{NAME} = {updates_per_epoch or '...'}  # len(train_loader)\n"
    if updates_per_epoch is None:
        block += (
            f"if not isinstance({NAME}, int):\n"
            f'    raise TypeError("{NAME} must be the number of updates in an epoch, such as len(train_loader)")\n'
        )
    imports = [node for node in ast.parse(code).body if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = code.splitlines(keepends=True)
    last = imports[-1].end_lineno or 0
    return "".join([*lines[:last], f"\n{block}", *lines[last:]])
