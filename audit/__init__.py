"""Whether a known vulnerability lies in what ``requirements.lock`` installs."""
