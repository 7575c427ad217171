"""Loss and gradients of a small model on a fixed batch, as one process or as one of several.

Run by test_distributed.py through torchrun: `torchrun --nproc_per_node 2 tests/two_ranks.py OUT`.
"""

import itertools
import sys

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from avmi.config.bottleneck import Bottleneck, Private
from avmi.config.pair_settings import NegativePool, PairSettings
from avmi.config.parts import Backbone, Head, ImageInput, LogMel, Temperature
from avmi.config.parts import Encoders as EncoderSettings
from avmi.config.views import AudioView, FeatureView, FrameView
from avmi.distributed import gather, gather_objects, rank, world_size
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.models.training_pass import TrainingPass
from avmi.objective import Objective
from avmi.objective.code_terms import CodeTerms
from avmi.views.graph import ViewGraph, build_graph
from avmi.views.reach import every_clip_has_every_view
from avmi.views.shapes import view_shapes

CLIPS = 12
SHARES = {2: (6, 6), 3: (5, 4, 3), 4: (4, 2, 3, 3)}  # clips of each process
IMAGE, LOG_MEL = ImageInput(size_px=32), LogMel(mel_bins=16)
VIEWS = {
    "image": FrameView(kind="frame"),
    "motion": FrameView(kind="frame", frames=2, motion="differences"),
    "sound_0": AudioView(kind="audio", window_seconds=0.425),
    "sound_5": AudioView(kind="audio", at_seconds=5.0, window_seconds=0.425),
    "image_mid": FeatureView(kind="feature", of="image", layer="stage3"),
    "late_mid": FeatureView(kind="feature", of="sound_5", layer="stage2", grid=2),
    "sound_out": FeatureView(kind="feature", of="sound_0", layer="output"),
}
BOTH = (NegativePool(pool="other_videos"), NegativePool(pool="same_video", weight=0.5, count=2))
PAIRS = (
    PairSettings(views=("image", "sound_0"), negatives=BOTH),
    PairSettings(views=("image", "sound_5"), weight=2.0),
    PairSettings(views=("image", "sound_out"), bound="nwj", weight=0.2),
    PairSettings(views=("motion", "sound_0"), bound="donsker_varadhan", negatives=BOTH),
    PairSettings(views=("motion", "sound_5"), bound="tuba", weight=0.1),
    PairSettings(views=("motion", "sound_out"), temperature=Temperature(initial=0.2)),
    PairSettings(views=("sound_0", "sound_5"), bound="sigmoid", weight=0.3),
    PairSettings(views=("image_mid", "sound_0"), negatives=BOTH, weight=0.5),
    PairSettings(views=("image_mid", "late_mid"), places="attention", temperature=Temperature(initial=0.4)),
    PairSettings(views=("sound_0", "late_mid"), places="max"),
)
NOT_OF_CODES = (
    "image_mid",
    "late_mid",
    "motion",
    "sound_out",
)  # and others that the test of codes does without
PLAIN = Head(hidden_dims=(24,), embedding_dim=16)
HEADS = {"places": PLAIN, "codes": PLAIN.model_copy(update={"posterior": "gaussian", "private_dim": 5})}
LATE = (1, 2, 5)  # clips that reach sound_5: the last process has none of them
VIDEOS = torch.tensor([0, 0, 1, 2, 3, 4, 4, 0, 6, 0, 8, 8])
SECONDS = torch.tensor([1.0, 2.5, 0.3, 0.4, 0.5, 6.0, 6.1, 4.0, 0.8, 5.5, 1.0, 3.0])


