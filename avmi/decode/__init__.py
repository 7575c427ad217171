"""Reads clips out of video files: one contract (`clip`), several backends, chosen in `choose`."""
