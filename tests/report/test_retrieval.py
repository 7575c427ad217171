import base64
import io
import re
import wave

import numpy as np
from PIL import Image

from avmi.decode.clip import Waveform
from avmi.index import Hit
from avmi.report.moments import Moment
from avmi.report.retrieval import LONGEST_QUERY_SECONDS, ShownQuery, retrieval_page

RATE = 8000
EVIL = """<script>alert('x')</script>"&"""


def sound(seconds: float, *, start: float = 0.0) -> Waveform:
    samples = np.sin(np.arange(round(seconds * RATE)) / 3).astype(np.float32) / 2
    return Waveform(samples, RATE, start)


def picture(shade: int) -> np.ndarray:
    return np.full((24, 32, 3), shade, np.uint8)


def hit(rank: int, *, label: str = "", video: str = "a.mp4", start: float = 2.0, end: float = 3.5) -> Hit:
    return Hit(rank, 1 - rank / 8, video, start, end, label, clip_id="", split="test")


def page_of(*queries: ShownQuery) -> str:
    return retrieval_page(queries, index="my.index", searched=77, model_hash="0123456789abcdef")


def sources(page: str, kind: str) -> list[bytes]:
    return [base64.b64decode(data) for data in re.findall(rf'src="data:{kind};base64,([^"]*)"', page)]


def texts(page: str) -> str:
    return re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<(style|script)>.*?</\1>", "", page))


def test_every_hit_has_a_player_with_its_seconds_and_no_more() -> None:
    moments = [Moment(picture(200), sound(1.5, start=2.0)), Moment(picture(90), sound(0.5, start=7.0))]
    hits = [hit(1), hit(2, start=7.0, end=7.5)]
    page = page_of(ShownQuery("dog.jpg", picture(10), hits, moments))
    lengths = []
    for data in sources(page, "audio/wav"):
        with wave.open(io.BytesIO(data)) as file:
            lengths.append(file.getnframes() / file.getframerate())
    assert lengths == [1.5, 0.5]
    assert page.count('data-start="0.000"') == 2


def test_query_and_hits_are_seen() -> None:
    page = page_of(ShownQuery("dog.jpg", picture(10), [hit(1)], [Moment(picture(200), sound(1.5))]))
    shades = [np.asarray(Image.open(io.BytesIO(data))).mean() for data in sources(page, "image/jpeg")]
    assert [round(shade, -1) for shade in shades] == [10, 200]
    assert len(sources(page, "image/png")) == 1  # the spectrogram
    for said in ("Sounds for dog.jpg", "score 0.875", "a.mp4", "2.00–3.50\u00a0s", "77", "my.index"):
        assert said in texts(page)


def test_nothing_is_fetched_from_elsewhere() -> None:
    page = page_of(ShownQuery("dog.jpg", picture(10), [hit(1)], [Moment(picture(200), sound(1.5))]))
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert "http://" not in page
    assert "https://" not in page


def test_what_comes_from_outside_is_shown_and_not_run() -> None:
    query = ShownQuery(EVIL, picture(1), [hit(1, label=EVIL, video=EVIL)], [Moment(problem=EVIL)], label=EVIL)
    page = page_of(query)
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") >= 4


def test_a_hit_that_cannot_be_shown_says_why_and_stays() -> None:
    moments = [Moment(problem="the video is no longer there"), Moment(picture(9), sound(1.5))]
    page = page_of(ShownQuery("dog.jpg", picture(10), [hit(1), hit(2)], moments))
    assert "1 of the hits cannot be shown whole" in texts(page)
    assert "the video is no longer there" in texts(page)
    assert len(sources(page, "audio/wav")) == 1
    assert "score 0.875" in texts(page)


def test_labels_are_marked_only_when_the_querys_is_known() -> None:
    hits = [hit(1, label="dog"), hit(2, label="cat"), hit(3)]
    moments = [Moment()] * 3
    known = texts(page_of(ShownQuery("q", picture(1), hits, moments, label="dog")))
    unknown = texts(page_of(ShownQuery("q", picture(1), hits, moments)))
    assert "1 · dog ✓" in known
    assert "2 · cat ✗" in known
    assert "✓" not in unknown
    assert "✗" not in unknown


def test_hits_of_the_querys_own_video_are_told_apart() -> None:
    hits = [hit(1, video="a.mp4"), hit(2, video="b.mp4")]
    text = texts(page_of(ShownQuery("q", picture(1), hits, [Moment()] * 2, video="b.mp4")))
    assert text.count("the query's own video") == 1 or text.count("the query&#x27;s own video") == 1


def test_a_sound_query_is_heard_and_finds_pictures() -> None:
    hits = [hit(1, start=4.0, end=4.0)]
    page = page_of(ShownQuery("bark.wav", sound(1.25), hits, [Moment(picture(50))]))
    (data,) = sources(page, "audio/wav")
    with wave.open(io.BytesIO(data)) as file:
        assert file.getnframes() == 1.25 * RATE
    assert "Pictures for bark.wav" in texts(page)
    assert "4.00\u00a0s" in texts(page)


def test_of_a_long_sound_query_only_the_beginning_is_embedded() -> None:
    page = page_of(ShownQuery("long.wav", sound(LONGEST_QUERY_SECONDS + 5), [hit(1)], [Moment()]))
    (data,) = sources(page, "audio/wav")
    with wave.open(io.BytesIO(data)) as file:
        assert file.getnframes() / RATE == LONGEST_QUERY_SECONDS
    assert "the first 30 s" in texts(page)


def test_a_query_without_hits_says_so() -> None:
    assert "nothing was found" in texts(page_of(ShownQuery("q", picture(1), [], [])))
