"""Checkpoints that training programs write, merged: what comes out, what is told, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest

from laju import constant, linear, wsd
from laju.averaging import Cooldown, Latest, Tail

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
from safetensors import safe_open  # noqa: E402

from laju.averaging.merging import merge  # noqa: E402

AT = (600, 700, 800, 900, 1000)
LIKE = linear(1, 0, total=400)


class Net(torch.nn.Module):
    """Tied weights, batch statistics, a counter, and two dtypes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.norm, self.half = torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 3).bfloat16()


def states() -> list[dict[str, torch.Tensor]]:
    """The state dicts of five checkpoints, with numbers that a float32 mean keeps."""
    torch.manual_seed(0)
    found = []
    for update in AT:
        net = Net()
        torch.nn.init.normal_(net.norm.running_mean)
        net.norm.num_batches_tracked.fill_(update)
        found.append(net.state_dict())
    return found


def mean(name: str, average=None) -> torch.Tensor:
    shares = torch.from_numpy((average or Cooldown(LIKE)).weights(AT))
    return torch.einsum("k,k...->...", shares, torch.stack([state[name].double() for state in states()]))


def as_safetensors(folder: Path, **metadata: str) -> list[Path]:
    paths = [folder / f"step{update}.safetensors" for update in AT]
    for path, state in zip(paths, states(), strict=True):
        kept = {name: tensor for name, tensor in state.items() if name != "head.weight"}  # as safetensors wants ties
        safetensors.save_file(kept, path, metadata={"format": "pt", **metadata})
    return paths


def as_torch(folder: Path) -> list[Path]:
    paths = [folder / f"{letter}.pt" for letter in "abcde"]
    for path, state, update in zip(paths, states(), AT, strict=True):
        torch.save({"model": state, "optimizer": {"state": {0: torch.ones(9)}}, "step": update, "name": "run"}, path)
    return paths


