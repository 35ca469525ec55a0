"""Device and arithmetic of a trial: settings that change a trial's numbers without changing the experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from laju.core.checks import nearest, shown

Device = Literal["cpu", "cuda"]
DEVICES: tuple[Device, ...] = get_args(Device)
Precision = Literal["float32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class DeviceError(RuntimeError):
    """Error of a machine that lacks the requested device or precision."""


@dataclass(frozen=True)
class Numerics:
    """Device, precision and memory layout of a trial in torch; the default is float32 on the CPU.

    All settings leave the data, their order, the initial weights and the learning rates unchanged.

    Args:
        device: "cuda", a GPU, adds in a different order than the CPU, so figures differ in their last digits, and these
            differences grow as training goes on. Dropout draws different random numbers on a GPU.
        precision: "bf16" computes matrix products and convolutions in bfloat16, which has 8 significant bits where float32 has
            24, by torch's autocast. Weights, losses, normalisation and the optimizer stay in float32. A result may then differ by
            as much as a result of another seed.
        channels_last: images lie in memory with their channels last, which GPUs need for their fastest convolutions in bf16.
            Sums are in a different order. Such a trial is trained by itself, never in a stack, where the channels of all trials
            lie together. (On the CPU in float32 the lab's own loop always has this layout.)

    Raises:
        ValueError: an unknown device or precision.
        TypeError: channels_last that is not True or False.

    >>> print(Numerics(), "|", Numerics("cuda", "bf16", channels_last=True))
    cpu float32 | cuda bf16 channels-last
    """

    device: Device = "cpu"
    precision: Precision = "float32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        for name, value, valid in (("device", self.device, DEVICES), ("precision", self.precision, PRECISIONS)):
            if value not in valid:
                raise ValueError(
                    f"{name} must be one of {', '.join(valid)}, got {shown(value)}{nearest(str(value), valid)}"
                )
        if not isinstance(self.channels_last, bool):
            raise TypeError(f"channels_last must be True or False, got {shown(self.channels_last)}")

    def __str__(self) -> str:
        return f"{self.device} {self.precision}" + (" channels-last" if self.channels_last else "")

    def check(self) -> None:
        """Check that this machine has the device and precision; a trial is a value, and may be intended for a different machine.

        Raises:
            DeviceError: there is no GPU that torch can use, or the GPU has no bfloat16.
        """
        if self.device == "cpu":
            return
        import torch

        if not torch.cuda.is_available():
            built = torch.version.cuda or torch.version.hip
            why = "finds none" if built else "is built for the CPU alone"
            raise DeviceError(
                f"device 'cuda' needs a GPU, and torch {torch.__version__} {why}; device='cpu' trains without one"
            )
        if self.precision == "bf16" and torch.cuda.get_device_capability() < (8, 0):
            name = torch.cuda.get_device_name()
            raise DeviceError(
                f"precision 'bf16' needs a GPU of compute capability 8.0 or more, and {name} has less; give 'float32'"
            )
