"""Odd real files: each is usable or rejected for a reason that is true of it; the table was checked with ffprobe."""

from collections import Counter

from avmi.corpus.pool import ProbePool
from avmi.decode.probe import probe

NO_SOUND = (
    "mov_cfr.mov", "mpeg_cfr.mpeg", "examples_test.avi", "h263.3gp", "firstpts_10_sec.mp4",
    "captions_h265.mp4", "multiple-gop_sample.video.mp4", "with-key-frame-index.flv", "642x642_768kbps_30fps_vp9.webm",
    "192kbps_15fps_mpeg4.mp4", "800x640_768kbps_30fps_vp9.mp4", "h265_bframes.mp4", "slow_motion.mp4",
)  # fmt: skip
NO_PICTURE = (
    "amrwb.3gp", "emsg_sample.audio.mp4", "q10_vorbis.webm", "q10_opus.webm", "with_dts.mkv", "dts_hd_ma.mkv",
    "iamf_opus.mp4", "edit_list_audioonly.mp4", "sample_ac3.mp4", "sample_ac3_aac.mp4", "sample_ac4.mp4",
    "sample_alac.mp4", "alac_20bit.mp4", "sample_dthd.mp4", "dts_express.mp4", "rechunk_no_elst.mp4",
)  # fmt: skip
# Half a second is the least.
TOO_SHORT = ("with_pgs_subtitles.mkv", "8k24fps_300ms.mp4", "dolbyVision-hdr.MOV")
BAD_CLOCK = ("with-large-length.avi",)


def expected(name: str) -> str:
    for reason, ends in (
        ("no_audio", NO_SOUND),
        ("no_video", NO_PICTURE),
        ("too_short", TOO_SHORT),
        ("bad_timestamps", BAD_CLOCK),
    ):
        if name.endswith(ends):
            return reason
    return ""


def test_every_odd_file_is_usable_or_rejected_for_its_true_reason(real_clips):
    files = sorted((real_clips / "edge").iterdir())
    with ProbePool([probe], workers=2, time_limit_seconds=60.0) as pool:
        outcomes = dict(pool.run(files))
    assert {p.name: o.reason for p, o in outcomes.items()} == {p.name: expected(p.name) for p in files}
    assert all(len(o.detail) > 10 for o in outcomes.values() if o.reason)
    assert Counter(o.reason for o in outcomes.values())[""] == 24
