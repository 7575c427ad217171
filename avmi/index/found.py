"""A clip that is searched for, its own counterpart's place, and the best hits: what examples of retrieval show."""

from dataclasses import dataclass

from avmi.index.exact import Hit


@dataclass(frozen=True)
class FoundClips:
    """What one picture found among the sounds of a gallery that holds its own."""

    query: Hit  # the picture, a point in time
    own: Hit  # the sound of the same clip, at its rank
    best: tuple[Hit, ...]  # the first hits
    gallery: int  # sounds that were searched
