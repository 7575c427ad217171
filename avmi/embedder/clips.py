"""Clips of a manifest's videos → vectors, batch by batch."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch

from avmi.corpus.manifest import Manifest, Video
from avmi.corpus.plan import ClipSpec, evaluation_clips
from avmi.data import Batch, Cutter, FixedClips, Limits, Loader, fixed_loader
from avmi.decode.choose import choose_decoder
from avmi.decode.clip import Decoder
from avmi.embedder.encoding import Encoding
from avmi.embedder.vectors import BatchVectors, ClipVectors, Output, ViewVectors
from avmi.views.make import ViewMaker


def spread_clips(
    encoding: Encoding,
    manifest: Manifest,
    *,
    views: tuple[str, str],
    hop_seconds: float | None,
    clips_per_video: int | None,
) -> tuple[ClipSpec, ...]:
    """List evenly spread clips of every video; hop and number are those of the config unless given."""
    data = encoding.config.data
    return evaluation_clips(
        manifest,
        {name: encoding.signal(name) for name in views},
        required=views,
        hop_seconds=data.evaluation_hop_seconds if hop_seconds is None else hop_seconds,
        most_per_video=data.evaluation_clips_per_video if clips_per_video is None else clips_per_video,
    )


def clip_vectors(
    encoding: Encoding,
    manifest: Manifest,
    specs: Sequence[ClipSpec],
    *,
    views: tuple[str, str],
    output: Output,
    decoder: Decoder | None,
    workers: int,
) -> Iterator[ClipVectors]:
    """Embed a picture view and a sound view of clips; see `Embedder.embed_clips`."""
    image, audio = views
    for batch in _batches(encoding, manifest, specs, views, decoder=decoder, workers=workers):
        if not batch.specs:
            yield ClipVectors((), torch.empty(0, 0), torch.empty(0, 0), batch.rejects)
            continue
        yield ClipVectors(
            specs=batch.specs,
            image=encoding.run(image, batch.views[image], output=output),
            audio=encoding.run(audio, batch.views[audio], output=output),
            rejects=batch.rejects,
        )


def view_vectors(
    encoding: Encoding,
    manifest: Manifest,
    specs: Sequence[ClipSpec],
    *,
    view: str,
    output: Output,
    workers: int,
) -> Iterator[ViewVectors]:
    """Embed one view of clips; see `Embedder.embed_view`."""
    for batch in _batches(encoding, manifest, specs, (view,), decoder=None, workers=workers):
        vectors = torch.empty(0, encoding.dim(view, output))
        if batch.specs:
            vectors = encoding.run(view, batch.views[view], output=output)
        yield ViewVectors(batch.specs, vectors, batch.rejects)


def batch_vectors(
    encoding: Encoding,
    manifest: Manifest,
    batches: Sequence[Sequence[ClipSpec]],
    *,
    views: Sequence[str],
    workers: int,
) -> Iterator[BatchVectors]:
    """Embed the clips of given batches; see `Embedder.embed_batches`."""
    specs = [spec for batch in batches for spec in batch]
    clips = _clips(encoding, manifest, specs, views, decoder=None)
    ends = itertools.accumulate(len({_row_of(spec.video) for spec in batch}) for batch in batches)
    order = [list(range(start, end)) for start, end in itertools.pairwise([0, *ends])]
    for batch in Loader(clips, order, workers=workers, limits=Limits.of(encoding.config.data)):
        vectors = {name: encoding.run(name, cut, output="embedding") for name, cut in batch.views.items()}
        yield BatchVectors(batch.specs, vectors, batch.rejects)


def _batches(
    encoding: Encoding,
    manifest: Manifest,
    specs: Sequence[ClipSpec],
    views: Sequence[str],
    *,
    decoder: Decoder | None,
    workers: int,
) -> Iterable[Batch]:
    clips = _clips(encoding, manifest, specs, views, decoder=decoder)
    return fixed_loader(clips, workers=workers, limits=Limits.of(encoding.config.data))


def _clips(
    encoding: Encoding,
    manifest: Manifest,
    specs: Sequence[ClipSpec],
    views: Sequence[str],
    *,
    decoder: Decoder | None,
) -> FixedClips:
    cut = {name: encoding.signal(name) for name in views}
    maker = ViewMaker(cut, image=encoding.config.image, log_mel=encoding.config.log_mel)
    data = encoding.config.data
    decoder = decoder or choose_decoder(data.decoder, fallback=data.decoder_fallback, corpus=manifest.corpus)
    return FixedClips(Cutter(manifest, maker, decoder), specs)


def _row_of(video: Video) -> tuple[str, str]:
    return video.path, video.video_id
