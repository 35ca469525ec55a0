"""What only a GPU can show: an update that was captured as a CUDA graph follows the schedule."""

import pytest
import torch

import laju
from laju.frameworks.torch import Factor, Scheduler

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def captured(schedule):
    """An update of one weight with gradient 1 as a graph, and its scheduler; Adam's step is then the rate itself."""
    weight = torch.nn.Parameter(torch.zeros(1, device="cuda"))
    weight.grad = torch.ones_like(weight)
    optimizer = torch.optim.Adam([weight], lr=torch.tensor(1.0, device="cuda"), capturable=True)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            optimizer.step()
    torch.cuda.current_stream().wait_stream(side)
    scheduler = Scheduler(optimizer, lr=schedule)
    storage = optimizer.param_groups[0]["lr"].data_ptr()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    return graph, scheduler, weight, optimizer, storage


@pytest.mark.parametrize("factor", [False, True])
def test_replays_of_a_captured_update_follow_the_schedule(factor):
    schedule = laju.cosine(0.5, total=20, warmup=4, final=0.05)
    graph, scheduler, weight, optimizer, storage = captured(Factor(schedule) if factor else schedule)
    used = []
    for _ in range(25):
        before = weight.item()
        graph.replay()
        used.append(before - weight.item())
        scheduler.step()
    assert scheduler.position == 25
    assert optimizer.param_groups[0]["lr"].data_ptr() == storage
    assert used == pytest.approx(schedule.values(25).tolist(), rel=1e-4, abs=1e-6)


def test_a_scaler_that_skips_does_not_move_the_schedule():
    schedule = laju.linear(0.1, 1, total=4)
    weight = torch.nn.Parameter(torch.zeros(1, device="cuda"))
    for fused in (False, True):
        optimizer = torch.optim.SGD([weight], lr=1.0, fused=fused)
        scheduler, scaler = Scheduler(optimizer, lr=schedule), torch.amp.GradScaler("cuda", init_scale=4.0)
        used = []
        for update in range(6):
            weight.grad = None
            loss = scaler.scale(weight.sum() * (float("inf") if update < 2 else 1.0))
            before = weight.item()
            loss.backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            used.append(before - weight.item())
        assert used == pytest.approx([0, 0, 0.1, 0.325, 0.55, 0.775], rel=1e-4, abs=1e-6)


def test_a_schedule_is_called_with_tensors_on_the_device():
    schedule = laju.cosine(0.5, total=20, warmup=4)
    values = schedule(torch.arange(25, device="cuda"))
    assert values.device.type == "cuda"
    assert values.cpu().numpy() == pytest.approx(schedule.values(25), rel=1e-14, abs=1e-300)