def loss_and_gradients(
    first: int, last: int, accelerator: Accelerator, *, head: Head = PLAIN, capacity: int | None = None
):
    """Work on clips first…last−1 of the fixed batch; stochastic heads give their means, so that nothing is drawn."""
    torch.manual_seed(0)
    small = Backbone(name="small_conv", width=8)
    settings = EncoderSettings(image=small, audio=small, head=head)
    is_plain = head.posterior == "none"
    views_by_name = VIEWS if is_plain else {n: view for n, view in VIEWS.items() if n not in NOT_OF_CODES}
    encoders = Encoders(views_by_name, settings, log_mel=LogMelStatistics(-4.0, 3.0))
    encoders.eval()
    graph = build_graph(views_by_name, PAIRS if is_plain else PAIRS[:2])
    shapes = view_shapes(graph.signals, image=IMAGE, log_mel=LOG_MEL)
    objective = Objective(
        graph,
        temperature=Temperature(initial=0.1),
        grids=encoders.grids(shapes),
        embedding_dim=head.embedding_dim,
        codes=None if is_plain else _code_terms(head, graph),
    )
    for bound in objective.bounds.values():
        if hasattr(bound, "log_mean"):
            bound.log_mean.fill_(8.5)  # as if a batch had been before
    mine = torch.arange(first, last)
    views, rows = _views_of(first, last, shapes)
    views = {name: view for name, view in views.items() if name in graph.signals}
    wrapped, wrapped_objective = accelerator.prepare(TrainingPass(encoders), objective)
    encoded = wrapped(views)
    if objective.codes is not None:  # the densities learn, alike in every process
        with torch.no_grad():
            codes = objective.join_codes(
                encoded.posteriors, rows=rows, videos=VIDEOS[mine], capacity=capacity
            )
        objective.codes.private.fit(codes, objective.codes.private.optimizer())
    loss = wrapped_objective(
        encoded.embeddings,
        rows=rows,
        videos=VIDEOS[mine],
        seconds=SECONDS[mine],
        posteriors=encoded.posteriors,
        capacity=capacity,
    )
    accelerator.backward(loss.total)
    named = [*encoders.named_parameters(), *objective.named_parameters()]
    assert not every_clip_has_every_view(graph)
    return {
        "loss": loss.total.detach(),
        "terms": {name: term.loss.detach() for name, term in loss.terms.items()},
        "codes": dict(loss.codes),
        "densities": {n: p.detach().clone() for n, p in objective.named_parameters() if "densities" in n},
        "buffers": {name: buffer.clone() for name, buffer in objective.named_buffers()},
        "gradients": {name: parameter.grad for name, parameter in named if parameter.requires_grad},
    }


def _views_of(first: int, last: int, shapes):
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 256, (CLIPS, 9, 32, 32), generator=generator, dtype=torch.uint8)
    sounds = torch.randn(2, CLIPS, *shapes["sound_0"], generator=generator) * 3 - 4
    mine = torch.arange(first, last)
    views = {"image": pictures[mine, :3], "motion": pictures[mine, 3:], "sound_0": sounds[0][mine]}
    rows = dict.fromkeys(views, mine - first)
    late = torch.tensor([clip for clip in LATE if first <= clip < last], dtype=torch.long)
    if len(late):
        views["sound_5"], rows["sound_5"] = sounds[1][late], late - first
    return views, rows


def _code_terms(head: Head, graph: ViewGraph) -> CodeTerms:
    return CodeTerms(
        head,
        bottleneck=Bottleneck(beta=0.3, mixture=3),
        private=Private(density_hidden=7),
        views=graph.paired_views,
        pairs=tuple((pair.first, pair.second) for pair in graph.pairs),
    )


def main() -> None:
    expected = DistributedDataParallelKwargs(find_unused_parameters=True)  # as `avmi pretrain` does
    accelerator = Accelerator(kwargs_handlers=[expected])
    last = list(itertools.accumulate(SHARES[world_size()]))
    first, capacity = [0, *last][rank()], max(SHARES[world_size()])
    capacity = None if len(set(SHARES[world_size()])) == 1 else capacity
    result = {}
    for name, head in HEADS.items():
        result[name] = loss_and_gradients(first, last[rank()], accelerator, head=head, capacity=capacity)
        everyone = gather_objects(float(result[name]["loss"]))
        assert len(set(everyone)) == 1, f"the ranks disagree on the loss: {everyone}"
    assert gather(torch.tensor([rank()])).tolist() == list(range(world_size()))
    if accelerator.is_main_process:
        torch.save({**result, "world_size": world_size()}, sys.argv[1])
    accelerator.end_training()


if __name__ == "__main__":
    main()
