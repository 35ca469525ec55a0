"""A task for any folder of images in ImageNet's layout, with a folder for each class, and any torch model for such images."""

from __future__ import annotations

import copy
import functools
import hashlib
import math
import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from laju.core.checks import nearest, number, shown, whole
from laju.core.extras import MissingPackage, missing, needed_by
from laju.lab.trials.tasks.base import Data, DataError, Part, Task

if TYPE_CHECKING:
    import torch
    from PIL import Image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
LIBRARIES = ("timm", "torchvision")
WHOLE = 2**28
"""Bytes of image files up to which a fingerprint is over their contents, and not over their names and sizes."""
_LAYOUT = "the layout is train/CLASS/*.jpg and val/CLASS/*.jpg, with a folder for each class"
_ASPECTS = math.log(3 / 4), math.log(4 / 3)
_PARTS: tuple[Part, ...] = "train", "test"

Network = str | Callable[[int], "torch.nn.Module"]


@dataclass(frozen=True)
class Accelerated:
    """How Accelerate trains a task: the precision, the number of processes, and the number of micro-batches per update.

    A trial's batch size is the number of examples per update, whatever these settings: the batch is split over the processes,
    each process splits its part into `accumulate` micro-batches, and the gradient of the update is the mean over all examples.

    Args:
        mixed_precision: "no", "bf16", or "fp16" (on a GPU).
        accumulate: micro-batches per update, in each process.
        processes: number of processes that share the examples of an update. The processes are started on this machine, unless
            `torchrun` or `accelerate launch` has started this process.
        workers: processes that read data, for each process that trains; 0 to read between the updates.
        cpu: train on the CPU even if there is a GPU.

    >>> Accelerated(mixed_precision="bf16", accumulate=4)
    Accelerated(mixed_precision='bf16', accumulate=4, processes=1, workers=0, cpu=False)
    """

    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    accumulate: int = 1
    processes: int = 1
    workers: int = 0
    cpu: bool = False

    def __post_init__(self) -> None:
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise ValueError(f"mixed_precision must be 'no', 'bf16' or 'fp16', got {shown(self.mixed_precision)}")
        for name, least in (("accumulate", 1), ("processes", 1), ("workers", 0)):
            object.__setattr__(self, name, whole(name, getattr(self, name), least=least))


