"""{view: embedding} of a batch → loss and the bound on every pair's mutual information, over all processes."""

from avmi.objective.objective import Loss, Objective, PairTerm

__all__ = ["Loss", "Objective", "PairTerm"]
