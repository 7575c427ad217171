"""AdamW whole and sharded in several processes: bytes of moments that each process keeps, and CPU time of a step.

Run by hand: `ACCELERATE_USE_CPU=true OMP_NUM_THREADS=1 torchrun --standalone --nproc_per_node 2 -m benchmarks.training.sharded`.
"""

import time

import torch
from accelerate import Accelerator

from avmi.config.parts import Optimizer
from avmi.distributed import gather_objects
from avmi.models.encoders import Encoders
from avmi.training.optimizer import build_optimizer, build_sharded_optimizer
from benchmarks.training.setting import DRAWN_LOG_MEL, settings_of

BACKBONES = ("small_conv", "resnet18", "resnet50")
STEPS = 5


def main() -> None:
    accelerator = Accelerator()
    for name in BACKBONES:
        config = settings_of("image_sound", *(f"encoders.{kind}.name={name}" for kind in ("image", "audio")))
        encoders = Encoders(config.views, config.encoders, log_mel=DRAWN_LOG_MEL)
        for way, build in (("whole", build_optimizer), ("sharded", build_sharded_optimizer)):
            optimizer = build([encoders], Optimizer())
            seconds = [_step_seconds(encoders, optimizer) for _ in range(STEPS)]
            everyone = gather_objects((_kept_bytes(optimizer), min(seconds)))
            if accelerator.is_main_process:
                weights = sum(parameter.numel() for parameter in encoders.parameters())
                told = ", ".join(f"{kept / 1e6:.1f} MB and {best * 1e3:.1f} ms" for kept, best in everyone)
                print(f"{name}, {weights / 1e6:.1f} M weights, {way}: {told}", flush=True)
    accelerator.end_training()


def _step_seconds(encoders: Encoders, optimizer: torch.optim.Optimizer) -> float:
    for parameter in encoders.parameters():
        parameter.grad = torch.ones_like(parameter)
    begun = time.process_time()
    optimizer.step()
    return time.process_time() - begun


def _kept_bytes(optimizer: torch.optim.Optimizer) -> int:
    state = getattr(optimizer, "optim", optimizer).state  # of a sharded one, this process's share
    return sum(t.nbytes for moments in state.values() for t in moments.values() if t.dim())


if __name__ == "__main__":
    main()
