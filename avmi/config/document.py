"""A YAML file and overrides → plain values, and for every key the file:line or override it comes from."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from avmi.config.mistakes import Keys, Mistake, did_you_mean
from avmi.errors import ConfigError

# A configuration has some hundred lines; what is larger is a video or a table given by mistake.
_MOST_BYTES = 1_000_000
_MOST_DIGITS = 300  # Python itself refuses to read much longer whole numbers

_TAG = "tag:yaml.org,2002:"
PLAIN_SCALARS: tuple[tuple[str, re.Pattern[str], list[str]], ...] = (
    (_TAG + "null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    (_TAG + "bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    (
        _TAG + "int",
        re.compile(r"^(?:[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)|0x[0-9a-fA-F]+|0o[0-7]+)$"),
        list("-+0123456789"),
    ),
    (
        _TAG + "float",
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:_[0-9]+)*\.[0-9]*)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?[0-9]+(?:_[0-9]+)*[eE][-+]?[0-9]+"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+0123456789."),
    ),
    (_TAG + "merge", re.compile(r"^<<$"), ["<"]),
)
"""Plain scalars that are not text: those of YAML 1.2, where 7e-2 is a number and `no` is a word."""


class PlainLoader(yaml.SafeLoader):
    """Reads text without quotes as YAML 1.2 does."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in PLAIN_SCALARS:
    PlainLoader.add_implicit_resolver(_tag, _pattern, _first)


@dataclass
class Document:
    """Plain values of a configuration while it is put together, with the origin of every key."""

    name: str  # the file as the user gave it
    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Keys, str] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    unread: set[Keys] = field(default_factory=set)  # keys that have no value, because of a mistake

    def complain(self, keys: Keys, message: str, *, where: str | None = None) -> None:
        """Note a mistake at a key."""
        self.mistakes.append(Mistake(keys, message, where or self.origin(keys)))

    def origin(self, keys: Keys) -> str:
        """Say where a key comes from; a key that is not there comes from the one around it."""
        for length in range(len(keys), 0, -1):
            if keys[:length] in self.origins:
                return self.origins[keys[:length]]
        return self.name


def read_document(path: Path) -> Document:
    """Read a YAML file; raises `ConfigError` when there is nothing in it to go on with."""
    document = Document(name=str(path))
    text = _text(path)
    try:
        node = yaml.compose(text, Loader=PlainLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}{_yaml_problem(error)}") from error
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "null"):
        return document
    if not isinstance(node, yaml.MappingNode):
        what = "a list" if isinstance(node, yaml.SequenceNode) else "plain text"
        raise ConfigError(
            f"{path}:{node.start_mark.line + 1}: holds {what}; a configuration holds keys with values, "
            "such as `corpus: FOLDER`"
        )
    data = Builder(document).build(node)
    document.data = data if isinstance(data, dict) else {}
    return document


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        names = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, names, otherwise="give the path of a YAML file")
        raise ConfigError(f"{path} does not exist; {hint}") from error
    except IsADirectoryError as error:
        inside = sorted(path.glob("*.y*ml"))
        hint = f", such as {inside[0]}" if inside else ""
        raise ConfigError(f"{path} is a folder; give a YAML file{hint}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(content) <= _MOST_BYTES or error.start < _MOST_BYTES - 4:  # a cut letter is no error
            raise ConfigError(f"{path} is not a text file; give a YAML file") from error
        text = ""
    if "\0" in text:
        raise ConfigError(f"{path} is not a text file; give a YAML file")
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{path} is larger than 1 MB: that is no configuration; give a YAML file")
    return text


def _yaml_problem(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f" is not YAML: {' '.join(str(error).split())}"
    mark, problem = error.problem_mark, str(error.problem)
    if "'\\t'" in problem:
        problem = "a tab, which YAML does not allow for indenting; use spaces"
    elif error.context and "expected a single document" in error.context:
        problem = "a second document starts here (---); a configuration is one document"
    elif error.context and error.context_mark:
        problem += f" ({error.context} of line {error.context_mark.line + 1})"
    return f":{mark.line + 1}:{mark.column + 1}: not YAML: {problem}"


class Builder:
    """YAML nodes → plain values; writes origins and mistakes into the document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.open: list[yaml.Node] = []  # from the top to here, to find a node inside itself

    def build(self, node: yaml.Node, keys: Keys = ()) -> Any:
        """Give the plain value of a node that stands at a key."""
        if any(node is outer for outer in self.open):
            self._complain(node, keys, "contains itself; an alias (*) must stand outside its anchor (&)")
            self.document.unread.add(keys)
            return None
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, keys)
            if isinstance(node, yaml.SequenceNode):
                return [self._item(child, (*keys, i)) for i, child in enumerate(node.value)]
            return self._scalar(node, keys)
        finally:
            self.open.pop()

    def _complain(self, node: yaml.Node, keys: Keys, message: str) -> None:
        self.document.complain(keys, message, where=self._line(node))

    def _line(self, node: yaml.Node) -> str:
        return f"{self.document.name}:{node.start_mark.line + 1}"

    def _item(self, node: yaml.Node, keys: Keys) -> Any:
        self.document.origins[keys] = self._line(node)
        return self.build(node, keys)

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            key = key_node.value  # as written: `on` and `1` are names here, never true or a number
            if key_node.tag == _TAG + "merge":
                merged.append(value_node)
            elif not isinstance(key, str):
                self._complain(key_node, keys, "a key must be one word, not a list or a group")
            elif key in lines:
                self._complain(key_node, (*keys, key), f"given twice, first in line {lines[key]}; keep one")
            else:
                lines[key] = key_node.start_mark.line + 1
                self.document.origins[(*keys, key)] = self._line(key_node)
                found[key] = self.build(value_node, (*keys, key))
        for value_node in merged:
            self._merge(value_node, keys, found)
        return found

    def _merge(self, node: yaml.Node, keys: Keys, found: dict[str, Any]) -> None:
        """Take over `<<: *other`; keys that stand here win, and earlier ones over later ones."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            origins = dict(self.document.origins)
            values = self.build(source, keys)
            if not isinstance(values, dict):
                self._complain(node, keys, "<< must name a group of keys")
                continue
            found.update({k: v for k, v in values.items() if k not in found})
            self.document.origins.update(origins)

    def _scalar(self, node: yaml.Node, keys: Keys) -> Any:
        if not node.tag.startswith(_TAG):
            self._complain(node, keys, f"the tag {node.tag} is not allowed; remove it")
            self.document.unread.add(keys)
            return None
        text = str(node.value)
        return text if node.tag == _TAG + "str" else plain_value(text)


def plain_value(text: str) -> bool | int | float | str | None:
    """Read text without quotes: as nothing, true or false, a number, or the text itself."""
    tag = next((tag for tag, pattern, _ in PLAIN_SCALARS if pattern.match(text)), "")
    match tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int" if len(text) <= _MOST_DIGITS:
            return int(text.replace("_", ""), 0)
        case "float" if text.lower().endswith(("inf", "nan")):
            return float(text.replace(".", ""))
        case "float":
            return float(text.replace("_", ""))
    return text
