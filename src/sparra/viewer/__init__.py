"""`sparra view`: a study's slides, CTs, importance and follow-up side by side, in a browser on this machine."""
