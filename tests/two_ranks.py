"""Loss and gradients of a small model on a fixed batch, as one process or as one of several.

Run by test_distributed.py through torchrun: `torchrun --nproc_per_node 2 tests/two_ranks.py OUT`.
"""

import sys

import torch
from accelerate import Accelerator

from avmi.config.parts import Backbone, Head, Temperature
from avmi.config.parts import Encoders as EncoderSettings
from avmi.config.views import AudioView, FrameView
from avmi.distributed import gather, gather_objects, rank, world_size
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.objective import Objective
from avmi.views.graph import build_graph

CLIPS = 12
VIEWS = {
    "image": FrameView(kind="frame"),
    "sound_0": AudioView(kind="audio"),
    "sound_5": AudioView(kind="audio", at_seconds=5.0),
}
LATE = (1, 2, 5, 7, 8, 11)  # clips that reach sound_5
VIDEOS = torch.tensor([0, 0, 1, 2, 3, 4, 4, 5, 6, 0, 8, 8])


def loss_and_gradients(first: int, last: int, accelerator: Accelerator):
    """Work on clips first…last−1 of the fixed batch."""
    torch.manual_seed(0)
    small = Backbone(name="small_conv", width=8)
    head = Head(hidden_dims=(24,), embedding_dim=16)
    settings = EncoderSettings(image=small, audio=small, head=head)
    encoders = Encoders(VIEWS, settings, log_mel=LogMelStatistics(-4.0, 3.0))
    graph = build_graph(VIEWS, "all", bound="info_nce", negatives=("other_videos",))
    objective = Objective(graph, temperature=Temperature(initial=0.1))
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 256, (CLIPS, 3, 32, 32), generator=generator, dtype=torch.uint8)
    sounds = torch.randn(2, CLIPS, 1, 16, 40, generator=generator) * 3 - 4
    late = torch.tensor([clip for clip in LATE if first <= clip < last])
    mine = torch.arange(first, last)
    views = {"image": pictures[mine], "sound_0": sounds[0][mine], "sound_5": sounds[1][late]}
    rows = {"image": mine - first, "sound_0": mine - first, "sound_5": late - first}
    wrapped, wrapped_objective = accelerator.prepare(encoders, objective)
    loss = wrapped_objective(wrapped(views), rows=rows, videos=VIDEOS[mine])
    accelerator.backward(loss.total)
    named = [*encoders.named_parameters(), *objective.named_parameters()]
    return {
        "loss": loss.total.detach(),
        "terms": {name: term.loss.detach() for name, term in loss.terms.items()},
        "gradients": {name: parameter.grad for name, parameter in named},
    }


def main() -> None:
    accelerator = Accelerator()
    share = CLIPS // world_size()
    result = loss_and_gradients(rank() * share, (rank() + 1) * share, accelerator)
    everyone = gather_objects(float(result["loss"]))
    assert len(set(everyone)) == 1, f"the ranks disagree on the loss: {everyone}"
    assert gather(torch.tensor([rank()])).tolist() == list(range(world_size()))
    if accelerator.is_main_process:
        torch.save({**result, "world_size": world_size()}, sys.argv[1])
    accelerator.end_training()


if __name__ == "__main__":
    main()
