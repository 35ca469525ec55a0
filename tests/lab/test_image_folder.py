import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from laju.lab import compare
from laju.lab.trials.tasks import DataError
from laju.lab.trials.tasks.image_folder import Accelerated, ImageFolder

from .pictures import SHAPES, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "shapes", train=4, test=2)


def linear(classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, classes))


def wide(classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, classes + 1))


def no_module(classes: int) -> torch.nn.Module:
    return classes  # type: ignore[return-value]


# --- what is read ------------------------------------------------------------------------------------------------------


def test_every_image_has_the_label_of_its_folder(folder: Path) -> None:
    task = ImageFolder(folder, linear, size=16)
    assert task.class_names == SHAPES
    for part, name, n in (("train", "train", 4), ("test", "val", 2)):
        files = task.files(part)
        assert len(files) == n * len(SHAPES)
        assert [file.parent.name for file in files] == [SHAPES[label] for label in task.labels(part)]
        assert all(file.parents[1].name == name for file in files)
        assert [task.file(part, i) for i in range(len(files))] == files
    data = task.data()
    assert (data.train_inputs.shape, data.test_inputs.shape, data.classes) == ((12, 3, 16, 16), (6, 3, 16, 16), 3)
    assert np.array_equal(data.train_labels, task.labels("train"))
    assert np.array_equal(data.test_inputs[5], task.image("test", 5))


def test_images_below_a_class_count_and_hidden_and_other_files_do_not(folder: Path) -> None:
    place = folder / "train" / "circle"
    (place / "more").mkdir()
    shutil.copy(place / "0001.jpg", place / "more" / "x.JPEG")
    shutil.copy(place / "0001.jpg", place / ".hidden.jpg")
    (place / "readme.txt").write_text("what these are")
    (folder / "train" / ".cache").mkdir()
    task = ImageFolder(folder, size=16)
    assert [str(file.relative_to(place)) for file in task.files("train")[:5]] == [
        "0000.PNG",
        "0001.jpg",
        "0002.PNG",
        "0003.jpg",
        "more/x.JPEG",
    ]
    assert task.train_size == 13


def test_the_test_images_may_be_in_a_folder_called_test(folder: Path) -> None:
    before = ImageFolder(folder).labels("test")
    (folder / "val").rename(folder / "test")
    assert np.array_equal(ImageFolder(folder).labels("test"), before)


def test_pixels_are_those_of_the_middle_less_the_mean_over_the_deviation(folder: Path) -> None:
    # 40 × 20 pixels with a crop of 0.5 and a size of 10: no change of scale, and the middle is columns 15 to 24, rows 5 to 14.
    pixels = np.random.default_rng(0).integers(0, 256, size=(20, 40, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "train" / "circle" / "0000.PNG")
    image = ImageFolder(folder, size=10, crop=0.5, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.4)).image("train", 0)
    expected = (pixels[5:15, 15:25] / 255 - [0.5, 0.4, 0.3]) / [0.1, 0.2, 0.4]
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_images_of_other_modes_become_rgb(folder: Path, mode: str) -> None:
    file = folder / "train" / "circle" / "0000.PNG"
    image = Image.new("RGB", (30, 30), (255, 255, 255)).convert(mode)
    file.unlink()
    image.save(file.with_suffix(".tif"))
    found = ImageFolder(folder, size=16, mean=(0, 0, 0), std=(1, 1, 1)).image("train", 0)
    assert np.array_equal(found, np.ones((3, 16, 16)))


