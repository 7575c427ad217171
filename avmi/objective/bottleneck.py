"""Posteriors of every view → an upper bound on what their codes hold of it, with the marginals r(z) it learns."""

from collections.abc import Iterable, Mapping

from jaxtyping import Float
from torch import Tensor, nn

from avmi.config.bottleneck import Bottleneck as BottleneckSettings
from avmi.mi.bound import Bound
from avmi.mi.conditional import leave_one_out_upper
from avmi.mi.marginals import GaussianMixture
from avmi.mi.posterior import defensive, log_densities, rate
from avmi.objective.codes import Codes


class Bottleneck(nn.Module):
    """Upper bounds on I(x; z) for the known posterior p(z | x) of a stochastic encoder (VIB, Alemi et al. 2017).

    The other posteriors of the defensive and of the leave-one-out bound are those of the batch's clips of other videos,
    of all processes: clips of one video are no independent draws. A marginal r(z) for each view is learned with the
    encoders, by the same loss.
    """

    def __init__(self, settings: BottleneckSettings, *, views: Iterable[str], code_dim: int) -> None:
        super().__init__()
        self.settings = settings
        self.marginals = nn.ModuleDict()
        if settings.upper != "leave_one_out":
            for name in views:
                self.marginals[_key(name)] = GaussianMixture(code_dim, components=settings.components)

    def forward(self, codes: Mapping[str, Codes]) -> dict[str, Float[Tensor, ""]]:
        """Bound every view that clips of two videos have, in nats; the others are left out."""
        bounds = {name: self._bound(name, its) for name, its in codes.items() if bool(its.others.any())}
        return {name: bound.value_nats for name, bound in bounds.items()}

    def _bound(self, name: str, codes: Codes) -> Bound:
        match self.settings.upper:
            case "rate":
                return rate(codes.posterior, self.marginals[_key(name)]())
            case "defensive":
                return defensive(
                    codes.posterior,
                    self.marginals[_key(name)](),
                    epsilon=self.settings.epsilon_or_default,
                    negatives=codes.others,
                )
            case "leave_one_out":
                densities = log_densities(
                    codes.posterior.sample, codes.posterior.mean, codes.posterior.log_sigma
                )
                return leave_one_out_upper(densities.T, conditional="known", negatives=codes.others)


def _key(view: str) -> str:
    # Views may be called what PyTorch's containers call their methods: keys, values.
    return f"r_{view}"