def test_a_merge_of_safetensors_is_the_mean_and_says_what_was_merged(tmp_path: Path) -> None:
    result = merge(as_safetensors(tmp_path), LIKE, tmp_path / "out.safetensors")
    merged = safetensors.load_file(tmp_path / "out.safetensors")
    for name in ("embedding.weight", "half.weight", "norm.running_mean"):
        assert torch.allclose(merged[name].double(), mean(name), atol=1e-6 if name != "half.weight" else 4e-3)
    assert merged["half.weight"].dtype == torch.bfloat16
    assert merged["norm.num_batches_tracked"] == 1000
    assert result.kept == ("norm.num_batches_tracked",)
    assert set(result.statistics) == {"norm.running_mean", "norm.running_var"}
    assert [part.update for part in result.parts] == list(AT)
    assert {part.source for part in result.parts} == {"its name"}
    with safe_open(str(tmp_path / "out.safetensors"), "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    note = json.loads(metadata["laju"])
    assert [row["update"] for row in note["merged"]] == list(AT)
    assert sum(row["share"] for row in note["merged"]) == pytest.approx(1)
    # Means of a merge and a later checkpoint: the merge knows its update.
    again = merge([tmp_path / "out.safetensors", tmp_path / "step600.safetensors"], Latest(2))
    assert [part.update for part in again.parts] == [600, 1000]


def test_a_merge_of_bfloat16_is_rounded_once(tmp_path: Path) -> None:
    for update, value in ((1, 1.0), (2, 1.0078125), (3, 1.0078125), (4, 1.0078125)):
        safetensors.save_file({"w": torch.full((2,), value, dtype=torch.bfloat16)}, tmp_path / f"{update}.safetensors")
    merge([tmp_path / f"{i}.safetensors" for i in (1, 2, 3, 4)], Latest(4), tmp_path / "out.safetensors")
    assert safetensors.load_file(tmp_path / "out.safetensors")["w"].tolist() == [1.0078125] * 2


def test_a_merge_of_torch_files_loads_strictly_and_leaves_the_optimizer_out(tmp_path: Path) -> None:
    result = merge(as_torch(tmp_path), LIKE, tmp_path / "out.pt")
    content = torch.load(tmp_path / "out.pt", weights_only=True)
    assert result.unmerged == ("optimizer",)
    assert set(content) == {"model", "step", "name", "laju"}
    assert content["step"] == 1000
    net = Net()
    net.load_state_dict(content["model"])
    assert torch.allclose(net.embedding.weight.double(), mean("embedding.weight"), atol=1e-6)
    assert content["model"]["head.weight"].data_ptr() == content["model"]["embedding.weight"].data_ptr()
    assert {part.source for part in result.parts} == {"its 'step'"}


def test_a_state_dict_alone_stays_a_state_dict(tmp_path: Path) -> None:
    paths = [tmp_path / f"weights-{update}.pth" for update in AT]
    for path, state in zip(paths, states(), strict=True):
        torch.save(state, path)
    merge(paths, Tail("50%"), tmp_path / "out.pth")
    state = torch.load(tmp_path / "out.pth", weights_only=True)
    Net().load_state_dict(state)
    assert torch.allclose(state["embedding.weight"].double(), mean("embedding.weight", Tail(500)), atol=1e-6)
    assert json.loads(state._metadata["laju"]["merge"])["average"] == "tail:50%"


def sharded(folder: Path) -> list[Path]:
    """Folders as Transformers writes them: two shards, an index, a configuration, and the state of the trainer."""
    folders = []
    for update, state in zip(AT, states(), strict=True):
        place = folder / f"checkpoint-{update}"
        place.mkdir()
        shards = {
            "model-00001-of-00002.safetensors": ["embedding.weight"],
            "model-00002-of-00002.safetensors": [n for n in state if n not in ("embedding.weight", "head.weight")],
        }
        for file, names in shards.items():
            safetensors.save_file({n: state[n] for n in names}, place / file, metadata={"format": "pt"})
        index = {"metadata": {}, "weight_map": {name: file for file, names in shards.items() for name in names}}
        (place / "model.safetensors.index.json").write_text(json.dumps(index))
        (place / "config.json").write_text('{"model_type": "net"}')
        (place / "trainer_state.json").write_text(json.dumps({"global_step": update}))
        torch.save({}, place / "optimizer.pt")
        folders.append(place)
    return folders


def test_sharded_folders_are_merged_shard_by_shard(tmp_path: Path) -> None:
    result = merge(sharded(tmp_path), LIKE, tmp_path / "merged")
    assert sorted(file.name for file in (tmp_path / "merged").iterdir()) == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    merged = safetensors.load_file(tmp_path / "merged" / "model-00001-of-00002.safetensors")
    assert torch.allclose(merged["embedding.weight"].double(), mean("embedding.weight"), atol=1e-6)
    assert {part.source for part in result.parts} == {"trainer_state.json"}
    assert result.unmerged == ("optimizer.pt",)
    again = merge([tmp_path / "merged", tmp_path / "checkpoint-600"], Latest(2), at=[1000, 600])
    assert [part.update for part in again.parts] == [600, 1000]


def test_the_trunk_and_at_are_taken_and_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    paths = as_safetensors(tmp_path)
    there = merge(paths, linear(0.1, 0, total=400), trunk=constant(0.2), at=AT, within=1)
    back = merge(paths[::-1], linear(0.1, 0, total=400), trunk=constant(0.2), at=AT[::-1], within=1)
    assert there.parts == back.parts
    assert there.parts[0].share == pytest.approx(1 - 0.5 * 0.87625)


@pytest.mark.parametrize(
    ("names", "updates"),
    [
        (["step_8k.pt", "step_9k.pt"], [8000, 9000]),
        (["llama-7b-100.pt", "llama-7b-200.pt"], [100, 200]),
        (["gpt2-seed3-100.pt", "gpt2-seed3-200.pt"], [100, 200]),
        (["epoch=1-step=300.ckpt", "epoch=2-step=600.ckpt"], [300, 600]),
        (["global_step10.bin", "global_step20.bin"], [10, 20]),
        (["iter_0000500.pth", "iter_0001000.pth"], [500, 1000]),
        (["1k.pt", "2k.pt"], [1000, 2000]),
        (["step-1.5k.pt", "step-2k.pt"], [1500, 2000]),
        (["iter_1,000.pt", "iter_2,000.pt"], [1000, 2000]),
        (["step_1e3.pt", "step_2e3.pt"], [1000, 2000]),
        (["step-1M.pt", "step-2M.pt"], [10**6, 2 * 10**6]),
    ],
)
def test_the_update_is_read_from_the_name(tmp_path: Path, names: list[str], updates: list[int]) -> None:
    for name in names:
        torch.save({"w": torch.ones(1)}, tmp_path / name)
    assert [part.update for part in merge([tmp_path / name for name in names], Latest(2)).parts] == updates


@pytest.mark.parametrize(
    "names", [["a.pt", "b.pt"], ["epoch-1.pt", "epoch-2.pt"], ["a1c2.pt", "a3c4.pt"], ["step1.2.3.pt", "step2.pt"]]
)
def test_a_name_that_tells_no_update_is_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        torch.save({"w": torch.ones(1)}, tmp_path / name)
    with pytest.raises(ValueError, match="pass the updates of each checkpoint as at"):
        merge([tmp_path / name for name in names], Latest(2))


def changed(folder: Path, name: str, tensor: torch.Tensor | None) -> list[Path]:
    """The safetensors checkpoints, of which one has another tensor, or none, by this name."""
    paths = as_safetensors(folder)
    state = safetensors.load_file(paths[1])
    if tensor is None:
        del state[name]
    else:
        state[name] = tensor
    safetensors.save_file(state, paths[1])
    return paths


@pytest.mark.parametrize(
    ("name", "tensor", "says"),
    [
        ("embedding.weight", torch.ones(5, 4), r"'embedding.weight' has shape \(5, 4\) in .*step700.* and \(5, 3\) in"),
        ("embedding.weight", torch.ones(5, 3).half(), "dtype F16 in .*step700.* and F32 in"),
        ("embedding.weight", None, "step700.safetensors lacks the tensor 'embedding.weight', which"),
        ("more", torch.ones(2), "step1000.safetensors lacks the tensor 'more', which .*step700"),
        (
            "embedding.weight",
            torch.full((5, 3), torch.nan),
            "'embedding.weight' has a number that is not finite in .*step700",
        ),
    ],
)
def test_checkpoints_that_do_not_fit_together_are_refused(tmp_path: Path, name, tensor, says) -> None:
    with pytest.raises(ValueError, match=says):
        merge(changed(tmp_path, name, tensor), LIKE, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
    assert not list(tmp_path.glob(".*"))


def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    for update in (1, 2):
        safetensors.save_file({"q": torch.full((4,), update, dtype=torch.int8)}, tmp_path / f"{update}.safetensors")
    with pytest.raises(ValueError, match=r"'q' has whole numbers .* have no mean"):
        merge([tmp_path / "1.safetensors", tmp_path / "2.safetensors"], Latest(2), tmp_path / "out.safetensors")


def test_eight_bit_numbers_are_quantized_weights_and_refused(tmp_path: Path) -> None:
    for update in (1, 2):
        weights = {"w": torch.full((4,), float(update)).to(torch.float8_e4m3fn), "w_scale_inv": torch.ones(1)}
        safetensors.save_file(weights, tmp_path / f"{update}.safetensors")
    with pytest.raises(ValueError, match=r"'w' is quantized .* merge checkpoints from before quantization"):
        merge([tmp_path / "1.safetensors", tmp_path / "2.safetensors"], Latest(2))


def test_a_mask_of_infinities_that_never_changes_is_kept(tmp_path: Path) -> None:
    mask = torch.full((3, 3), -torch.inf).triu(1)
    for update in (1, 2):
        torch.save({"mask": mask, "w": torch.full((2,), float(update))}, tmp_path / f"{update}.pt")
    merge([tmp_path / "1.pt", tmp_path / "2.pt"], Latest(2), tmp_path / "out.pt")
    out = torch.load(tmp_path / "out.pt", weights_only=True)
    assert torch.equal(out["mask"], mask)
    assert out["w"].tolist() == [1.5, 1.5]


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_a_pickle_is_refused_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(1), "evil": Evil()}, "step1.pt")
    Path("step2.pt").write_bytes(pickle.dumps({"w": Evil()}))
    for name in ("step1.pt", "step2.pt"):
        with pytest.raises(ValueError, match=f"{name} is a pickle that holds more than tensors"):
            merge([name], Latest(1))
    assert not Path("ran").exists()