class ImageFolder(Task):
    """Images in `train/CLASS/` and `val/CLASS/` (or `test/CLASS/`), the layout of ImageNet, with a torch model.

    An image is turned upright by its EXIF orientation, converted to RGB, resized so that its shorter side is `size` / `crop`
    pixels, and its middle `size` × `size` pixels become (value / 255 - mean) / std. With `augment`, a training image is instead
    a random crop of 8 % to 100 % of the picture's area, with an aspect ratio from 3:4 to 4:3, mirrored with probability 1/2,
    drawn anew in every epoch from the seed. Hidden files, and files without the suffix of an image format, are ignored.

    Without `accelerated` the images are held in memory, decoded once. With `accelerated` images are read when an update needs
    them.

    Args:
        path: the folder.
        model: "timm:NAME" or "torchvision:NAME", untrained; or a function from the number of classes to a module that maps
            images (N, 3, size, size) to logits (N, classes). By default laju's small residual network.
        size: side length in pixels of the images that the model sees.
        crop: the share of the shorter side of a test image that the model sees.
        augment: random crops and mirror images in training; needs `accelerated`.
        mean, std: mean and standard deviation of the channels red, green and blue; by default those of ImageNet.
        batch_size: the default number of images per update.
        skip_unreadable: leave out files that are not readable images, which takes the time to decode every file; `skipped` lists
            the files left out. By default the first unreadable file is an error.
        accelerated: how Accelerate trains the task; None for the lab's own loop.
        name: the name of the task; two functions that make models must differ in their own names or in this name.

    Raises:
        DataError: no such folder, a different layout, a class without images, a single class, classes that differ between
            training and test, a file that is not a readable image.
        ModuleNotFoundError: the model's library is not installed.
        ValueError: an unknown library or an invalid value of an argument.

    Source of the crops: Szegedy et al., "Going Deeper with Convolutions" (2015), in torchvision's form.

    >>> import tempfile
    >>> import torch
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> for part in ("train", "val"):
    ...     for colour in ("green", "red"):
    ...         (folder / part / colour).mkdir(parents=True)
    ...         Image.new("RGB", (48, 40), colour).save(folder / part / colour / "1.png")
    >>> task = ImageFolder(folder, size=32)
    >>> task.class_names, task.train_size, task.data().train_inputs.shape
    (('green', 'red'), 2, (2, 3, 32, 32))
    >>> task.model(seed=0)(torch.from_numpy(task.data().test_inputs)).shape
    torch.Size([2, 2])
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: Network | None = None,
        *,
        size: int = 224,
        crop: float = 0.875,
        augment: bool = False,
        mean: Iterable[float] = (0.485, 0.456, 0.406),
        std: Iterable[float] = (0.229, 0.224, 0.225),
        batch_size: int = 64,
        skip_unreadable: bool = False,
        accelerated: Accelerated | None = None,
        name: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.size = whole("size", size, least=1)
        self.crop = number("crop", crop, above=0, most=1)
        self.mean, self.std = _channels("mean", mean), _channels("std", std, above=0)
        self._batch_size = whole("batch_size", batch_size, least=1)
        if accelerated is not None and not isinstance(accelerated, Accelerated):
            raise TypeError(f"accelerated must be an Accelerated, got {shown(accelerated)}")
        self.accelerated = accelerated
        self.augment = _drawn(augment, accelerated)
        self._network: Network = _default if model is None else model
        called = "residual" if model is None else _called(model, name)
        self._name = name or f"{self.path.resolve().name} {called} {self.size}"
        self._model_name = called

        train, test = _parts(self.path)
        self.class_names, self._files = _listing(train, test)
        self.skipped: tuple[Path, ...] = ()
        if skip_unreadable:
            self._skip()
        self._images_digest: str | None = None
        self._digest = self._hash()

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.path)!r}, {self._model_name!r}, size={self.size})"

    @property
    def name(self) -> str:
        return self._name

    @property
    def batch_size(self) -> int:
        return self._batch_size

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def engine(self) -> str:
        return "torch" if self.accelerated is None else "accelerate"

    # Not a cached property: the listing and its fingerprint travel with the task, so that no worker reads the folder again.
    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over everything that a trial's result depends on, except the folder's location and name.

        Up to 256 MiB of images are hashed by content, more images by their names and sizes.
        """
        return self._digest

    def files(self, part: Part) -> list[Path]:
        """The images of a part, in the order of their labels and names."""
        return [folder / name for folder, names in self._files[part] for name in names]

    def labels(self, part: Part) -> npt.NDArray[np.int64]:
        """The class of every image of a part, as an index into `class_names`."""
        return np.repeat(np.arange(self.classes), [len(names) for _, names in self._files[part]])

    def inputs(
        self, part: Part, indices: npt.NDArray[np.int64], drawn: tuple[int, int] | None = None
    ) -> npt.NDArray[np.float32]:
        if self.accelerated is None:
            return super().inputs(part, indices, drawn)
        random = self.augment and part == "train" and drawn is not None
        return np.stack(
            [
                self.image(part, int(i), np.random.default_rng((*(drawn or ()), int(i))) if random else None)
                for i in indices
            ]
        )

    def file(self, part: Part, index: int) -> Path:
        """The file of an image."""
        starts = self._starts[part]
        i = int(np.searchsorted(starts, index, side="right")) - 1
        folder, names = self._files[part][i]
        return folder / names[index - int(starts[i])]

    @functools.cached_property
    def _starts(self) -> dict[Part, npt.NDArray[np.int64]]:
        return {
            part: np.cumsum([0, *(len(names) for _, names in classes)])[:-1] for part, classes in self._files.items()
        }

    def image(self, part: Part, index: int, random: np.random.Generator | None = None) -> npt.NDArray[np.float32]:
        """An image in the form that the model sees, of shape (3, size, size).

        Args:
            part: "train" or "test".
            index: the index in `files`, from 0.
            random: random generator for the crop of an augmented training image; None for the centre crop.

        Raises:
            DataError: the file is not a readable image.
        """
        image = _opened(self.file(part, index))
        image = _middle(image, self.size, self.crop) if random is None else _area(image, self.size, random)
        pixels = (np.asarray(image, dtype=np.float32) / 255 - self.mean) / self.std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)

    def load(self) -> Data:
        """Every image, decoded.

        Raises:
            DataError: a file is not a readable image, or the images would take more than half of this machine's memory.
        """
        counts = {part: len(self.labels(part)) for part in _PARTS}
        needed, there = sum(counts.values()) * 3 * self.size**2 * 4, _memory()
        if there is not None and needed > there / 2:
            raise DataError(
                f"the {sum(counts.values()):,} images of {self.path} would take {needed / 2**30:,.0f} GiB of this machine's "
                f"{there / 2**30:,.0f} GiB of memory; with accelerated=Accelerated() they are read as they are needed"
            )
        arrays: dict[str, npt.NDArray[np.float32]] = {}
        for part in _PARTS:
            images = np.empty((counts[part], 3, self.size, self.size), dtype=np.float32)
            for i in range(len(images)):
                images[i] = self.image(part, i)
            arrays[part] = images
        return Data(arrays["train"], self.labels("train"), arrays["test"], self.labels("test"), self.classes)

    def model(self, seed: int) -> torch.nn.Module:
        """A freshly initialised model; torch's random state stays unchanged.

        Raises:
            ModuleNotFoundError: the model's library is not installed.
            ImportError: the library is installed, but cannot be used with this torch.
            ValueError: the library has no such model.
        """
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            module = _made(self._network, self.classes)
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"model must make a torch.nn.Module, got {shown(module)}")
        return module

    def by(self, accelerated: Accelerated | None, *, augment: bool = False) -> ImageFolder:
        """The same images and model with a different `accelerated`, without listing the folder again."""
        other = copy.copy(self)
        other.accelerated, other.augment = accelerated, _drawn(augment, accelerated)
        other._digest = other._hash()
        return other

    def check(self) -> None:
        """Check that the model accepts the images, and has an output for each class.

        Raises:
            ValueError: the model refuses the images, or the number of outputs is not the number of classes.
        """
        import torch

        model = self.model(0).eval()
        images = torch.from_numpy(np.stack([self.image("train", 0)] * 2))
        try:
            with torch.inference_mode():
                found = tuple(model(images).shape)
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            raise ValueError(
                f"model {self._model_name!r} does not take images of {self.size} × {self.size} pixels; give another size or "
                f"model: {error}"
            ) from error
        if found != (2, self.classes):
            raise ValueError(
                f"model {self._model_name!r} must give {self.classes} logits per image, one for each class, but gave an output "
                f"of shape {found} for 2 images"
            )

    def _skip(self) -> None:
        """Leave out the files that cannot be decoded."""
        skipped: list[Path] = []
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # Pillow decodes outside Python's lock
            for part, classes in self._files.items():
                kept = []
                for folder, names in classes:
                    fine = list(pool.map(lambda name, folder=folder: _readable(folder / name), names))
                    kept.append((folder, tuple(n for n, ok in zip(names, fine, strict=True) if ok)))
                    skipped += [folder / n for n, ok in zip(names, fine, strict=True) if not ok]
                    if not kept[-1][1]:
                        raise DataError(f"none of the {len(names)} images in {folder} can be read")
                self._files[part] = kept
        self.skipped = tuple(skipped)
        if skipped:
            few = ", ".join(str(file) for file in skipped[:3]) + (", …" if len(skipped) > 3 else "")
            warnings.warn(f"{len(skipped)} unreadable images were skipped: {few}", RuntimeWarning, stacklevel=3)

    def _hash(self) -> str:
        settings = {name: getattr(self, name) for name in ("class_names", "size", "crop", "augment", "mean", "std")}
        settings["model"] = self._model_name
        if self.accelerated is not None:
            how = self.accelerated
            settings["accelerated"] = (how.mixed_precision, how.accumulate, how.processes)
        content = repr((type(self).__qualname__, settings, self._images_hash()))
        return hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()

    def _images_hash(self) -> str:
        if self._images_digest is None:
            digest = hashlib.sha256()
            sizes = {part: [file.stat().st_size for file in self.files(part)] for part in self._files}
            contents = sum(map(sum, sizes.values())) <= WHOLE
            for part, classes in self._files.items():
                found = iter(sizes[part])
                for folder, names in classes:
                    for name in names:
                        text = f"\0{part}\0{folder.name}\0{name}\0{next(found)}"
                        digest.update(text.encode(errors="surrogateescape"))
                        if contents:
                            digest.update((folder / name).read_bytes())
            self._images_digest = digest.hexdigest()
        return self._images_digest


