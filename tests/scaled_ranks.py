"""Gradients in chunks and steps of a sharded optimizer, of a small model on fixed batches, as one of several processes.

`torchrun --nproc_per_node 2 tests/scaled_ranks.py OUT` is run by training/test_scaled_ranks.py; test_gradient_cache.py
imports the rest.
"""

import sys
from functools import partial

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from avmi.config.bottleneck import Bottleneck, Private
from avmi.config.pair_settings import PairSettings
from avmi.config.parts import Backbone, Head, Optimizer, Temperature
from avmi.config.parts import Encoders as EncoderSettings
from avmi.config.views import AudioView, FeatureView, FrameView
from avmi.distributed import gather_objects, rank, world_size
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.models.training_pass import Encoded, TrainingPass
from avmi.objective import Objective
from avmi.objective.code_terms import CodeTerms
from avmi.training.gradient_cache import chunks_of, encode_in_chunks
from avmi.training.optimizer import build_optimizer, build_schedule, build_sharded_optimizer, gather_state
from avmi.views.graph import build_graph

CLIPS, BATCHES, CHUNK_CLIPS = 14, 2, 4
VIEWS = {
    "image": FrameView(kind="frame"),
    "sound": AudioView(kind="audio", window_seconds=0.425),
    "later": AudioView(kind="audio", at_seconds=5.0, window_seconds=0.425),
    "image_mid": FeatureView(kind="feature", of="image", layer="stage3"),
    "late_out": FeatureView(kind="feature", of="later", layer="output"),
}
# `later` itself is in none of the first: its embeddings have no gradient.
PAIRS_OF_PLACES = (("image", "sound"), ("image_mid", "sound"), ("image", "late_out"))
PAIRS_OF_CODES = (("image", "sound"), ("image", "later"), ("image", "late_out"))
LATE = (0, 1, 2, 7, 9)  # the last chunk of each half of the batch has no clip that reaches `later`
VIDEOS = torch.tensor([0, 0, 1, 2, 3, 4, 4, 0, 6, 0, 8, 8, 9, 1])
PLAIN = Head(hidden_dims=(24,), embedding_dim=16)
HEADS = {"plain": PLAIN, "codes": PLAIN.model_copy(update={"posterior": "gaussian", "private_dim": 5})}


def model_of(head: Head, **backbone: object) -> tuple[TrainingPass, Objective]:
    torch.manual_seed(0)
    small = Backbone(**{"name": "small_conv", "width": 8, **backbone})
    has_codes = head.posterior == "gaussian"
    views = {name: view for name, view in VIEWS.items() if not (has_codes and name == "image_mid")}
    encoders = Encoders(
        views, EncoderSettings(image=small, audio=small, head=head), log_mel=LogMelStatistics(-4.0, 3.0)
    )
    pairs = PAIRS_OF_CODES if has_codes else PAIRS_OF_PLACES
    graph = build_graph(views, tuple(PairSettings(views=names) for names in pairs))
    codes = CodeTerms(
        head,
        bottleneck=Bottleneck(beta=0.3, mixture=3),
        private=Private(density_hidden=7),
        views=graph.paired_views,
        pairs=tuple((pair.first, pair.second) for pair in graph.pairs),
    )
    objective = Objective(
        graph,
        temperature=Temperature(initial=0.1),
        grids={"late_out": ()} if has_codes else {"image_mid": (2, 2), "late_out": ()},
        embedding_dim=16,
        codes=codes if has_codes else None,
    )
    return TrainingPass(encoders), objective


def batch_of(number: int, first: int, last: int):
    """Clips first…last−1 of a batch: views, their rows, videos."""
    generator = torch.Generator().manual_seed(number)
    pictures = torch.randint(0, 256, (CLIPS, 3, 32, 32), generator=generator, dtype=torch.uint8)
    sounds = torch.randn(2, CLIPS, 1, 16, 41, generator=generator) * 3 - 4
    mine, late = torch.arange(first, last), torch.tensor([clip for clip in LATE if first <= clip < last])
    views = {"image": pictures[mine], "sound": sounds[0][mine], "later": sounds[1][late]}
    return views, {"image": mine - first, "sound": mine - first, "later": late - first}, VIDEOS[mine]


