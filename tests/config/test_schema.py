"""Every knob says what it means, in its unit, and every configuration of the project is right."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from avmi.config import shapes
from avmi.config.load import load_config, schema_of
from avmi.config.schema import FinetuneConfig, PretrainConfig
from avmi.views.graph import graph_of

CONFIGS = sorted(
    path
    for path in (Path(__file__).resolve().parents[2] / "configs").rglob("*.yaml")
    if path.parent.name != "launch"  # those are accelerate's
)
UNITS = {"_seconds": "in seconds", "_hz": "in Hz", "_px": "in pixels"}


def fields(group: type[BaseModel], seen: set[type]) -> Iterator[tuple[str, FieldInfo]]:
    """Every field of a schema and of the groups inside it, each group once."""
    if group in seen:
        return
    seen.add(group)
    for name, field in group.model_fields.items():
        yield f"{group.__name__}.{name}", field
        stack = [field.annotation]
        while stack:
            kind = shapes.bare(stack.pop())
            if shapes.is_group(kind):
                yield from fields(kind, seen)
            else:
                stack += [k for k in getattr(kind, "__args__", ()) if not isinstance(k, str)]


FIELDS = dict(field for schema in (PretrainConfig, FinetuneConfig) for field in fields(schema, set()))


def test_the_walk_reaches_every_part() -> None:
    assert {"AudioView.window_seconds", "PairSettings.weight", "Head.hidden_dims", "LogMel.floor"} <= set(
        FIELDS
    )


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_field_has_a_description_that_ends_in_a_period_and_names_its_unit(name: str) -> None:
    description = FIELDS[name].description or ""
    assert description.endswith(".")
    for ending, unit in UNITS.items():
        if name.endswith(ending):
            assert unit in description


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_configuration_of_the_project_loads_and_has_a_right_graph(path: Path) -> None:
    config = load_config(path, schema=schema_of(path))
    assert path.parent.name == ("finetune" if isinstance(config, FinetuneConfig) else "pretrain")
    if isinstance(config, PretrainConfig):
        assert graph_of(config).pairs


def test_there_are_configurations_to_check() -> None:
    assert any(path.name == "quickstart.yaml" for path in CONFIGS)