# --- the folder --------------------------------------------------------------------------------------------------------


def _parts(path: Path) -> tuple[Path, Path]:
    if not path.is_dir():
        raise DataError(f"{path} is not a folder{'' if path.exists() else ': there is nothing'}; {_LAYOUT}")
    tests = [path / name for name in ("val", "test") if (path / name).is_dir()]
    if not (path / "train").is_dir() or not tests:
        missing = "train" if not (path / "train").is_dir() else "val"
        there = sorted(entry.name for entry in os.scandir(path))[:5]
        raise DataError(f"{path} has no folder {missing!r} (it has {', '.join(there) or 'nothing'}); {_LAYOUT}")
    return path / "train", tests[0]


Listing = list[tuple[Path, tuple[str, ...]]]


def _listing(train: Path, test: Path) -> tuple[tuple[str, ...], dict[Part, Listing]]:
    """The names of the classes, and for both parts each class's folder with the folder's images, all sorted."""
    classes = {part: _classes(part) for part in (train, test)}
    names = tuple(classes[train])
    if len(names) == 1:
        raise DataError(f"{train} has a single class, {names[0]!r}; at least two are needed")
    for here, there in ((test, train), (train, test)):
        missing = [name for name in classes[there] if name not in classes[here]]
        if missing:
            few = ", ".join(map(repr, missing[:3])) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            raise DataError(f"{here} has no class {few}, which {there} has; both need the same classes")
    return names, {"train": list(classes[train].values()), "test": [classes[test][name] for name in names]}


