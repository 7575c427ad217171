import pytest

from avmi.engine.share import parse_share
from avmi.errors import UsageError


def test_shares_divide_the_work_and_added_units_move_no_other():
    names = [f"folder/{n}.mp4" for n in range(700)]
    shares = [parse_share(f"{i}/3") for i in range(3)]
    owners = {name: [s.number for s in shares if s.has(name)] for name in names}
    assert all(len(found) == 1 for found in owners.values())
    counts = [sum(found == [i] for found in owners.values()) for i in range(3)]
    assert min(counts) > 180


@pytest.mark.parametrize("text", ["3/2", "2/2", "-1/4", "a/b", "1", "1/", "/3", "1/0", "1.5/3"])
def test_a_share_that_is_none_is_a_usage_error_that_shows_the_form(text: str):
    with pytest.raises(UsageError, match=f"--shard {text}: "):
        parse_share(text)