def gradients(
    first: int,
    last: int,
    accelerator: Accelerator,
    *,
    head: Head,
    chunk_clips: int | None,
    normalization: str = "group",
):
    """Go through two batches as the loop does; stochastic heads give their means, batch normalization is in training."""
    encoders, objective = model_of(head, normalization=normalization)
    encoders.train(normalization == "batch")
    wrapped, wrapped_objective = accelerator.prepare(encoders, objective)
    losses = []
    for number in range(BATCHES):
        views, rows, videos = batch_of(number, first, last)
        with accelerator.accumulate(wrapped, wrapped_objective):
            loss_of = partial(_loss_of, wrapped_objective, rows=rows, videos=videos)
            if chunk_clips is None:
                losses.append(loss_of(wrapped(views)))
                accelerator.backward(losses[-1])
            else:
                chunks = chunks_of(rows, clips=last - first, chunk_clips=chunk_clips)
                cached = encode_in_chunks(wrapped, views, chunks=chunks, seed=number)
                losses.append(loss_of(cached.encoded))
                accelerator.backward(losses[-1])
                cached.backward(no_sync=partial(accelerator.no_sync, wrapped))
    named = [*encoders.named_parameters(), *objective.named_parameters()]
    return {
        "losses": torch.stack(losses).detach(),
        "buffers": {name: buffer.clone() for name, buffer in encoders.named_buffers()},
        "gradients": {name: p.grad.clone() for name, p in named if p.grad is not None},
    }


def assert_equal_gradients(ours, theirs) -> None:
    torch.testing.assert_close(ours["losses"], theirs["losses"], atol=1e-5, rtol=1e-5)
    assert ours["gradients"].keys() == theirs["gradients"].keys()
    for name, gradient in theirs["gradients"].items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(ours["gradients"][name], gradient, atol=1e-5, rtol=1e-5, msg=name)


def _loss_of(objective, encoded: Encoded, *, rows, videos) -> torch.Tensor:
    return objective(encoded.embeddings, rows=rows, videos=videos, posteriors=encoded.posteriors).total


def steps(first: int, last: int, accelerator: Accelerator, *, sharded: bool):
    """Take three optimizer steps; the state of the last but one is loaded again before the last."""
    encoders, objective = model_of(PLAIN)
    settings = Optimizer(steps=3, learning_rate=1e-2, warmup_fraction=0.4, max_gradient_norm=0.5)
    build = build_sharded_optimizer if sharded else build_optimizer
    optimizer = accelerator.prepare_optimizer(build([encoders, objective], settings), device_placement=False)
    schedule = build_schedule(optimizer, settings)
    wrapped, wrapped_objective = accelerator.prepare(encoders, objective)
    for step in range(settings.steps):
        views, rows, videos = batch_of(step, first, last)
        accelerator.backward(_loss_of(wrapped_objective, wrapped(views), rows=rows, videos=videos))
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        accelerator.clip_grad_norm_(parameters, settings.max_gradient_norm)
        if step == settings.steps - 1:
            gather_state(optimizer)
            state = [optimizer.state_dict() if accelerator.is_main_process else None]
            if world_size() > 1:
                dist.broadcast_object_list(state)
            optimizer.load_state_dict(state[0])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
    gather_state(optimizer)
    kept = sum(t.numel() for state in own_state(optimizer).values() for t in state.values() if t.dim())
    everyone = gather_objects(kept)
    if not accelerator.is_main_process:
        return None
    weights = {**encoders.state_dict(), **objective.state_dict()}
    return {
        "weights": {name: tensor.clone() for name, tensor in weights.items()},
        "state": optimizer.state_dict(),
        "kept": everyone,
    }


def own_state(optimizer):
    """The moments that this very process holds."""
    plain = optimizer.optimizer
    return plain.optim.state if hasattr(plain, "optim") else plain.state


def main() -> None:
    expected = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(gradient_accumulation_steps=BATCHES, kwargs_handlers=[expected])
    share = CLIPS // world_size()
    mine = rank() * share, (rank() + 1) * share
    found = {name: gradients(*mine, accelerator, head=head, chunk_clips=3) for name, head in HEADS.items()}
    plain = Accelerator(kwargs_handlers=[expected])
    # Batches that are steps of their own: running statistics come from the main process before each.
    found["buffers"] = [
        gather_objects(
            gradients(*mine, plain, head=PLAIN, chunk_clips=chunk_clips, normalization="batch")["buffers"]
        )
        for chunk_clips in (None, share)
    ]
    found |= {"sharded": steps(*mine, plain, sharded=True), "whole": steps(*mine, plain, sharded=False)}
    if accelerator.is_main_process:
        torch.save({**found, "world_size": world_size()}, sys.argv[1])
    accelerator.end_training()


if __name__ == "__main__":
    main()
