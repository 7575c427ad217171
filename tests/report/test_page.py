import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from avmi.report import page as page_module
from avmi.report.page import (
    Bars,
    Card,
    Code,
    Facts,
    Figure,
    Gallery,
    Section,
    Sound,
    Table,
    Text,
    render,
    write_page,
)

EVIL = """<script>alert(1)</script>"'&</title></style>"""
PNG = b"\x89PNG no real one"


def page_of(*blocks, title="t") -> str:
    return render(title, [Section("s", blocks)])


class _Reading(HTMLParser):
    """Collects tags with their attributes, and texts; checks that tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts, self._open = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("style", "script") and data.strip():
            self.texts.append(data)


def read(page: str) -> _Reading:
    reading = _Reading()
    reading.feed(page)
    reading.close()
    assert reading._open == []
    return reading


EVERYTHING = (
    Text(EVIL),
    Text(EVIL, tone="warning"),
    Code(EVIL),
    Facts([(EVIL, EVIL)]),
    Figure(PNG, "image/png", alt=EVIL, caption=EVIL),
    Sound(b"RIFF", "audio/wav", start_seconds=1.25, caption=EVIL),
    Bars([(EVIL, 3), ("b", 0)], unit=EVIL),
    Table([EVIL, "n"], [[EVIL, 3], [Text(EVIL), None]], caption=EVIL),
    Gallery([Card(EVIL, [Text(EVIL)], note=EVIL)]),
)


def test_no_text_from_outside_becomes_markup():
    reading = read(render(EVIL, [Section(EVIL, EVERYTHING)], subtitle=EVIL))
    scripts = [attributes for tag, attributes in reading.tags if tag == "script"]
    assert scripts == [{}]  # the page's own
    # title twice, subtitle, heading; 2 texts, code, tile 2, captions 2, bar, table 4, card 3
    assert reading.texts.count(EVIL) == 4 + 2 + 1 + 2 + 2 + 1 + 4 + 3
    assert [a["alt"] for tag, a in reading.tags if tag == "img"] == [EVIL]


def test_a_page_names_no_outside_address():
    text = render("t", [Section("s", EVERYTHING)])
    assert "http://" not in text
    assert "https://" not in text
    for _, attributes in read(text).tags:
        for name in ("src", "href", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")


def test_the_policy_allows_the_pages_own_script_and_nothing_else():
    text = page_of(Text("a"))
    policy = next(a["content"] for tag, a in read(text).tags if a.get("http-equiv"))
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_pictures_and_sounds_are_carried_in_the_page():
    tags = dict(read(page_of(Figure(PNG, "image/png", alt="a"), Sound(b"abc", "audio/wav", 2.5))).tags)
    assert base64.b64decode(tags["img"]["src"].removeprefix("data:image/png;base64,")) == PNG
    assert tags["audio"]["src"] == "data:audio/wav;base64,YWJj"
    assert tags["audio"]["data-start"] == "2.500"


def test_light_and_dark_have_their_own_colours():
    text = page_of(Text("a"))
    assert "prefers-color-scheme: dark" in text
    assert "color-scheme: light dark" in text
    used = set(re.findall(r"var\((--[a-z-]+)\)", text)) - {"--card-width"}
    light, dark = re.search(r":root \{(.*?)\}.*?:root \{(.*?)\}", text, re.DOTALL).groups()
    for name in used:
        assert name in light
        assert name in dark


def test_a_table_keeps_its_cells_in_place_and_numbers_to_the_right():
    reading = read(page_of(Table(["name", "count"], [["a", 1234], ["b", 0.25], ["c", None]])))
    assert reading.texts[-8:] == ["name", "count", "a", "1,234", "b", "0.25", "c", "–"]
    kinds = [a.get("class") for tag, a in reading.tags if tag in ("th", "td")]
    assert kinds == [None, "number"] * 4


def test_a_row_of_another_length_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="has not 2 cells"):
        page_of(Table(["a", "b"], [["only one"]]))


def test_the_longest_bar_is_full_and_nothing_is_none():
    text = page_of(Bars([("a", 3), ("b", 12), ("c", 0)], unit="videos"))
    assert re.findall(r"width:([0-9.]+)%", text) == ["25.00", "100.00", "0.00"]
    assert "12 videos" in text
    assert re.findall(r"width:([0-9.]+)%", page_of(Bars([("a", 0)]))) == ["0.00"]


def test_a_name_that_is_no_utf8_or_holds_controls_is_shown_and_can_be_written(tmp_path):
    name = "caf\udce9\x1b[31m\u202egpj.mp4"
    write_page(tmp_path / "a.html", page_of(Text(name)))
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "caf\\udce9\\x1b[31m\\u202egpj.mp4" in text


def test_other_alphabets_and_spaces_stay_as_they_are():
    assert "видео 動画\u00a0é — “x”" in page_of(Text("видео 動画\u00a0é — “x”"))


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    write_page(tmp_path / "a.html", "old")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page_module.Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_page(tmp_path / "a.html", "new")
    monkeypatch.undo()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.html", "old")]
