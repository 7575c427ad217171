"""Truth files, each written once for all tests of the session."""

import pytest
from truth import TRUTH_FILES


@pytest.fixture(scope="session")
def truth_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    written = {}

    def find(name):
        if name not in written:
            written[name] = TRUTH_FILES[name](folder)
        return written[name]

    return find
