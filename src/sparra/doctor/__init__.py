"""``sparra doctor``: whether this machine can run a study, and what to do where it cannot."""
