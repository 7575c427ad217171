"""What a user gives as samples or labels → rows that can be used, or one clear sentence why not."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from avmi.errors import InputError


def checked_rows(values: Any, name: str) -> Float[Tensor, "rows dims"]:
    """Give samples as rows in float64; `name` says in errors which side it is.

    One dimension is one column; what has more than two is flattened to rows. Raises `InputError`.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (
            values.double().numpy() if values.is_floating_point() else values.numpy()
        )  # NumPy has no bfloat16
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} holds {_kind(array)}, not numbers: give one row of numbers a sample")
    if array.ndim == 0 or array.size == 0:
        raise InputError(f"{name} is empty (shape {_shape(array)}): give one row of numbers a sample")
    rows = array.astype(np.float64).reshape(len(array), -1)
    bad = ~np.isfinite(rows)
    if bad.any():
        row, column = (int(place) for place in np.argwhere(bad)[0])
        raise InputError(
            f"{name} has {int(bad.sum())} values that are not finite, the first in row {row + 1}, "
            f"column {column + 1}: leave such rows out on both sides"
        )
    constant = np.flatnonzero((rows == rows[0]).all(axis=0))
    if len(constant):
        raise InputError(
            f"{name} has {len(constant)} constant columns of {rows.shape[1]}, the first is column {constant[0] + 1}: "
            "leave them out, they tell nothing"
        )
    return torch.from_numpy(np.ascontiguousarray(rows))


def checked_labels(values: Any, name: str) -> tuple[Int[Tensor, "rows"], tuple[str, ...]]:
    """Give class labels as numbers from 0, and the classes' names. Raises `InputError`."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or not array.size:
        raise InputError(f"{name} has shape {_shape(array)}: give one label a row")
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.round(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "biuUS":
        raise InputError(f"{name} holds {_kind(array)}: labels are whole numbers or text")
    classes, numbers = np.unique(array, return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"{name} has the one label {classes[0]}: there is nothing to tell")
    if len(classes) > len(array) // 2:
        raise InputError(
            f"{name} has {len(classes)} labels in {len(array)} rows: that is no set of classes; leave --labels away"
        )
    return torch.from_numpy(numbers.reshape(-1)), tuple(str(label) for label in classes)


def require_pairs(x: Tensor, y: Tensor, *, least: int) -> None:
    """Check that two sides have as many rows, and enough of them. Raises `InputError`."""
    if len(x) != len(y):
        raise InputError(f"X has {len(x)} rows and Y has {len(y)}: row n of both must be the same moment")
    if len(x) < least:
        raise InputError(
            f"X and Y have {len(x)} rows, and {least} are the fewest: half of them train, a batch at a time"
        )


def _kind(array: Shaped[np.ndarray, "..."]) -> str:
    kinds = {"U": "text", "S": "text", "O": "objects", "c": "complex numbers", "M": "dates", "m": "durations"}
    return kinds.get(
        array.dtype.kind, "numbers with fractions" if array.dtype.kind == "f" else str(array.dtype)
    )


def _shape(array: Shaped[np.ndarray, "..."]) -> str:
    return "×".join(str(size) for size in array.shape) or "()"