def _classes(part: Path) -> dict[str, tuple[Path, tuple[str, ...]]]:
    entries = sorted((e for e in os.scandir(part) if not e.name.startswith(".")), key=lambda e: e.name)
    folders = [Path(e.path) for e in entries if e.is_dir()]
    if not folders:
        loose = sum(e.name.lower().endswith(SUFFIXES) for e in entries)
        found = f"{loose} images that are in no class's folder" if loose else "nothing that is a folder"
        raise DataError(f"{part} has no classes: it holds {found}; {_LAYOUT}")
    return {folder.name: (folder, _images(folder)) for folder in folders}


def _images(folder: Path) -> tuple[str, ...]:
    """The images in a class's folder and in all folders below, by their relative path."""
    found: list[str] = []
    others: list[str] = []
    for place, below, names in os.walk(folder, followlinks=True):
        below[:] = [name for name in below if not name.startswith(".")]
        inside = os.path.relpath(place, folder)
        for name in names:
            if not name.startswith("."):
                path = name if inside == "." else f"{inside}/{name}".replace(os.sep, "/")
                (found if name.lower().endswith(SUFFIXES) else others).append(path)
    if not found:
        holds = f"; it holds {min(others)}" if others else ""
        raise DataError(f"{folder} has no images ({', '.join(SUFFIXES)}){holds}")
    return tuple(sorted(found))


# --- an image ----------------------------------------------------------------------------------------------------------


