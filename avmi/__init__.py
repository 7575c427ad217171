"""Public names of avmi, loaded when they are used: importing avmi costs no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avmi import mi
    from avmi.config.load import load_config
    from avmi.config.schema import FinetuneConfig, PretrainConfig
    from avmi.embedder import load
    from avmi.errors import (
        AvmiError,
        CheckpointError,
        ConfigError,
        CorpusError,
        DecodeError,
        InputError,
        SearchIndexError,
        TrainingError,
        UsageError,
    )
    from avmi.index import Index
    from avmi.workflows.embed import embed
    from avmi.workflows.evaluate import evaluate_probe, evaluate_retrieval
    from avmi.workflows.finetune import finetune
    from avmi.workflows.index import index as build_index
    from avmi.workflows.prepare import prepare
    from avmi.workflows.pretrain import pretrain
    from avmi.workflows.retrieve import retrieve

__version__ = "0.1.0"

__all__ = [
    "AvmiError",
    "CheckpointError",
    "ConfigError",
    "CorpusError",
    "DecodeError",
    "FinetuneConfig",
    "Index",
    "InputError",
    "PretrainConfig",
    "SearchIndexError",
    "TrainingError",
    "UsageError",
    "__version__",
    "build_index",
    "embed",
    "evaluate_probe",
    "evaluate_retrieval",
    "finetune",
    "load",
    "load_config",
    "mi",
    "prepare",
    "pretrain",
    "retrieve",
]

_ERRORS = (
    "AvmiError",
    "CheckpointError",
    "ConfigError",
    "CorpusError",
    "DecodeError",
    "InputError",
    "SearchIndexError",
    "TrainingError",
    "UsageError",
)

# Where each public name lives: its module, and its name there ("" is the module itself).
_PLACES = {
    **{name: ("avmi.errors", name) for name in _ERRORS},
    "FinetuneConfig": ("avmi.config.schema", "FinetuneConfig"),
    "Index": ("avmi.index", "Index"),
    "PretrainConfig": ("avmi.config.schema", "PretrainConfig"),
    # Not `index`: the package avmi.index would take that name's place as soon as it is imported.
    "build_index": ("avmi.workflows.index", "index"),
    "embed": ("avmi.workflows.embed", "embed"),
    "evaluate_probe": ("avmi.workflows.evaluate", "evaluate_probe"),
    "evaluate_retrieval": ("avmi.workflows.evaluate", "evaluate_retrieval"),
    "finetune": ("avmi.workflows.finetune", "finetune"),
    "load": ("avmi.embedder", "load"),
    "load_config": ("avmi.config.load", "load_config"),
    "mi": ("avmi.mi", ""),
    "prepare": ("avmi.workflows.prepare", "prepare"),
    "pretrain": ("avmi.workflows.pretrain", "pretrain"),
    "retrieve": ("avmi.workflows.retrieve", "retrieve"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, inner = _PLACES[name]
    value = import_module(module)
    found = getattr(value, inner) if inner else value
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
