"""Packets that a decoder took or refused → which of the pictures that it gives are spoilt.

A decoder may give the picture of the very packet that it refused, without a mark, and make later ones out of it
(HEVC does). So every packet from a refused one up to the next keyframe is under suspicion, and so are those behind
that keyframe that are shown before it (leading pictures of an open group): they may refer to what lies before it. A
refused leading picture spoils other leading pictures only.
"""

from typing import Any

from av.video.frame import VideoFrame


class PictureDamage:
    """What is known to be spoilt in one run of decoding.

    Pictures are told apart by their timestamps. `by_order` is for files that have none for pictures (AVI with
    B-frames): there a picture comes out later than the packet that was sent last when it is given.
    """

    def __init__(self, *, by_order: bool) -> None:
        self._by_order = by_order
        self._spoilt: set[int | None] = set()
        self._spreads = False
        self._key: int | None = None  # stamp of the keyframe that ends the damage
        self._last_key: int | None = None

    def note(self, packet: Any, *, is_whole: bool) -> None:
        """Note that the decoder took a packet, or that it refused it."""
        stamp = packet.dts if self._by_order else packet.pts
        if not is_whole and self.leads(packet):
            self._key = self._last_key
        elif not is_whole:
            self._spreads, self._key = True, None
        elif packet.is_keyframe and stamp is not None:
            self._last_key = stamp
            if self._spreads:
                self._spreads, self._key = False, stamp
                self._spoilt.discard(stamp)
        leads = self._key is not None and stamp is not None and stamp < self._key
        if self._spreads or leads:
            self._spoilt.add(stamp)

    @property
    def has_begun(self) -> bool:
        """Tell whether a keyframe was taken."""
        return self._last_key is not None

    def leads(self, packet: Any) -> bool:
        """Tell whether a packet is shown before the keyframe that it follows."""
        return (
            not self._by_order
            and packet.pts is not None
            and self._last_key is not None
            and packet.pts < self._last_key
        )

    def spoils(self, frame: VideoFrame) -> bool:
        """Tell whether a picture was made of a refused packet, or may be made of one that was."""
        if not self._by_order:
            return frame.pts in self._spoilt
        if self._spreads or self._key is None:
            return self._spreads
        return frame.dts is not None and frame.dts <= self._key

    def is_over_at(self, frame: VideoFrame) -> bool:
        """Tell whether a picture that is not spoilt lies behind all damage."""
        if self._spreads or self._key is None:
            return not self._spreads
        return self._by_order or (frame.pts is not None and frame.pts >= self._key)
