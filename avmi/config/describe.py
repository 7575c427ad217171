"""A configuration → YAML in which every key carries its description as a comment."""

from typing import Any

from avmi.config.base import Settings
from avmi.config.load import write_yaml

_COMMENT_COLUMN = 44  # comments of short lines stand below each other


def describe_config(config: Settings) -> str:
    """Write a configuration as `dump_config` does, with what every key means beside it."""
    return "\n".join(_lines(config, "")) + "\n"


def _lines(group: Settings, indent: str) -> list[str]:
    found: list[str] = []
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        comment = field.description or ""
        inner = _inner(value)
        if inner is None:
            plain = group.model_dump(mode="json", include={name})
            in_brackets = write_yaml(plain, style="brackets").strip()
            found.append(_line(indent + in_brackets.removeprefix("{").removesuffix("}"), comment))
            continue
        found.append(_line(f"{indent}{name}:", comment))
        for inner_name, settings in inner.items():
            if inner_name:
                found.append(f"{indent}  {inner_name}:")
            found += _lines(settings, indent + ("    " if inner_name else "  "))
    return found


def _inner(value: Any) -> dict[str, Settings] | None:
    """Give the groups inside a value by name, a single one under no name; None when there are none."""
    if isinstance(value, Settings):
        return {"": value}
    if isinstance(value, dict) and value and all(isinstance(v, Settings) for v in value.values()):
        return value
    return None


def _line(text: str, comment: str) -> str:
    return f"{text:<{_COMMENT_COLUMN}}# {comment}" if len(text) < _COMMENT_COLUMN else f"{text}  # {comment}"
