"""An opened file and ascending times → the decoded frames that are on the screen at them, exactly.

Seek to a keyframe, decode on, and take the last frame whose timestamp is not after the time. A seek that lands too
late is tried earlier, and at last the file is decoded from its start.
"""

import math
from collections.abc import Iterator

from avmi.corpus.picture_runs import CAN_SKIP
from avmi.decode.on_screen import tolerance_ticks
from avmi.decode.opened import OpenedFile, chunks_are_indexed
from avmi.decode.picture_run import Picture, PictureRun
from avmi.errors import DecodeError

# How far before the target a seek goes, in the order of trying; after these: the start of the file.
_SEEK_BACK_SECONDS = (0.0, 1.0, 5.0, 25.0)
# Without a packet index: decoding on for this long is cheaper than a seek and half a GOP.
_NEAR_SECONDS = 1.0
# Frames that no other frame needs are not decoded until the target is this near; more than any
# encoder reorders (16 frames), less than a GOP.
_SKIP_UNTIL_SECONDS = 0.7
# Containers in which a packet after a seek has the timestamp that it has in a read from the start. MPEG-PS
# has one timestamp for several pictures and counts on from the wrong one; others are not proved.
_CAN_SEEK = {"mov", "matroska", "mpegts", "flv", "avi", "asf"}


