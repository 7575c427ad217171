"""What the whole suite shares: shape checks switched on, the optional folder of real clips."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from avmi.config.schema import PretrainConfig

# Tensors are tiny here: a second thread only spins, at three times the CPU time. Child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Shapes in signatures are checked in the tests only: at run time they would break torch.compile.
install_import_hook("avmi", "beartype.beartype")

REAL_CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"


@pytest.fixture(scope="session")
def real_clips() -> Path:
    if not REAL_CLIPS.is_dir():
        pytest.skip(f"the folder of real clips is absent: {REAL_CLIPS}")
    return REAL_CLIPS


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a prepared corpus: 3 labels × (3 train, 1 valid, 1 test) clips of about 3 s. Read only."""
    from corpora import make_corpus  # only now: the hook above must see avmi's first import

    return make_corpus(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., "PretrainConfig"]:
    """`tiny_config(corpus, run, **changes)`; see `corpora.tiny_config`."""
    from corpora import tiny_config

    return tiny_config


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint folder of untrained encoders with the views of `tiny_config`. Read only."""
    from corpora import tiny_config, untrained_checkpoint

    folder = tmp_path_factory.mktemp("untrained")
    return untrained_checkpoint(folder / "checkpoint", tiny_config(tiny_corpus, folder / "run"))
