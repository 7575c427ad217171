"""A batch in chunks: its gradients are those of the whole batch, and so are its negatives."""

import pytest
import torch
from accelerate import Accelerator
from scaled_ranks import (
    BATCHES,
    CHUNK_CLIPS,
    CLIPS,
    HEADS,
    PLAIN,
    assert_equal_gradients,
    batch_of,
    gradients,
    model_of,
)

from avmi.config.parts import Head
from avmi.data import stable_seed
from avmi.errors import InputError
from avmi.mi.posterior import Posterior
from avmi.models.training_pass import Encoded
from avmi.training.gradient_cache import chunks_of, encode_in_chunks


def test_chunks_are_alike_in_size_and_hold_every_row_once() -> None:
    rows = {"image": torch.arange(11), "late": torch.tensor([0, 1, 2, 10]), "never": torch.tensor([5])}
    chunks = chunks_of(rows, clips=11, chunk_clips=4)
    assert [chunk["image"] for chunk in chunks] == [slice(0, 3), slice(3, 7), slice(7, 11)]
    assert [chunk.get("late") for chunk in chunks] == [slice(0, 3), None, slice(3, 4)]
    assert [chunk.get("never") for chunk in chunks] == [None, slice(0, 1), None]


def test_a_chunk_without_any_view_is_left_out() -> None:
    assert chunks_of({"image": torch.tensor([0, 5])}, clips=6, chunk_clips=2) == [
        {"image": slice(0, 1)},
        {"image": slice(1, 2)},
    ]


def test_rows_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(InputError, match="sound do not ascend"):
        chunks_of({"sound": torch.tensor([2, 0, 1])}, clips=3, chunk_clips=2)


@pytest.mark.parametrize("kind", HEADS)
def test_gradients_of_chunks_are_those_of_the_whole_batch(kind: str) -> None:
    found = [
        gradients(
            0,
            CLIPS,
            Accelerator(cpu=True, gradient_accumulation_steps=BATCHES),
            head=HEADS[kind],
            chunk_clips=chunk_clips,
        )
        for chunk_clips in (None, CHUNK_CLIPS)
    ]
    assert_equal_gradients(found[1], found[0])


@pytest.mark.parametrize(
    "head",
    [HEADS["codes"], PLAIN.model_copy(update={"dropout": 0.4, "standardize": True})],
    ids=["draws", "dropout"],
)
def test_both_passes_draw_the_same_and_batch_normalization_learns_once(head: Head) -> None:
    views, rows, videos = batch_of(0, 0, CLIPS)
    chunks = chunks_of(rows, clips=CLIPS, chunk_clips=CHUNK_CLIPS)
    found = []
    for is_cached in (True, False):
        encoders, objective = model_of(head, normalization="batch")
        encoders.train()
        if is_cached:
            cached = encode_in_chunks(encoders, views, chunks=chunks, seed=3)
            encoded = cached.encoded
        else:  # the same chunks in one graph
            encoded = joined([one_chunk(encoders, views, chunk, n) for n, chunk in enumerate(chunks)])
        loss = objective(encoded.embeddings, rows=rows, videos=videos, posteriors=encoded.posteriors).total
        loss.backward()
        if is_cached:
            cached.backward()
        named = [*encoders.named_parameters(), *objective.named_parameters()]
        gradient_of = {name: p.grad for name, p in named if p.grad is not None and p.grad.abs().max() > 0}
        found.append(
            {"losses": loss.detach(), "gradients": gradient_of, "buffers": dict(encoders.named_buffers())}
        )
    assert_equal_gradients(*found)
    torch.testing.assert_close(found[0]["buffers"], found[1]["buffers"], atol=0, rtol=0)
    counts = [n for name, n in found[0]["buffers"].items() if name.endswith("num_batches_tracked")]
    assert max(map(int, counts)) == len(chunks)


def one_chunk(encoders, views, chunk, number: int) -> Encoded:
    torch.manual_seed(stable_seed(3, number))
    return encoders({name: views[name][rows] for name, rows in chunk.items()})


def joined(parts: list[Encoded]) -> Encoded:
    def together(dicts):
        return {name: [d[name] for d in dicts if name in d] for name in {n for d in dicts for n in d}}

    embeddings = {n: torch.cat(found) for n, found in together([p.embeddings for p in parts]).items()}
    posteriors = together([p.posteriors for p in parts])
    return Encoded(
        embeddings,
        {
            n: Posterior(*(torch.cat(part) for part in zip(*found, strict=True)))
            for n, found in posteriors.items()
        },
    )


def test_gradients_of_a_scaled_loss_are_scaled_alike() -> None:
    views, rows, videos = batch_of(0, 0, CLIPS)
    scaler, found = torch.amp.GradScaler("cpu", init_scale=512.0), []
    for scale in (lambda loss: loss, scaler.scale):
        encoders, objective = model_of(PLAIN)
        chunks = chunks_of(rows, clips=CLIPS, chunk_clips=CHUNK_CLIPS)
        cached = encode_in_chunks(encoders, views, chunks=chunks, seed=1)
        scale(objective(cached.encoded.embeddings, rows=rows, videos=videos).total).backward()
        cached.backward()
        found.append({name: p.grad for name, p in encoders.named_parameters()})
    torch.testing.assert_close(found[1], {name: 512 * grad for name, grad in found[0].items()})


def test_weights_cast_to_bf16_in_the_first_pass_are_not_taken_for_constants_in_the_second() -> None:
    views, rows, videos = batch_of(0, 0, CLIPS)
    encoders, objective = model_of(PLAIN)
    chunks = chunks_of(rows, clips=CLIPS, chunk_clips=CHUNK_CLIPS)
    with torch.autocast("cpu", torch.bfloat16):  # around both, as in a loop of one's own
        cached = encode_in_chunks(encoders, views, chunks=chunks, seed=1)
        objective(cached.encoded.embeddings, rows=rows, videos=videos).total.backward()
        cached.backward()
    assert all(bool(p.grad.abs().max() > 0) for p in encoders.parameters())


def test_several_batches_of_a_step_give_the_mean_of_their_gradients() -> None:
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=BATCHES)
    found = gradients(0, CLIPS, accelerator, head=PLAIN, chunk_clips=CHUNK_CLIPS)
    encoders, objective = model_of(PLAIN)
    encoders.eval()
    for number in range(BATCHES):
        views, rows, videos = batch_of(number, 0, CLIPS)
        (objective(encoders(views).embeddings, rows=rows, videos=videos).total / BATCHES).backward()
    named = [*encoders.named_parameters(), *objective.named_parameters()]
    expected = {name: p.grad for name, p in named if p.grad is not None}
    torch.testing.assert_close(found["gradients"], expected, atol=1e-5, rtol=1e-5)
