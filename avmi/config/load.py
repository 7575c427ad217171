"""A YAML file and `key.sub=value` overrides → a checked configuration; a configuration → YAML."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from avmi.config import bound_checks, checks
from avmi.config.base import Settings
from avmi.config.document import PLAIN_SCALARS, Document, read_document
from avmi.config.explain import explain
from avmi.config.mistakes import Key, Keys, Mistake, listed
from avmi.config.overrides import override, resolve
from avmi.config.schema import FinetuneConfig, PretrainConfig
from avmi.errors import ConfigError
from avmi.types import StrPath

Config = TypeVar("Config", bound=Settings)

# Whole numbers up to here are exact as floats: `steps: 1e3` may stand for 1000.
_MOST_EXACT = 2**53
_WIDTH = 10_000  # letters in a line of YAML: never break one


def load_config(path: StrPath, overrides: Sequence[str] = (), *, schema: type[Config]) -> Config:
    """Read a configuration from YAML, with overrides such as `optimizer.steps=500` written over it.

    Relative paths in it stay relative to the working directory. `${key.sub}` stands for another value of
    the file. Raises `ConfigError` with every mistake, one a line.
    """
    document = read_document(Path(path))
    override(document, overrides)
    resolve(document)
    _refuse_what_is_no_such_config(document, schema)
    config, mistakes = _validated(schema, document.data)
    for mistake in mistakes:
        if not any(mistake.keys[: len(keys)] == keys for keys in document.unread):
            document.complain(mistake.keys, mistake.message)
    if config is None or document.mistakes:
        raise ConfigError(_text(document))
    return config


def schema_of(path: StrPath, overrides: Sequence[str] = ()) -> type[PretrainConfig | FinetuneConfig]:
    """Tell by its keys which verb a configuration is for."""
    document = read_document(Path(path))
    override(document, overrides)
    return FinetuneConfig if _looks_like(document.data, FinetuneConfig) else PretrainConfig


def dump_config(config: Settings) -> str:
    """Write a configuration as YAML, with every default in it; `load_config` reads the same again."""
    return write_yaml(config.model_dump(mode="json"))


def write_yaml(values: dict[str, Any], *, style: Literal["block", "brackets"] = "block") -> str:
    """Write plain values so that `load_config` reads the same: one key a line, or all in brackets."""
    return yaml.dump(
        _escaped(values),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=_WIDTH,
        default_flow_style=style == "brackets",
    )


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would read as anything else; writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern, _first in PLAIN_SCALARS:
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)


def _escaped(value: Any) -> Any:
    """Write `${` so that it is read as those characters; backslashes before it count double."""
    if isinstance(value, dict):
        return {key: _escaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_escaped(inner) for inner in value]
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", value)
    return value


def _refuse_what_is_no_such_config(document: Document, schema: type[Settings]) -> None:
    """Stop at files that hold nothing, or the configuration of another verb: one sentence says it all."""
    required = [name for name, field in schema.model_fields.items() if field.is_required()]
    if not document.data and not document.mistakes:
        raise ConfigError(f"{document.name} is empty; it must at least give {listed(required)}")
    for other, verb in ((PretrainConfig, "pretrain"), (FinetuneConfig, "finetune")):
        if (
            other is not schema
            and _looks_like(document.data, other)
            and not _looks_like(document.data, schema)
        ):
            raise ConfigError(
                f"{document.name} is a configuration of another verb: run `avmi {verb} {document.name}`"
            )


def _looks_like(data: dict[str, Any], schema: type[Settings]) -> bool:
    """Tell by the key that only this schema has: a fine-tuning starts from a checkpoint."""
    return ("checkpoint" if schema is FinetuneConfig else "views") in data


def _validated(schema: type[Config], data: dict[str, Any]) -> tuple[Config | None, list[Mistake]]:
    """Validate, and check how the parts go together as far as they can be read."""
    config, mistakes = None, []
    try:
        config = schema.model_validate_json(_as_json(data), strict=True)
    except ValidationError as error:
        mistakes = explain(schema, data, error.errors(include_url=False))
    if issubclass(schema, PretrainConfig):
        mistakes += _check_together(config, data, {mistake.keys for mistake in mistakes})
    return config, mistakes


def _check_together(config: Settings | None, data: dict[str, Any], wrong: set[Keys]) -> list[Mistake]:
    """Run the checks across keys on every part that can be read once its wrong keys are left out."""
    part = {
        name: getattr(config, name) if config else _read_part(name, data, wrong)
        for name in (
            "views",
            "pairs",
            "bound",
            "places",
            "encoders",
            "negatives",
            "bottleneck",
            "private",
            "data",
            "log_mel",
        )
    }
    found: list[Mistake] = []
    if part["views"] is not None and part["pairs"] is not None:
        unread = {str(keys[1]) for keys in wrong if keys[:1] == ("views",) and len(keys) > 1}
        found += checks.check_graph(part["views"], part["pairs"], encoders=part["encoders"], unread=unread)
    if part["views"] is not None and part["log_mel"] is not None:
        found += checks.check_windows(part["views"], part["log_mel"])
    if all(part[name] is not None for name in ("pairs", "negatives", "data")):
        found += checks.check_negatives(part["pairs"], part["negatives"], part["data"])
    if all(part[name] is not None for name in ("views", "pairs", "bound", "places")):
        found += bound_checks.check_bounds(
            part["views"], part["pairs"], bound=part["bound"], places=part["places"]
        )
    if all(part[name] is not None for name in ("views", "encoders", "private")):
        found += bound_checks.check_posteriors(
            part["views"], part["encoders"], bottleneck=part["bottleneck"], private=part["private"]
        )
    return [mistake for mistake in found if mistake.keys not in wrong]


def _read_part(name: str, data: dict[str, Any], wrong: set[Keys]) -> Any:
    """Read one top key without the keys that are wrong in it; None when that cannot be read either."""
    field = PretrainConfig.model_fields[name]
    if (name,) in wrong:
        return None
    if name not in data:
        return None if field.is_required() else field.get_default()
    adapter: TypeAdapter[Any] = TypeAdapter(field.annotation or Any)
    try:
        return adapter.validate_json(_as_json(_without(data[name], (name,), wrong)), strict=True)
    except ValidationError:
        return None


def _without(value: Any, keys: Keys, wrong: set[Keys]) -> Any:
    if not isinstance(value, dict):
        return (
            [_without(v, (*keys, i), wrong) for i, v in enumerate(value)]
            if isinstance(value, list)
            else value
        )
    return {k: _without(v, (*keys, k), wrong) for k, v in value.items() if (*keys, k) not in wrong}


def _as_json(value: Any) -> str:
    """Write values for pydantic, whose strict mode reads lists as tuples and text as paths only in JSON."""

    def whole(inner: Any) -> Any:
        if isinstance(inner, dict):
            return {key: whole(v) for key, v in inner.items()}
        if isinstance(inner, list):
            return [whole(v) for v in inner]
        is_whole = isinstance(inner, float) and inner.is_integer() and abs(inner) <= _MOST_EXACT
        return int(inner) if is_whole else inner

    return json.dumps(whole(value))


def _text(document: Document) -> str:
    """Order the mistakes as the file is read, overrides last."""

    def order(mistake: Mistake) -> tuple[bool, int, Sequence[Key]]:
        where = mistake.where or ""
        line = re.search(r":(\d+)$", where.removeprefix(document.name))
        return where.startswith("override"), int(line[1]) if line else 0, [str(k) for k in mistake.keys]

    lines = dict.fromkeys(mistake.line for mistake in sorted(document.mistakes, key=order))
    return "\n".join(lines)
