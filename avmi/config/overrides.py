"""A document → the same with `key.sub=value` overrides in it, and with `${...}` replaced."""

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from avmi.config.document import Builder, Document, PlainLoader, plain_value
from avmi.config.mistakes import Key, Keys, dotted


def override(document: Document, overrides: Sequence[str]) -> None:
    """Write overrides into a document, in order; the later one wins.

    A value is read as in YAML: numbers, true, false, null, text, and lists and groups in brackets. A group
    is merged into the group that is there; anything else replaces what is there.
    """
    for text in overrides:
        where = f"override `{text}`"
        name, equals, value_text = (part.strip() for part in text.partition("="))
        if not equals or not all(name.split(".")):
            document.complain((), "write it as key=value, such as optimizer.steps=500", where=where)
            continue
        try:
            value = _value(value_text, name, document, where)
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or "it cannot be read"
            document.complain((name,), f"its value is not YAML: {problem}", where=where)
            continue
        _put(document, name.split("."), value, where)


def _value(text: str, name: str, document: Document, where: str) -> Any:
    if not text.startswith(("[", "{", '"', "'")):
        return plain_value(text)  # a path may hold what YAML gives a meaning: a # or a colon
    scratch = Document(name=where)
    node = yaml.compose(text, Loader=PlainLoader)
    value = Builder(scratch).build(node) if node else None
    for mistake in scratch.mistakes:
        document.complain((name, *mistake.keys), mistake.message, where=where)
    return value


def _put(document: Document, names: Sequence[str], value: Any, where: str) -> None:
    """Set a value at a key, make the groups on the way, and take over the origins beneath it."""
    at: Any = document.data
    keys: Keys = ()
    for name in names:
        if isinstance(at, list) and not (name.isdecimal() and int(name) < len(at)):
            places = f"places 0 to {len(at) - 1}" if at else "no place yet"
            document.complain((*keys, name), f"{dotted(keys)} is a list with {places}", where=where)
            return
        step: Key = int(name) if isinstance(at, list) else name
        keys = (*keys, step)
        if len(keys) == len(names):
            break
        inside = _inside(at, step)
        if not isinstance(inside, dict | list):
            inside = {}
            document.origins[keys] = where
        at[step] = inside
        at = inside
    _merge(at, step, value)
    if not isinstance(value, dict):
        document.origins = {k: o for k, o in document.origins.items() if k[: len(keys)] != keys}
    document.origins.update(dict.fromkeys((keys, *_beneath(value, keys)), where))


def _inside(at: Any, step: Key) -> Any:
    """Give what stands at a key; None for one that is not there yet."""
    try:
        return at[step]
    except KeyError:
        return None


def _merge(at: Any, step: Key, value: Any) -> None:
    old = _inside(at, step)
    if not (isinstance(old, dict) and isinstance(value, dict)):
        at[step] = value
        return
    for key, inner in value.items():
        _merge(old, key, inner)


def _beneath(value: Any, keys: Keys) -> Iterator[Keys]:
    """All keys inside a value."""
    if not isinstance(value, dict | list):
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*keys, key)
        yield from _beneath(inner, (*keys, key))


def resolve(document: Document) -> None:
    """Replace every `${key.sub}` by that value; where that fails is noted as a mistake."""
    places = {k: text for k, text in _texts(document.data) if "${" in text or text == "???"}
    if not places:
        return
    # Imported here: a tenth of a second, which most configurations need not wait for.
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    def fail(keys: Keys, error: Exception) -> None:
        document.unread.add(keys)
        _set(document.data, keys, None)
        document.complain(keys, _problem(places[keys], error))

    for keys, text in places.items():
        try:
            OmegaConf.create([text])
        except OmegaConfBaseException as error:
            fail(keys, error)
    config = OmegaConf.create(document.data)
    for keys in places.keys() - document.unread:
        try:
            value = _at(config, keys)
            if OmegaConf.is_config(value):
                value = OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            fail(keys, error)
        else:
            _set(document.data, keys, value)


def _texts(value: Any) -> Iterator[tuple[Keys, str]]:
    for inner in _beneath(value, ()):
        found = _at(value, inner)
        if isinstance(found, str):
            yield inner, found


def _at(value: Any, keys: Keys) -> Any:
    for key in keys:
        value = value[key]
    return value


def _set(value: Any, keys: Keys, new: Any) -> None:
    _at(value, keys[:-1])[keys[-1]] = new


def _problem(text: str, error: Exception) -> str:
    match type(error).__name__:
        case "MissingMandatoryValue":
            return "must be given; ??? stands for a value that you choose, here or as key=value"
        case "InterpolationKeyError":
            return f"{text} names a key that is not written in this configuration"
        case "GrammarParseError":
            return f"{text} cannot be read; write ${{key.sub}}, or \\${{ for the characters themselves"
    return f"{text} cannot be filled in: {str(error).splitlines()[0]}"