def _opened(file: Path) -> Image.Image:
    """The image of a file, decoded, upright, in RGB."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            if image.mode == "P" and "transparency" in image.info:
                return ImageOps.exif_transpose(image).convert("RGBA").convert("RGB")
            return ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError:
        raise DataError(f"{file} is no longer there") from None
    # The error that Pillow raises for damaged files depends on the format.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{file} is not a readable image ({str(error) or type(error).__name__}); repair or remove it, or give "
            "skip_unreadable=True"
        ) from error


def _readable(file: Path) -> bool:
    try:
        _opened(file)
    except DataError:
        return False
    return True


def _middle(image: Image.Image, size: int, crop: float) -> Image.Image:
    from PIL.Image import Resampling

    shorter, (width, height) = max(size, round(size / crop)), image.size
    if width <= height:
        width, height = shorter, int(shorter * height / width)
    else:
        width, height = int(shorter * width / height), shorter
    image = image.resize((width, height), Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def _area(image: Image.Image, size: int, random: np.random.Generator) -> Image.Image:
    """A random crop with a random aspect ratio, mirrored with probability 1/2."""
    from PIL.Image import Resampling, Transpose

    width, height = image.size
    left, top, w, h = (width - min(image.size)) // 2, (height - min(image.size)) // 2, min(image.size), min(image.size)
    for _ in range(10):
        area, aspect = width * height * random.uniform(0.08, 1.0), math.exp(random.uniform(*_ASPECTS))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            left, top = (int(random.integers(n + 1)) for n in (width - across, height - down))
            w, h = across, down
            break
    image = image.resize((size, size), Resampling.BILINEAR, box=(left, top, left + w, top + h))
    return image.transpose(Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else image


def _channels(name: str, values: Iterable[float], above: float | None = None) -> tuple[float, float, float]:
    found = tuple(number(f"{name} of a channel", value, above=above) for value in values)
    if len(found) != 3:
        raise ValueError(f"{name} must have three values, for red, green and blue, got {shown(found)}")
    return found[0], found[1], found[2]


def _drawn(augment: bool, accelerated: Accelerated | None) -> bool:
    if augment and accelerated is None:
        raise ValueError("augment=True draws every epoch's images anew, which needs accelerated=Accelerated()")
    return bool(augment)


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None


# --- the model ---------------------------------------------------------------------------------------------------------


def _default(classes: int) -> torch.nn.Module:
    from laju.lab.trials.models.residual import residual

    return residual(classes)


def _called(model: Any, name: str | None) -> str:
    """The name of a model in a task's name and fingerprint."""
    if isinstance(model, str):
        library, colon, rest = model.partition(":")
        if library not in LIBRARIES or not colon or not rest:
            raise ValueError(
                f"model must be 'timm:NAME' or 'torchvision:NAME', or a function from the number of classes to a module, got "
                f"{shown(model)}{nearest(library, LIBRARIES)}"
            )
        if find_spec(library) is None:
            raise missing(f"model {model!r}", library)
        return model
    if not callable(model):
        raise TypeError(
            f"model must be text such as 'timm:resnet18', or a function from the number of classes to a module, got "
            f"{shown(model)}"
        )
    called = getattr(model, "__qualname__", None)
    if called is None or "<lambda>" in called:
        if name is None:
            raise ValueError(f"model {shown(model)} has no name that tells it from others; give name=…")
        return f"function of {name}"
    return f"{model.__module__}.{called}"


def _made(network: Network, classes: int) -> torch.nn.Module:
    if not isinstance(network, str):
        return network(classes)
    library, _, name = network.partition(":")
    try:
        with needed_by(f"model {network!r}"):
            if library == "timm":
                import timm

                known = timm.list_models()
            else:
                from torchvision import models

                known = models.list_models(module=models)  # models that classify images
    except MissingPackage:
        raise
    except (RuntimeError, OSError, ImportError, AttributeError) as error:  # a build for another torch
        raise ImportError(
            f"model {network!r} needs {library}, which cannot be imported ({error}): it, or the torchvision that it uses, is "
            "not of a build for this torch",
            name=library,
        ) from error
    if name.partition(".")[0] not in known:
        raise ValueError(f"{library} has no model {name!r}{nearest(name, known)}")
    module: torch.nn.Module = (
        timm.create_model(name, pretrained=False, num_classes=classes)
        if library == "timm"
        else models.get_model(name, weights=None, num_classes=classes)
    )
    return module
