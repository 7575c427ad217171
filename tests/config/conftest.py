"""A YAML text and overrides → the lines of the error, as a user would read them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from avmi.config.base import Settings
from avmi.config.load import load_config
from avmi.config.schema import PretrainConfig
from avmi.errors import ConfigError

# Two views and the two folders: the shortest configuration that is right. Lines 1 to 5.
RIGHT = """\
corpus: corpora/toy
run: checkpoints/toy
views:
  image: {kind: frame}
  sound: {kind: audio}
"""

Complaints = Callable[..., list[str]]


@pytest.fixture
def complaints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Complaints:
    monkeypatch.chdir(tmp_path)

    def ask(text: str | bytes, *overrides: str, schema: type[Settings] = PretrainConfig) -> list[str]:
        Path("f.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError) as caught:
            load_config("f.yaml", overrides, schema=schema)
        return str(caught.value).splitlines()

    return ask


@pytest.fixture
def right() -> str:
    return RIGHT
