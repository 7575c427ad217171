import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from two_ranks import CLIPS, HEADS, loss_and_gradients

from avmi.distributed import gather, gather_objects, gather_with_gradient, rank, share, world_size


def test_one_process_gathers_only_itself() -> None:
    tensor = torch.randn(3, 2, requires_grad=True)
    assert (rank(), world_size()) == (0, 1)
    assert gather(tensor) is tensor
    facts = torch.arange(3)[:, None]
    assert gather_with_gradient(tensor, facts) == (tensor, facts)
    assert share(tensor[0]).tolist() == [tensor[0].tolist()]
    assert gather_objects("x") == ["x"]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_several_processes_give_loss_and_gradients_of_one_on_the_joined_batch(
    processes: int, tmp_path: Path
) -> None:
    out = tmp_path / "ranks.pt"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    command += [str(processes), str(Path(__file__).with_name("two_ranks.py")), str(out)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    several = torch.load(out, weights_only=True)
    assert several["world_size"] == processes
    for kind, head in HEADS.items():
        alone, together = loss_and_gradients(0, CLIPS, Accelerator(cpu=True), head=head), several[kind]
        for part in ("loss", "terms", "codes", "densities", "buffers"):
            torch.testing.assert_close(together[part], alone[part], atol=2e-5, rtol=1e-5)
        assert together["gradients"].keys() == alone["gradients"].keys()
        for name, gradient in alone["gradients"].items():
            assert gradient is not None, name
            torch.testing.assert_close(
                together["gradients"][name], gradient, atol=1e-5, rtol=1e-4, msg=f"{kind}: {name}"
            )
            assert gradient.abs().max() > 0, name
    places, codes = several["places"], several["codes"]
    pools = {"image~sound_0@same_video", "image_mid~sound_0@same_video", "motion~sound_0@same_video"}
    assert set(places["terms"]) >= {*pools, "image~sound_5", "image~sound_out", "motion~sound_5"}
    assert all(float(loss) != 0 for loss in places["terms"].values())
    means = {name for name in places["buffers"] if name.endswith("log_mean")}
    assert "bounds.motion~sound_0@same_video.log_mean" in means
    assert all(float(places["buffers"][name]) != 8.5 for name in means)
    assert {"upper_nats/sound_5", "private_lower_nats/image", "private_apart_nats/sound_5~image"} <= set(
        codes["codes"]
    )
