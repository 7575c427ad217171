from collections import Counter
from itertools import combinations

import numpy as np
from melodies import melody

from avmi.corpus.fingerprint import HOP_SECONDS, RATE_HZ, SoundMarks, paired, sound_marks
from avmi.corpus.near_duplicates import Fingerprint, near_duplicates

SILENT = SoundMarks(np.zeros(0, np.uint32), np.zeros(0, np.int64))


def scenes(seed: int, count: int = 5) -> tuple[int, ...]:
    """Hashes of pictures that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    return tuple(int(rng.integers(0, 2**63)) * 2 for _ in range(count))


def flipped(hashes: tuple[int, ...], bits: int) -> tuple[int, ...]:
    return tuple(h ^ ((1 << bits) - 1) << 9 for h in hashes)


def of_sound(sound: np.ndarray, pictures: tuple[int | None, ...]) -> Fingerprint:
    return Fingerprint(sound_marks(sound), pictures, len(sound) / RATE_HZ)


def test_a_trimmed_copy_is_found_among_strangers_with_its_offset():
    sound = melody(9.0, seed=1)
    rng = np.random.default_rng(4)
    copy = sound[round(1.37 * RATE_HZ) :] * 0.5
    copy = (copy + rng.normal(0, 0.001, len(copy))).astype(np.float32)
    strangers = [of_sound(melody(8.0, seed=s), scenes(s)) for s in range(20, 27)]
    found = near_duplicates(
        [*strangers[:3], of_sound(sound, scenes(1)), *strangers[3:], of_sound(copy, scenes(1))]
    )
    assert [(m.first, m.second, m.likeness) for m in found] == [(3, 8, "recording")]
    # A moment at t of the first is at t - 1.37 s of the copy.
    assert abs(found[0].offset_seconds - 1.37) < 0.04
    assert found[0].share > 0.2


def test_one_sound_under_other_pictures_is_no_copy_of_the_recording():
    sound = melody(6.0, seed=2)
    found = near_duplicates([of_sound(sound, scenes(1)), of_sound(sound, scenes(2))])
    assert [m.likeness for m in found] == ["sound"]
    assert found[0].share == 1.0


def test_a_sound_without_any_usable_picture_counts_as_the_recording():
    sound = melody(6.0, seed=2)
    found = near_duplicates([of_sound(sound, ()), of_sound(sound, (None, None))])
    assert [m.likeness for m in found] == ["recording"]


def test_other_sound_over_the_same_pictures_is_said():
    first, second = (
        of_sound(melody(6.0, seed=3), scenes(7)),
        of_sound(melody(6.0, seed=4), flipped(scenes(7), 5)),
    )
    assert [m.likeness for m in near_duplicates([first, second])] == ["pictures"]


def test_silent_copies_are_found_by_pictures_of_equal_length_that_change_their_scene():
    silent = Fingerprint(SILENT, scenes(9), 5.0)
    copy = Fingerprint(SILENT, flipped(scenes(9), 6), 5.2)
    longer = Fingerprint(SILENT, scenes(9), 7.0)
    different = Fingerprint(SILENT, flipped(scenes(9), 7), 5.0)
    assert [(m.first, m.second, m.likeness) for m in near_duplicates([silent, copy, longer, different])] == [
        (0, 1, "recording"),
        # Seven bits from the first, one from its copy.
        (1, 3, "recording"),
    ]


def test_pictures_find_all_pairs_that_comparing_every_two_finds_up_to_three_bits_apart():
    rng = np.random.default_rng(21)
    originals = [scenes(100 + number) for number in range(90)]
    copies = []
    for hashes in originals[::2]:
        moved = [
            sum(1 << int(bit) for bit in rng.choice(64, size=rng.integers(0, 4), replace=False))
            for _ in hashes
        ]
        copies.append(tuple(h ^ m for h, m in zip(hashes, moved, strict=True)))
    far = [tuple(h ^ 0b1111111 << 3 for h in hashes) for hashes in originals[1::2]]
    every = [Fingerprint(SILENT, hashes, 10.0) for hashes in [*originals, *copies, *far]]
    order = [every[place] for place in rng.permutation(len(every))]
    wanted = [
        (a, b)
        for a, b in combinations(range(len(order)), 2)
        if all((p ^ q).bit_count() <= 6 for p, q in zip(order[a].pictures, order[b].pictures, strict=True))
    ]
    assert len(wanted) == len(copies)
    assert [(m.first, m.second) for m in near_duplicates(order)] == wanted


def test_a_scene_that_never_changes_tells_nothing_by_its_pictures():
    still = (scenes(3)[0],) * 5
    assert near_duplicates([Fingerprint(SILENT, still, 5.0), Fingerprint(SILENT, still, 5.0)]) == ()


def test_a_jingle_that_many_videos_share_is_passed_over():
    jingle = melody(1.5, seed=50)
    prints = [of_sound(np.concatenate([jingle, melody(6.0, seed=100 + s)]), scenes(s)) for s in range(45)]
    assert near_duplicates(prints) == ()


def test_matches_do_not_depend_on_the_order_but_for_who_is_first():
    sound = melody(9.0, seed=1)
    a, b = of_sound(sound, scenes(1)), of_sound(sound[20_000:], scenes(1))
    (forth,), (back,) = near_duplicates([a, b]), near_duplicates([b, a])
    assert forth.offset_seconds == -back.offset_seconds
    assert abs(forth.offset_seconds - 2.5) < 0.04
    assert forth.share == back.share


def test_no_videos_and_one_video_have_no_near_duplicates():
    assert near_duplicates([]) == ()
    assert near_duplicates([of_sound(melody(3.0, seed=1), scenes(1))]) == ()


def test_matches_do_not_depend_on_how_many_triples_are_held_at_a_time(monkeypatch):
    sounds = [melody(6.0, seed=s) for s in (11, 12, 13)]
    prints = [of_sound(sound, scenes(n)) for n, sound in enumerate(sounds)]
    prints += [
        of_sound(sound[start:], scenes(n))
        for n, (sound, start) in enumerate(zip(sounds, (0, 9_000, 4_111), strict=True))
    ]
    together = near_duplicates(prints)
    assert [(m.first, m.second) for m in together] == [(0, 3), (1, 4), (2, 5)]
    monkeypatch.setattr("avmi.corpus.near_duplicates._TRIPLES_AT_A_TIME", 50)
    monkeypatch.setattr("avmi.corpus.near_duplicates._VIDEOS_AT_A_TIME", 2)
    assert near_duplicates(prints) == together


def test_a_copy_is_found_though_every_mark_of_it_stands_in_many_videos():
    rng = np.random.default_rng(8)
    peaks = [(30 * rng.integers(1, 13, 110), np.cumsum(rng.integers(1, 6, 110))) for _ in range(400)]
    bins, hops = peaks[7]
    peaks.append((bins[20:], hops[20:] - 13))
    sounds = [paired(*one) for one in peaks]
    videos_with = Counter(mark for sound in sounds for mark in set(sound.marks.tolist()))
    assert np.median([videos_with[mark] for mark in sounds[-1].marks.tolist()]) > 40
    found = near_duplicates([Fingerprint(s, scenes(7 if n == 400 else n), 8.0) for n, s in enumerate(sounds)])
    assert [(m.first, m.second) for m in found if m.likeness == "recording"] == [(7, 400)]
    copy = next(m for m in found if m.likeness == "recording")
    assert copy.share == 1.0
    assert abs(copy.offset_seconds - 13 * HOP_SECONDS) < 1e-9
