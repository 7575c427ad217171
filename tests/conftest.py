"""What the whole suite shares: shape checks switched on, the optional folder of real clips."""

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Shapes in signatures are checked in the tests only: at run time they would break torch.compile.
install_import_hook("avmi", "beartype.beartype")

REAL_CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"


@pytest.fixture(scope="session")
def real_clips() -> Path:
    if not REAL_CLIPS.is_dir():
        pytest.skip(f"the folder of real clips is absent: {REAL_CLIPS}")
    return REAL_CLIPS
