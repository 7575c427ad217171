"""Posteriors of all views → what the loss says of codes beside the pairs: the bottleneck and the private parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from avmi.config.bottleneck import Bottleneck as BottleneckSettings
from avmi.config.bottleneck import Private as PrivateSettings
from avmi.config.parts import Head
from avmi.objective.bottleneck import Bottleneck
from avmi.objective.codes import Codes
from avmi.objective.private import PrivateParts


@dataclass(frozen=True)
class CodeLoss:
    """What codes add to the loss, and its parts in nats for the record."""

    total: Tensor  # carries the gradient
    scalars: dict[str, Tensor]  # in nats, and β


class CodeTerms(nn.Module):
    """β times the upper bounds on I(x; z), and the terms of private parts, where the configuration asks for them."""

    def __init__(
        self,
        head: Head,
        *,
        bottleneck: BottleneckSettings | None,
        private: PrivateSettings,
        views: Sequence[str],
        pairs: Sequence[tuple[str, str]],
    ) -> None:
        super().__init__()
        self.bottleneck = self.private = None
        if bottleneck is not None:
            dim = head.embedding_dim + head.private_dim
            self.bottleneck = Bottleneck(bottleneck, views=views, code_dim=dim)
        if head.private_dim:
            self.private = PrivateParts(
                private, pairs=pairs, shared_dim=head.embedding_dim, private_dim=head.private_dim
            )

    def forward(self, codes: Mapping[str, Codes], *, progress: float) -> CodeLoss:
        """Add up the terms; `progress`, from 0 to 1, is the share of the training that is done with this step."""
        first = next(iter(codes.values())).posterior.mean
        total: Float[Tensor, ""] = first.new_zeros(())
        scalars: dict[str, Tensor] = {}
        if self.bottleneck is not None:
            beta = self.bottleneck.settings.beta_at(progress)
            upper = self.bottleneck(codes)
            scalars |= {f"upper_nats/{name}": value.detach() for name, value in upper.items()}
            scalars["beta"] = first.new_tensor(beta)
            total = total + sum(beta * value for value in upper.values())
        if self.private is not None:
            terms = self.private(codes)
            settings = self.private.settings
            total = total + terms.loss(
                informative=settings.informative, apart=settings.apart_at(progress), like=first
            )
            scalars |= {f"private_lower_nats/{name}": value.detach() for name, value in terms.lower.items()}
            scalars |= {f"private_apart_nats/{name}": value.detach() for name, value in terms.apart.items()}
        return CodeLoss(total, scalars)
