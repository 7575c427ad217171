"""What readers have in common whose pictures another library gives: their sound is PyAV's, opened when it is asked for."""

from pathlib import Path
from typing import Any

from avmi.corpus.manifest import Video
from avmi.decode.clip import Reader, Waveform
from avmi.decode.pyav import PyAvReader


class SoundByPyAv(Reader):
    """A reader that gives pictures by `_reader`, the other library's, and sound by PyAV."""

    _video: Video | None

    def __init__(self, path: Path, *, video: Video | None, reader: Any) -> None:
        self._path, self._video, self._reader = path, video, reader
        self._sound: PyAvReader | None = None

    def audio(self, start_seconds: float, end_seconds: float, *, sample_rate_hz: int) -> Waveform:
        """Mono sound of this interval; see `Reader.audio`."""
        if self._sound is None:
            self._sound = PyAvReader(self._path, video=self._video)
        return self._sound.audio(start_seconds, end_seconds, sample_rate_hz=sample_rate_hz)

    def close(self) -> None:
        """Release the files, the decoders and what was decoded ahead."""
        self._reader = None
        if self._sound is not None:
            self._sound.close()


def first_line(error: BaseException) -> str:
    """Take what a library says of an error without its trace."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
