"""What the server of the workers imports: all that decoding needs, used once, so that no worker has to wait for it."""

from avmi.config.parts import ImageInput, LogMel
from avmi.config.views import AudioView, FrameView
from avmi.corpus.plan import SignalView
from avmi.data.worker import rehearse
from avmi.views.make import ViewMaker

_VIEWS: dict[str, SignalView] = {
    "image": FrameView(kind="frame"),
    "sound": AudioView(kind="audio", window_seconds=0.5),
}

# It compiles, or loads, what is compiled when it is first used.
rehearse(ViewMaker(_VIEWS, image=ImageInput(), log_mel=LogMel()))