def test_a_cooldown_that_the_checkpoints_cannot_stand_for_is_refused_with_how_close_they_come(tmp_path: Path) -> None:
    paths = as_safetensors(tmp_path)
    with pytest.raises(
        ValueError, match=r"off by up to 87% of the .* within=0.25; the first checkpoint is of update 900"
    ):
        merge(paths[3:], wsd(1, total=800, cooldown=800), at=[900, 1000])
    with pytest.raises(ValueError, match=r"up to 50% .* 2 of the checkpoints are of its updates, 600 to 1,000"):
        merge([paths[0], paths[-1]], LIKE)
    with pytest.raises(ValueError, match="has 2,000 updates, which is more than the run's 1,000"):
        merge(paths, linear(1, 0, total=2000))


def test_the_output_is_never_an_input_and_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = as_safetensors(tmp_path)
    (tmp_path / "link.safetensors").symlink_to(paths[0])
    (tmp_path / "hard.safetensors").hardlink_to(paths[0])
    for out in (paths[2], tmp_path / "link.safetensors", tmp_path / "hard.safetensors"):
        with pytest.raises(ValueError, match="out must not be one of the checkpoints"):
            merge(paths, LIKE, out)
    (tmp_path / "old.safetensors").write_bytes(b"old")
    monkeypatch.setattr(safetensors, "save_file", lambda tensors, path, metadata: (path.touch(), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        merge(paths, LIKE, tmp_path / "old.safetensors")
    assert (tmp_path / "old.safetensors").read_bytes() == b"old"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("out.pt", "out must end with .safetensors"),
        ("folder", "out must be a file"),
        ("nowhere/out.safetensors", "there is no folder"),
    ],
)
def test_an_output_that_does_not_fit_is_refused(tmp_path: Path, out: str, says: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises((ValueError, OSError), match=says):
        merge(as_safetensors(tmp_path), LIKE, tmp_path / out)


def test_a_folder_is_written_new(tmp_path: Path) -> None:
    folders = sharded(tmp_path)
    for out in (folders[0], folders[1] / "config.json"):
        with pytest.raises(ValueError, match=r"out must (not be one of the checkpoints|be a new or empty folder)"):
            merge(folders, LIKE, out)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda f: (f / "step1.safetensors").write_bytes(b"\x08" + b"\0" * 20), "is no safetensors file, or not a whole one"),
        (lambda f: (f / "step1.pt").write_bytes(b"PK\x03\x04" + b"\0" * 20), "is no torch file, or not a whole one"),
        (lambda f: (f / "step1.pt").touch(), "is no torch file, or not a whole one"),
        (lambda f: torch.save([1, 2], f / "step1.pt"), "must hold a mapping of names to tensors, got list"),
        (lambda f: torch.save({"a": 1}, f / "step1.pt"), r"holds no tensors by name \(keys: 'a'\)"),
        (lambda f: torch.save({"x": {"w": torch.ones(1)}, "y": {"w": torch.ones(1)}}, f / "step1.pt"), "several sets"),
        (lambda f: torch.save({0: torch.ones(1)}, f / "step1.pt"), "has the name 0 among its weights"),
        (lambda f: torch.save({"b": torch.ones(2), "m": {"a": torch.ones(1)}}, f / "step1.pt"), r"several sets .*\(m, b\)"),
        (lambda f: torch.save({"model": {"b": torch.ones(1), "m": {"a": torch.ones(1)}}}, f / "step1.pt"), r"within 'm' \('a'\)"),
        (lambda f: torch.save({"a": torch.eye(2).to_sparse()}, f / "step1.pt"), "'a' is a sparse tensor"),
        (lambda f: torch.save({"a": torch.ones(2, device="meta")}, f / "step1.pt"), "'a' is a meta tensor"),
        (lambda f: (f / "step1").mkdir(), "must hold one file of weights"),
        (lambda f: ((f / "step1").mkdir(), (f / "step1" / ".metadata").touch()), "dcp_to_torch"),
        (lambda f: (f / "step1.index.json").write_text("[]"), "is no index of shards"),
        (lambda f: (f / "step1.index.json").write_text('{"weight_map": {"w": "../x.safetensors"}}'), "in the same folder"),
        (lambda f: None, "step1.safetensors"),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_told(tmp_path: Path, make, says: str) -> None:
    make(tmp_path)
    path = next(tmp_path.iterdir(), tmp_path / "step1.safetensors")
    with pytest.raises((ValueError, OSError), match=says):
        merge([path], Latest(1))


