"""An evaluation and a batch of training → what TensorBoard shows beside the scalars, on the main process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int, UInt8
from torch import Tensor

from avmi.config.parts import PretrainLogging
from avmi.data import Batch
from avmi.mi.view_matrix import ViewMatrix
from avmi.objective import Objective
from avmi.objective.joined import Joined
from avmi.training.watching.embedding_scalars import laid_out
from avmi.training.watching.evaluation import Embedded
from avmi.training.watching.examples import DrawExamples, choose_queries, find_examples
from avmi.training.watching.held_out_clips import HeldOutClip, spread
from avmi.training.watching.log import RunLog
from avmi.training.watching.projector import point_tables
from avmi.training.watching.score_histograms import scalars_of_scores, score_histograms
from avmi.training.watching.view_matrix import view_matrix
from avmi.views.graph import ViewGraph

DrawMatrix = Callable[[ViewMatrix], UInt8[np.ndarray, "height width 3"]]
# Counts of positives and of negatives, by the name of a row.
DrawScores = Callable[
    [Mapping[str, tuple[Int[np.ndarray, "bins"], Int[np.ndarray, "bins"]]]],
    UInt8[np.ndarray, "height width 3"],
]


@dataclass(frozen=True)
class Watch:
    """What of a run's evaluations is shown, and how it is drawn."""

    graph: ViewGraph
    settings: PretrainLogging
    clips: tuple[HeldOutClip, ...]  # of all processes, in the order of `Embedded`
    draw_matrix: DrawMatrix
    draw_scores: DrawScores
    draw_examples: DrawExamples

    def write_scores(
        self,
        record: RunLog,
        step: int,
        *,
        objective: Objective,
        held_out: Embedded,
        batch: Batch,
        embeddings: Mapping[str, Tensor],
    ) -> dict[str, float]:
        """Show histograms of the scores of positives and negatives, of held-out clips and of this process's batch.

        Gives the scalars of the held-out ones.
        """
        temperatures = temperatures_of(objective)
        trained = Joined(*laid_out(embeddings, batch, self.graph), batch.videos.cpu(), batch.seconds.cpu())
        scores = {
            kind: score_histograms(joined, self.graph.pairs, temperatures=temperatures)
            for kind, joined in (("train", trained), ("valid", held_out.joined))
        }
        counts = {}
        for kind, terms in scores.items():
            for name, term in terms.items():
                record.write_histogram(step, f"{kind}/positive_scores/{name}", term.positives)
                record.write_histogram(step, f"{kind}/negative_scores/{name}", term.negatives)
                counts[name, kind] = (term.positives.counts.numpy(), term.negatives.counts.numpy())
        rows = {f"{kind} {name}": counts[name, kind] for name, kind in sorted(counts)}
        record.write_picture(step, "valid/scores", self.draw_scores(rows))
        return scalars_of_scores(scores["valid"])

    def write_pictures(
        self, record: RunLog, step: int, embedded: Embedded, scalars: Mapping[str, float]
    ) -> None:
        """Show the bounds between all views, the embeddings in the projector, and examples of retrieval."""
        matrix = view_matrix(embedded, scalars, self.graph)
        record.write_picture(step, "valid/bound_nats_between_views", self.draw_matrix(matrix))
        if self.settings.projector_clips:
            rows = spread(len(self.clips), self.settings.projector_clips)
            record.write_points(step, point_tables(embedded, self.clips, self.graph, rows=rows))
        if self._queries:
            self._write_examples(record, step, embedded)

    def _write_examples(self, record: RunLog, step: int, embedded: Embedded) -> None:
        found = find_examples(embedded, self.clips, self.graph, queries=self._queries)
        sheet, sounds = self.draw_examples(found)
        record.write_picture(step, "valid/retrieved_examples", sheet)
        for number, (example, heard) in enumerate(zip(found, sounds, strict=True), start=1):
            own, *hits = heard
            name = f"example_{number}_{example.query.label}".rstrip("_")
            for what, sound in [("own_sound", own), *((f"rank_{n}", hit) for n, hit in enumerate(hits, 1))]:
                if sound is not None:
                    record.write_sound(step, f"{name}/{what}", sound)

    @cached_property
    def _queries(self) -> list[int]:
        """Rows of the clips that are queries all through the run."""
        required = self.graph.retrieval_views
        if required is None or not self.settings.examples:
            return []
        return choose_queries(self.clips, range(len(self.clips)), number=self.settings.examples)


def temperatures_of(objective: Objective) -> dict[str, float]:
    """Give the temperature of every pair."""
    own = objective.pair_log_temperatures
    return {
        pair.name: float((own[pair.name].exp() if pair.temperature else objective.temperature).detach())
        for pair in objective.graph.pairs
    }
