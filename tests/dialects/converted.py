"""Runs programs that `laju convert` printed, in a process of their own, and prints the rates that they really trained with.

    python converted.py TARGET < programs.json

It watches the optimizer, not the scheduler: what counts is the rate that an update used.
"""

import json
import sys
import types
from pathlib import Path


def main() -> None:
    target, *more = sys.argv[1:]
    programs = json.load(sys.stdin)
    watch = {"torch": torch, "transformers": torch, "timm": torch}.get(target) or globals()[target]
    if target == "timm":
        timm_alone(Path(more[0]))
    json.dump(watch(programs), sys.stdout)


def torch(programs: list[str]) -> list[list[float]]:
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    used: list[float] = []
    register_optimizer_step_pre_hook(lambda optimizer, *_: used.append(float(optimizer.param_groups[0]["lr"])))
    found = []
    for program in programs:
        used.clear()
        exec(program, {"__name__": "__main__"})
        found.append(list(used))
    return found


def timm_alone(folder: Path) -> None:
    """The schedulers without the rest of timm, which loads torchvision."""
    for name, place in (("timm", folder.parent), ("timm.scheduler", folder)):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(place)]
    from importlib import import_module

    for file in ("cosine_lr", "poly_lr", "tanh_lr", "step_lr", "multistep_lr"):
        module = import_module(f"timm.scheduler.{file}")
        for name in dir(module):
            if name.endswith("LRScheduler"):
                setattr(sys.modules["timm.scheduler"], name, getattr(module, name))


def optax(programs: list[str]) -> list[list[float]]:
    found = []
    for program in programs:
        space = {"__name__": "__main__"}
        exec(program, space)
        jnp, update = space["jnp"], space["update"]
        trained = -float(space["weights"][0])
        # The same compiled step again, from weights of 0, so that what it leaves is the rate.
        state, rates = space["optimizer"].init(jnp.zeros(3)), []
        for _ in range(eval(program.rpartition("range(")[2].partition(")")[0], space)):
            weights, state = update(jnp.zeros(3), state)
            rates.append(-float(weights[0]))
        assert abs(sum(rates) - trained) <= 1e-5 * max(map(abs, rates)) * len(rates), (sum(rates), trained)
        found.append(rates)
    return found


def keras(programs: list[str]) -> list[list[float]]:
    import os

    os.environ["KERAS_BACKEND"] = "torch"  # which compiles nothing
    import keras

    found = []
    for program in programs:
        space = {"__name__": "__main__"}
        exec(program, space)
        optimizer = space["model"].optimizer
        assert int(optimizer.iterations.numpy()) == space["updates"]
        again = type(optimizer).from_config(optimizer.get_config())
        weight, rates = keras.Variable(0.0), []
        for _ in range(space["updates"]):
            weight.assign(0.0)
            again.apply([keras.ops.ones(())], [weight])
            rates.append(-float(weight.numpy()))
        found.append(rates)
    return found


def mxnet(programs: list[str]) -> list[list[float]]:
    from mxnet import optimizer

    used: dict[int, float] = {}
    asked = optimizer.Optimizer._get_lrs

    def watched(self, indices):
        rates = asked(self, indices)
        used.setdefault(self.num_update, float(rates[0]))
        return rates

    optimizer.Optimizer._get_lrs = watched
    found = []
    for program in programs:
        used.clear()
        exec(program, {"__name__": "__main__"})
        found.append([used[n] for n in sorted(used)])
    return found


def paddle(programs: list[str]) -> list[list[float]]:
    import paddle

    used: list[float] = []
    step = paddle.optimizer.SGD.step

    def watched(self):
        used.append(float(self.get_lr()))
        return step(self)

    paddle.optimizer.SGD.step = watched
    found = []
    for program in programs:
        used.clear()
        exec(program, {"__name__": "__main__"})
        found.append(list(used))
    return found


if __name__ == "__main__":
    main()
