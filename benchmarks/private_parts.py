"""What the two parts of codes hold: a linear probe of the label, from the shared and from the private part of each view.

Run: python benchmarks/private_parts.py RUN [RUN …]   (runs of configs/pretrain/shared_private.yaml)
Learns on the train split of the run's corpus and is scored on its valid split. Private parts that repeat nothing of what
the other view shows would leave the label at chance, if pictures and sounds share no more than it.
"""

import argparse
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from avmi.checkpoint import load_checkpoint
from avmi.config.schema import PretrainConfig
from avmi.corpus.manifest import read_manifest
from avmi.data import fixed_loader
from avmi.models.training_pass import TrainingPass
from avmi.training.feed import Feed
from avmi.types import Split
from avmi.views.graph import graph_of


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    print("| run | view | shared | private |\n|---|---|---|---|")
    for run in parser.parse_args().runs:
        found = load_checkpoint(run)
        assert isinstance(found.config, PretrainConfig)
        encoders = TrainingPass(found.encoders).eval()
        learn, score = (codes_of(encoders, found.config, split) for split in ("train", "valid"))
        shared = found.config.encoders.head.embedding_dim
        for view in learn[0]:
            tops = []
            for part in (slice(0, shared), slice(shared, None)):
                probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
                probe.fit(learn[0][view][:, part].numpy(), learn[1])
                tops.append(probe.score(score[0][view][:, part].numpy(), score[1]))
            print(f"| {run.name} | {view} | {tops[0]:.3f} | {tops[1]:.3f} |", flush=True)


@torch.inference_mode()
def codes_of(
    encoders: TrainingPass, config: PretrainConfig, split: Split
) -> tuple[dict[str, Tensor], list[str]]:
    """Give the means of every view's codes and the labels of the clips that have all views."""
    graph = graph_of(config)
    feed = Feed(read_manifest(config.corpus), graph.signals, config.image, config.log_mel, config.data)
    means: dict[str, list[Tensor]] = {name: [] for name in graph.signals}
    labels: list[str] = []
    for batch in fixed_loader(feed.fixed(split, required=tuple(graph.signals)), workers=0):
        for name, posterior in encoders(batch.views).posteriors.items():
            means[name].append(posterior.mean)
        labels += [spec.video.label for spec in batch.specs]
    return {name: torch.cat(parts) for name, parts in means.items()}, labels


if __name__ == "__main__":
    main()
