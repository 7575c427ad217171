"""`import avmi` offers these names, loads what is used and nothing else."""

import ast
import importlib
from importlib.metadata import version
from pathlib import Path

import pytest

import avmi

NAMES = [
    "AvmiError", "CheckpointError", "ConfigError", "CorpusError", "DecodeError", "FinetuneConfig", "Index",
    "InputError", "PretrainConfig", "SearchIndexError", "TrainingError", "UsageError", "__version__",
    "build_index", "embed", "evaluate_probe", "evaluate_retrieval", "finetune", "load", "load_config", "mi",
    "prepare", "pretrain", "retrieve",
]  # fmt: skip


def test_these_are_the_public_names() -> None:
    assert sorted(avmi.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(avmi))


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(avmi, name) is not None


def test_the_functions_are_those_of_the_workflows() -> None:
    for name in ("embed", "finetune", "prepare", "pretrain", "retrieve"):
        assert getattr(avmi, name) is getattr(importlib.import_module(f"avmi.workflows.{name}"), name)
    assert avmi.build_index is importlib.import_module("avmi.workflows.index").index


def test_no_public_function_is_replaced_by_a_module_of_its_name() -> None:
    # `import avmi.x` sets the attribute x of avmi: a function x beside it would be gone.
    modules = {path.stem for path in Path(avmi.__file__).parent.iterdir() if not path.name.startswith("_")}
    assert modules & set(NAMES) == {"mi"}


def test_a_star_import_brings_them_all() -> None:
    found: dict[str, object] = {}
    exec("from avmi import *", found)
    assert set(NAMES) <= set(found)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'avmi' has no attribute 'pretrian'"):
        _ = avmi.pretrian


def test_the_changelog_has_this_version() -> None:
    changelog = Path(__file__).resolve().parents[1] / "CHANGELOG.md"
    assert f"## {avmi.__version__}" in changelog.read_text(encoding="utf-8")


def test_an_installed_avmi_carries_its_version_and_its_types() -> None:
    assert (Path(avmi.__file__).parent / "py.typed").is_file()
    assert version("avmi") == avmi.__version__


def test_type_checkers_are_told_the_same_places_as_python() -> None:
    tree = ast.parse(Path(avmi.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told.pop("mi") == ("avmi", "mi")
    assert told.keys() == set(NAMES) - {"mi", "__version__"}
    for name, (module, inner) in told.items():
        assert getattr(avmi, name) is getattr(importlib.import_module(str(module)), inner)
