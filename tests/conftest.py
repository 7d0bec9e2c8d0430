"""Worker processes that tests start find the tests' own functions, which pickled work names by module."""

import os
from pathlib import Path

# Named, since workers look for no modules in a current folder that nobody named (`sparra.processes`).
ROOT = str(Path(__file__).parents[1])
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