class PictureSource:
    """The pictures of an opened file's video stream."""

    def __init__(self, file: OpenedFile) -> None:
        if file.video is None or file.video.codec_context is None:
            raise DecodeError(f"{file.path} has no video stream that can be decoded", reason="no_video")
        if file.video.time_base is None:
            raise DecodeError(f"{file.path}: the video has no clock", reason="no_timestamps")
        self._file = file
        self._tick_seconds = float(file.video.time_base)
        self._tolerance = tolerance_ticks(self._tick_seconds)
        # AVI has no presentation timestamps, and what FFmpeg makes of the order of B-frames is wrong for
        # packed ones (Xvid, much of UCF101): there pictures come up in the decoder's order, one for each
        # chunk, counted from the start.
        self._by_order = bool(file.format_name == "avi" and file.video.codec_context.has_b_frames)
        self._can_skip = file.video.codec_context.name in CAN_SKIP and not self._by_order
        self._never_seek = self._by_order or file.format_name not in _CAN_SEEK
        self._trusts_index = file.format_name != "avi"
        self._run: PictureRun | None = None
        self._current: Picture | None = None
        self._ahead: Picture | None = None
        self._step_ticks = 0

    def at(self, seconds: float, *, end_seconds: float | None, last_seconds: float | None) -> Picture:
        """Find the picture on the screen at this time.

        `end_seconds` and `last_seconds` are when the last picture goes and comes, if known: without
        them its duration decides. Raises `DecodeError` before the first and after the last picture,
        and where pictures cannot be decoded.
        """
        ticks = float((seconds + self._file.origin_seconds) / self._tick_seconds)
        run = self._run
        if run is not None and self._is_reached_by_decoding_on(ticks, run):
            current = self._decode_up_to(ticks, run)
        else:
            run, current = self._seek(ticks, skip=True)
        if self._may_be_whole(run):
            run, current = self._seek(ticks, skip=True)
        if run.last_skipped_ticks > current.ticks:
            # What was skipped may be the very picture: rare, a long gap follows a frame nobody needs.
            run, current = self._seek(ticks, skip=False)
        if run.lacks_picture(current, ticks + self._tolerance):
            raise self._damage_at(seconds)
        self._check_that_it_stands(current, run, seconds, end_seconds, last_seconds)
        return current

    def every(self) -> Iterator[Picture]:
        """Give all pictures from the first on; raises `DecodeError` when one of them is damaged or missing."""
        self._file.rewind()
        self._run = self._current = self._ahead = None
        run = PictureRun(self._file, from_start=True, by_order=self._by_order)
        is_first = True
        while (picture := run.next_picture()) is not None:
            if picture.after_damage or (is_first and not picture.frame.key_frame):
                raise self._damage_at(self.seconds_of(picture))
            is_first = False
            yield picture
        if run.is_damaged or is_first:
            raise DecodeError(
                f"{self._file.path}: the last pictures are damaged or missing", reason="damaged"
            )

    @property
    def tolerance_seconds(self) -> float:
        """How long before its timestamp a picture counts as on the screen: the rounding of the clock."""
        return self._tolerance * self._tick_seconds

    def seconds_of(self, picture: Picture) -> float:
        """Time at which a picture comes up."""
        return picture.ticks * self._tick_seconds - self._file.origin_seconds

    def _is_reached_by_decoding_on(self, ticks: float, run: PictureRun) -> bool:
        if not run.goes_on or self._current is None:
            return False
        if self._current.ticks > ticks + self._tolerance:
            return False
        if self._never_seek or run.has_ended or (self._ahead and self._ahead.ticks > ticks):
            return True
        key = self._indexed_key_ticks(ticks)
        if key is None:
            return (ticks - self._current.ticks) * self._tick_seconds <= _NEAR_SECONDS
        return key <= self._current.ticks

    def _indexed_key_ticks(self, ticks: float) -> int | None:
        """Timestamp of the keyframe before these ticks by the container's index, if it has one."""
        entries = getattr(self._file.video, "index_entries", None)
        if not entries:
            return None
        if entries[len(entries) - 1].timestamp < ticks - _NEAR_SECONDS / self._tick_seconds:
            return None  # mkv without cues: the index grows with what was read
        place = entries.search_timestamp(math.floor(ticks + self._tolerance))
        return entries[place].timestamp if place >= 0 else None

    def _seek(self, ticks: float, *, skip: bool) -> tuple[PictureRun, Picture]:
        """Stand on the picture at these ticks; everything from the run's first picture on is decodable."""
        if not (self._trusts_index or self._never_seek):
            self._trusts_index = chunks_are_indexed(self._file)
            self._never_seek = not self._trusts_index
        stream = self._file.video  # only now: looking at the index opened the file again
        assert stream is not None
        start, seeks_land = stream.start_time or 0, False
        for back_seconds in () if self._never_seek else _SEEK_BACK_SECONDS:
            goal = math.floor(ticks + self._tolerance - back_seconds / self._tick_seconds)
            if self._file.seek(stream, max(goal, start)):
                run = self._begin(ticks, skip=skip, from_start=False)
                if self._stands_before(ticks):
                    seeks_land, current = True, self._decode_up_to(ticks, run)
                    if not self._may_be_whole(run):
                        return run, current
            if goal <= start:
                break
        self._file.rewind()
        run = self._begin(ticks, skip=skip, from_start=True)
        if self._stands_before(ticks):
            self._never_seek |= not seeks_land
            return run, self._decode_up_to(ticks, run)
        if self._current is None:
            raise DecodeError(f"{self._file.path}: no picture can be decoded", reason="damaged")
        raise DecodeError(
            f"{self._file.path}: no picture at {ticks * self._tick_seconds - self._file.origin_seconds:.3f} s, "
            f"the first comes at {self.seconds_of(self._current):.3f} s",
            reason="before_start",
        )

    def _may_be_whole(self, run: PictureRun) -> bool:
        """Tell whether what a run took for damage may be no more than what lies before its first group."""
        stops_at_damage = run.is_damaged or (self._ahead is not None and self._ahead.after_damage)
        return run.lacks_history and stops_at_damage

    def _begin(self, ticks: float, *, skip: bool, from_start: bool) -> PictureRun:
        """Decode the first picture from where the file stands."""
        self._run = run = PictureRun(
            self._file,
            from_start=from_start,
            by_order=self._by_order,
            skip_before_ticks=self._skip_until(ticks) if skip and self._can_skip else -math.inf,
        )
        self._ahead, self._step_ticks = None, 0
        self._current = run.next_picture(give_up_after_ticks=math.inf if from_start else ticks)
        return run

    def _stands_before(self, ticks: float) -> bool:
        return self._current is not None and self._current.ticks <= ticks + self._tolerance

    def _skip_until(self, ticks: float) -> float:
        return ticks - _SKIP_UNTIL_SECONDS / self._tick_seconds

    def _decode_up_to(self, ticks: float, run: PictureRun) -> Picture:
        if run.skip_before_ticks > -math.inf:
            run.skip_before_ticks = self._skip_until(ticks)
        assert self._current is not None
        while True:
            self._ahead = self._ahead or run.next_picture()
            if self._ahead is None or self._ahead.ticks > ticks + self._tolerance:
                return self._current
            if not self._ahead.after_damage:
                self._step_ticks = self._ahead.ticks - self._current.ticks
            self._current, self._ahead = self._ahead, None

    def _check_that_it_stands(
        self,
        picture: Picture,
        run: PictureRun,
        seconds: float,
        end_seconds: float | None,
        last_seconds: float | None,
    ) -> None:
        """Raise when the picture may have gone off the screen before this time."""
        slack = self._tolerance * self._tick_seconds + 1e-9
        came = self.seconds_of(picture)
        goes = came + self._duration_seconds(picture)
        # Beside damage only what is measured counts: a header's rate may be damaged, too.
        surely_goes = came + self._least_duration_seconds(picture)
        if self._ahead is not None:
            if self._ahead.after_damage and seconds >= surely_goes:
                raise self._damage_at(seconds)
            return
        lacks_pictures = run.is_damaged or (last_seconds is not None and came < last_seconds - slack)
        if lacks_pictures and seconds >= surely_goes:
            raise self._damage_at(seconds)
        end = goes if end_seconds is None else end_seconds
        if seconds >= end:
            raise DecodeError(
                f"{self._file.path}: no picture at {seconds:.3f} s, the last goes at {end:.3f} s",
                reason="past_end",
            )

    def _damage_at(self, seconds: float) -> DecodeError:
        return DecodeError(
            f"{self._file.path}: the pictures at {seconds:.3f} s are damaged or missing", reason="damaged"
        )

    def _least_duration_seconds(self, picture: Picture) -> float:
        """How long it stands for certain: its packet's duration or the last distance, whichever is shorter."""
        measured = [ticks for ticks in (picture.frame.duration or 0, self._step_ticks) if ticks > 0]
        return min(measured, default=1) * self._tick_seconds

    def _duration_seconds(self, picture: Picture) -> float:
        """How long it stands if nothing follows: as its packet says, unless that is a rounding tick."""
        rate = getattr(self._file.video, "average_rate", None)
        # A lone still with neither stands for one tick: its own time can be asked for.
        usual = self._step_ticks or (float(1 / rate) / self._tick_seconds if rate else 1.0)
        says = picture.frame.duration or 0
        return (says if says > usual / 2 else usual) * self._tick_seconds
