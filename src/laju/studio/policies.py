"""New schedules for the page: a policy with the peak, the warmup and the end of the active schedule."""

from __future__ import annotations

from laju.core.checks import nearest, shown
from laju.core.schedule import Schedule
from laju.inspect.outline import Outline
from laju.studio.spots import plain

POLICIES = (
    "cosine", "wsd", "linear_to_zero", "constant", "one_cycle", "inverse_sqrt", "exponential", "poly", "rex",
    "cosine_restarts", "multi_factor", "factor", "triangular", "knots",
)  # fmt: skip
"""The policies that the page offers, the most used first."""


def like(policy: str, schedule: Schedule, updates: int) -> str:
    """The text of a policy with the peak, the warmup and the end of a schedule.

    Args:
        policy: a name in `POLICIES`.
        schedule: the schedule in updates.
        updates: the number of updates of the run.

    Raises:
        ValueError: an unknown policy.

    >>> from laju import cosine
    >>> like("wsd", cosine(0.3, total=1000, warmup=50), 1000)
    'wsd(0.3, total=1000, cooldown=200, warmup=50)'
    """
    outline = Outline(schedule, updates)
    warm = 0 if outline.warmup is None else outline.warmup.length
    peak, final = plain(float(f"{outline.peak:.12g}")), schedule(updates)
    final_text = plain(float(f"{final:.12g}"))
    warmup = f", warmup={warm}" if warm else ""
    ends = f", final={final_text}" if final > 0 and final < outline.peak else ""
    third = max(1, (updates - warm) // 3)
    match policy:
        case "cosine" | "poly" | "rex":
            return f"{policy}({peak}, total={updates}{ends}{warmup})"
        case "wsd":
            return f"wsd({peak}, total={updates}, cooldown={max(1, min(updates // 5, updates - warm))}{warmup}{ends})"
        case "linear_to_zero":
            return f"linear_to_zero({peak}, total={updates}{warmup})"
        case "exponential":
            last = final if final > 0 else outline.peak / 100
            return f"exponential({peak}, final={plain(float(f'{last:.6g}'))}, total={updates}{warmup})"
        case "constant":
            return f"constant({peak}).warmup({warm})" if warm else f"constant({peak})"
        case "one_cycle":
            up = min(warm or third, updates - 1)
            return f"one_cycle({peak}, total={updates}, warmup={up}, final={final_text})"
        case "inverse_sqrt":
            return f"inverse_sqrt({peak}, warmup={warm or max(1, updates // 20)})"
        case "cosine_restarts":
            return f"cosine_restarts({peak}, every={third}{ends}{warmup})"
        case "multi_factor":
            return f"multi_factor({peak}, milestones=[{warm + third}, {warm + 2 * third}], factor=0.1)" + (
                f".warmup({warm})" if warm else ""
            )
        case "factor":
            return f"factor({peak}, 0.5, every={max(1, updates // 5)})"
        case "triangular":
            return f"triangular({plain(float(f'{outline.peak / 10:.6g}'))}, {peak}, up={max(1, updates // 4)})"
        case "knots":
            places = sorted({0, warm, (warm + updates) // 2, updates})
            points = [(at, plain(float(f"{schedule(at):.4g}"))) for at in places]
            return f"knots([{', '.join(f'[{at}, {value}]' for at, value in points)}])"
    raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {shown(policy)}{nearest(policy, POLICIES)}")
