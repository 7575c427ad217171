"""A typed backbone choice → a network from pictures, stacks or spectrograms to one feature vector each."""

from torch import nn

from avmi.config.parts import Backbone
from avmi.models.small_conv import SmallConv
from avmi.models.torchvision_nets import TorchvisionBackbone
from avmi.models.weights import load_weights


def build_backbone(settings: Backbone, *, channels_in: int) -> SmallConv | TorchvisionBackbone:
    """Build the backbone that the configuration names, with its local weights if it names some."""
    if settings.name == "small_conv":
        backbone: SmallConv | TorchvisionBackbone = SmallConv(
            channels_in,
            width=settings.width,
            channels=settings.place_channels if settings.pooling == "places" else None,
            grid=settings.places if settings.pooling == "places" else None,
            normalization=settings.normalization,
            checkpoints=settings.checkpoint_activations,
        )
        network: nn.Module = backbone
    else:
        backbone = TorchvisionBackbone(
            settings.name, channels_in, checkpoints=settings.checkpoint_activations
        )
        network = backbone.net
    if settings.weights is not None:
        load_weights(network, settings.weights)
    return backbone