def test_a_lost_shard_is_told(tmp_path: Path) -> None:
    folders = sharded(tmp_path)
    (folders[0] / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model-00002-of-00002.safetensors"):
        merge(folders, LIKE)
    shutil.copy(folders[1] / "model-00001-of-00002.safetensors", folders[0] / "model-00002-of-00002.safetensors")
    with pytest.raises(ValueError, match=r"which .*model-00002-of-00002.safetensors lacks"):
        merge(folders, LIKE)


def test_one_update_twice_is_told(tmp_path: Path) -> None:
    paths = as_safetensors(tmp_path)
    with pytest.raises(ValueError, match=r"step600.safetensors and .*step700.safetensors are both of update 5"):
        merge(paths[:2], Latest(2), at=[5, 5])
    with pytest.raises(ValueError, match="2 numbers for 2 checkpoints, got 1"):
        merge(paths[:2], Latest(2), at=[5])


@pytest.mark.parametrize("within", [float("nan"), -0.1, float("inf")])
def test_a_tolerance_that_is_no_distance_is_refused(tmp_path: Path, within: float) -> None:
    with pytest.raises(ValueError, match="within must be a finite number of at least 0"):
        merge(as_safetensors(tmp_path), LIKE, within=within)


@pytest.mark.parametrize("at", ["1__0,3", "8k,9k", "-1,2", "1e3,2e3", "99999999999999999999,3", ""])
def test_updates_on_the_command_line_are_whole_numbers(tmp_path: Path, at: str) -> None:
    from click.testing import CliRunner

    from laju.cli.average import command

    paths = as_safetensors(tmp_path)[:2]
    run = CliRunner().invoke(command, [*map(str, paths), "--like", "latest:2", "--at", at])
    assert run.exit_code == 2, run.output
    assert "--at" in run.output


def test_a_trunk_without_a_cooldown_is_refused_and_one_tensor_is_one(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from laju.cli.average import command

    for update in (8, 9):
        torch.save({"w": torch.ones(1)}, tmp_path / f"step{update}.pt")
    given = [str(tmp_path / "step8.pt"), str(tmp_path / "step9.pt"), "--like"]
    for rule in ("latest:2", "tail:2", "ema:0.9"):
        run = CliRunner().invoke(command, [*given, rule, "--trunk", "constant(1)"])
        assert run.exit_code == 2, run.output
        assert f"--trunk must be left out with {rule}" in run.output
    assert CliRunner().invoke(command, [*given, "linear(1, 0, total=2)", "--trunk", "constant(1)"]).exit_code == 0
    assert "1 tensor, 1 number\n" in CliRunner().invoke(command, [*given, "latest:2"]).output
