"""A decoder's name in the configuration → the Decoder, with its explicit fallback."""

import logging
from collections import Counter
from pathlib import Path

from avmi.config.data import DecoderName
from avmi.corpus.manifest import Video
from avmi.decode.clip import Decoder, Reader
from avmi.errors import DecodeError
from avmi.store.packing import is_packed

log = logging.getLogger(__name__)


def choose_decoder(
    name: DecoderName, *, fallback: DecoderName | None = None, corpus: Path | None = None
) -> Decoder:
    """Build the decoder of this name; with a fallback, files that it refuses go to that one.

    `corpus` is the folder that the manifest was read from. Packed shards have one decoder, whatever the name.
    """
    if corpus is not None and is_packed(corpus):
        from avmi.decode.shards import ShardDecoder

        return ShardDecoder(corpus)
    decoder = _build(name, corpus)
    if fallback is None or fallback == name:
        return decoder
    return FallbackDecoder(decoder, _build(fallback, corpus))


def _build(name: DecoderName, corpus: Path | None) -> Decoder:
    # Each backend loads its own FFmpeg: import only what is asked for.
    match name:
        case "pyav":
            from avmi.decode.pyav import PyAvDecoder

            return PyAvDecoder(corpus)
        case "decord":
            from avmi.decode.decord import DecordDecoder

            return DecordDecoder()
        case "torchcodec":
            from avmi.decode.torchcodec import TorchcodecDecoder

            return TorchcodecDecoder()


class FallbackDecoder:
    """Opens with the first decoder, and with the second what the first refuses.

    `refused` counts the files (not the openings) by the first's reason, in this process; each is
    logged once.
    """

    def __init__(self, first: Decoder, second: Decoder) -> None:
        self.first, self.second = first, second
        self.name = f"{first.name}, else {second.name}"
        self.refused: Counter[str] = Counter()
        self._seen: set[Path] = set()

    def open(self, path: Path, *, video: Video | None) -> Reader:
        """Open a file with the first decoder that takes it; raises the second's `DecodeError`."""
        try:
            return self.first.open(path, video=video)
        except DecodeError as error:
            if path not in self._seen:
                self._seen.add(path)
                self.refused[error.reason] += 1
                log.warning("%s; decoded with %s instead", error, self.second.name)
        return self.second.open(path, video=video)