def test_a_picture_that_lies_on_its_side_is_turned_as_its_camera_says(folder: Path) -> None:
    image = Image.new("RGB", (32, 32), "black")
    image.paste("white", (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(folder / "train" / "circle" / "0000.PNG", exif=exif)
    found = ImageFolder(folder, size=16, crop=1, mean=(0, 0, 0), std=(1, 1, 1)).image("train", 0)
    assert (found[:, :6] == 0).all()
    assert (found[:, 10:] == 1).all()


def test_augmented_images_are_new_in_every_epoch_and_the_same_for_a_seed(folder: Path) -> None:
    task = ImageFolder(folder, size=16, augment=True, accelerated=Accelerated())
    some = np.array([3, 0, 7])
    first = task.inputs("train", some, (0, 0))
    assert first.shape == (3, 3, 16, 16)
    assert np.array_equal(first, task.inputs("train", some, (0, 0)))
    assert np.array_equal(first[::-1], task.inputs("train", some[::-1].copy(), (0, 0)))
    for other in ((0, 1), (1, 0)):
        assert not np.array_equal(first, task.inputs("train", some, other))
    tests = task.inputs("test", some[1:2], (0, 0))
    assert np.array_equal(tests[0], task.image("test", 0))


def test_images_that_are_read_when_needed_are_those_in_memory(folder: Path) -> None:
    memory = ImageFolder(folder, size=16)
    lazy = ImageFolder(folder, size=16, accelerated=Accelerated())
    indices = np.array([5, 0, 11])
    assert np.array_equal(memory.inputs("train", indices), lazy.inputs("train", indices, (0, 3)))


# --- what is no folder of images ---------------------------------------------------------------------------------------


def clear(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (shutil.rmtree, "is not a folder: there is nothing; the layout is train/CLASS"),
    "no train": (lambda f: shutil.rmtree(f / "train"), r"has no folder 'train' \(it has val\)"),
    "no val": (lambda f: shutil.rmtree(f / "val"), r"has no folder 'val' \(it has train\)"),
    "an empty class": (lambda f: clear(f / "train" / "cross"), r"train/cross has no images \(\.bmp"),
    "an empty class of the test": (lambda f: clear(f / "val" / "cross"), r"val/cross has no images"),
    "another class": (
        lambda f: (f / "val" / "cross").rename(f / "val" / "tick"),
        "val has no class 'cross', which .*train has",
    ),
    "one more class": (lambda f: shutil.copytree(f / "val" / "cross", f / "val" / "tick"), "train has no class 'tick'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_folder_of_another_layout_is_an_error_that_says_what_is_missing(folder: Path, case: str) -> None:
    spoil, message = WRONG[case]
    spoil(folder)
    with pytest.raises(DataError, match=message):
        ImageFolder(folder)


def test_a_single_class_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train has a single class, 'circle'; at least two"):
        ImageFolder(write_folder(tmp_path / "one", shapes=("circle",)))


def test_images_in_no_folder_of_a_class_are_an_error(folder: Path) -> None:
    for part in ("train", "val"):
        for shape in SHAPES:
            for file in (folder / part / shape).iterdir():
                file.rename(folder / part / f"{shape}-{file.name}")
            (folder / part / shape).rmdir()
    with pytest.raises(DataError, match="train has no classes: it holds 12 images that are in no class's folder"):
        ImageFolder(folder)


def text(file: Path) -> None:
    file.write_text("not a picture")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("spoil", [text, cut, empty])
@pytest.mark.parametrize("name", ["train/cross/0001.jpg", "val/square/0000.PNG"])
def test_an_unreadable_image_is_named(folder: Path, spoil: Callable[[Path], None], name: str) -> None:
    spoil(folder / name)
    with pytest.raises(DataError, match=rf"{name} is not a readable image \(.+\); .* skip_unreadable=True"):
        ImageFolder(folder, size=16).data()


def test_unreadable_images_are_skipped_on_request_and_counted(folder: Path) -> None:
    names = ["train/cross/0001.jpg", "val/square/0000.PNG"]
    for name in names:
        cut(folder / name)
    with pytest.warns(RuntimeWarning, match="2 unreadable images were skipped: .*0001.jpg, .*0000.PNG"):
        task = ImageFolder(folder, size=16, skip_unreadable=True)
    assert [str(file.relative_to(folder)) for file in task.skipped] == names
    assert not set(task.skipped) & {*task.files("train"), *task.files("test")}
    assert np.bincount(task.data().train_labels).tolist() == [4, 3, 4]
    assert np.bincount(task.data().test_labels).tolist() == [2, 2, 1]


def test_a_class_of_which_no_image_can_be_read_is_an_error_even_then(folder: Path) -> None:
    for file in (folder / "val" / "cross").iterdir():
        text(file)
    with pytest.raises(DataError, match=r"none of the 2 images in .*val/cross can be read"):
        ImageFolder(folder, skip_unreadable=True)


def test_images_that_memory_does_not_hold_are_not_loaded(folder: Path) -> None:
    with pytest.raises(DataError, match=r"18 images .* would take 201,\d\d\d GiB .* accelerated=Accelerated\(\)"):
        ImageFolder(folder, size=1_000_000).data()


# --- what a result depends on ------------------------------------------------------------------------------------------


def test_the_fingerprint_is_that_of_the_images_wherever_they_are(folder: Path, tmp_path: Path) -> None:
    task = ImageFolder(folder, size=16)
    assert ImageFolder(shutil.copytree(folder, tmp_path / "moved"), size=16).fingerprint == task.fingerprint
    how = Accelerated()
    others = [
        ImageFolder(folder, linear, size=16),
        ImageFolder(folder, size=17),
        ImageFolder(folder, size=16, mean=(0, 0, 0)),
        ImageFolder(folder, size=16, accelerated=how),
        ImageFolder(folder, size=16, accelerated=replace(how, mixed_precision="bf16")),
        ImageFolder(folder, size=16, accelerated=replace(how, processes=2)),
        ImageFolder(folder, size=16, accelerated=replace(how, accumulate=2)),
        ImageFolder(folder, size=16, accelerated=how, augment=True),
    ]
    assert ImageFolder(folder, size=16, accelerated=replace(how, workers=2)).fingerprint == others[3].fingerprint
    assert task.by(how, augment=True).fingerprint == others[-1].fingerprint
    Image.new("RGB", (40, 40), "red").save(folder / "train" / "circle" / "0000.PNG")
    others.append(ImageFolder(folder, size=16))
    assert len({task.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_a_task_travels_without_its_arrays_and_is_not_listed_again(folder: Path) -> None:
    task = ImageFolder(folder, size=16)
    task.data()
    sent = pickle.dumps(task)
    assert len(sent) < task.data().train_inputs.nbytes
    shutil.rmtree(folder)
    received = pickle.loads(sent)
    assert (received.fingerprint, received.train_size) == (task.fingerprint, 12)


# --- the model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [None, linear])
def test_a_seed_gives_the_same_weights_and_leaves_random_numbers_alone(folder: Path, network: object) -> None:
    task = ImageFolder(folder, network, size=16)  # type: ignore[arg-type]
    before = torch.get_rng_state()
    a, b, c = (torch.nn.utils.parameters_to_vector(task.model(seed).parameters()) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    task.check()


@pytest.mark.parametrize(
    ("model", "size", "error", "message"),
    [
        (wide, 16, ValueError, r"test_image_folder.wide' must give 3 logits .* gave an output of shape \(2, 4\)"),
        (linear, 17, ValueError, r"linear' does not take images of 17 × 17 pixels; .*\(2x867 and 768x3\)"),
        (no_module, 16, TypeError, "must make a torch.nn.Module, got 3"),
    ],
)
def test_a_model_that_does_not_fit_is_found_before_training(
    folder: Path, model: Callable[[int], torch.nn.Module], size: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ImageFolder(folder, model, size=size).check()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": "keras:resnet18"}, ValueError, "model must be 'timm:NAME' or 'torchvision:NAME', or a function"),
        ({"model": "tim:resnet18"}, ValueError, "got 'tim:resnet18'; did you mean 'timm'"),
        ({"model": "timm"}, ValueError, "got 'timm'"),
        ({"model": 18}, TypeError, "model must be text such as 'timm:resnet18', or a function"),
        ({"model": lambda classes: linear(classes)}, ValueError, "has no name that tells it from others; give name="),
        ({"size": 0}, ValueError, "size must be a whole number of at least 1, got 0"),
        ({"crop": 1.5}, ValueError, "crop must be a finite number above 0 and of at most 1, got 1.5"),
        ({"std": (1, 0, 1)}, ValueError, "std of a channel must be a finite number above 0, got 0"),
        ({"mean": (1, 0)}, ValueError, "mean must have three values"),
        ({"augment": True}, ValueError, "augment=True .* needs accelerated"),
        ({"accelerated": "bf16"}, TypeError, "accelerated must be an Accelerated, got 'bf16'"),
    ],
)
def test_wrong_arguments_are_named(
    folder: Path, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ImageFolder(folder, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_library_that_is_not_installed_is_named(folder: Path, library: str) -> None:
    if find_spec(library) is not None:
        pytest.skip(f"{library} is installed")
    with pytest.raises(
        ModuleNotFoundError, match=f"'{library}:resnet18' needs the package {library}, .* pip install {library}"
    ):
        ImageFolder(folder, f"{library}:resnet18")


# --- training ----------------------------------------------------------------------------------------------------------


def test_compare_trains_images_in_memory_and_as_they_are_needed_alike(folder: Path) -> None:
    schedules = {"constant": 0.05, "cosine": "cosine(0.1, total=6)"}
    options = {"size": 16, "batch_size": 5, "name": "shapes"}
    found = [
        compare(schedules, ImageFolder(folder, accelerated=how, **options), epochs=2, seeds=1, jobs=1)  # type: ignore[arg-type]
        for how in (None, Accelerated(cpu=True), Accelerated(cpu=True, workers=2))
    ]
    assert found[0].records() == found[1].records() == found[2].records()
    assert len(found[0].records()) == 4
