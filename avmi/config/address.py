"""What `corpus` names → an address of object storage (s3://bucket/folder), or none: a folder."""

import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from avmi.types import StrPath

# A scheme of two letters or more (C:/ is a drive), and what follows its slashes.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)


def address_of(corpus: StrPath) -> str | None:
    """Give the address of object storage that is meant; None for a path.

    A `Path` of s3://bucket/folder reads s3:/bucket/folder: that is taken for the same.
    """
    found = _ADDRESS.match(os.fspath(corpus))
    if found is None:
        return None
    slashes = ":///" if found[1] in ("file", "local") else "://"
    return f"{found[1]}{slashes}{found[2].rstrip('/')}"


def check_corpus(corpus: Path) -> Path:
    """Raise `ValueError` for an address with a password or signature in it: it would end up in logs and configs."""
    address = address_of(corpus)
    if address is None:
        return corpus
    parts = urlsplit(address)
    if not (parts.netloc or parts.path.strip("/")):
        raise ValueError("an address is written like s3://bucket/folder")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(
            "an address must hold no user, password or signature, for it is logged: give access rights by the "
            "storage's own environment variables or files"
        )
    return corpus


CorpusPlace = Annotated[Path, AfterValidator(check_corpus)]
