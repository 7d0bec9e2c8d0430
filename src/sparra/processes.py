"""How processes of sparra's own are started: with the modules of this one, and none of the current folder's."""

import os
import sys
from pathlib import Path

# So that they share the machine and results do not vary. Told before NumPy and torch load.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module; without ``-P``, Python would first look for modules where it is run."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """Return the environment of a process that finds the modules of this one and works in one thread."""
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(_module_folders())}


def _module_folders() -> list[str]:
    """Return where modules are looked for here, less the current folder unless the user named it.

    Python puts it there by itself for ``python -m`` and for an interactive session. It may hold files of others.
    """
    here = os.getcwd()
    named = {os.path.abspath(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part}
    kept = here in named or here == _program_folder()
    return [folder for folder in sys.path if folder and (kept or os.path.abspath(folder) != here)]


def _program_folder() -> str | None:
    """Return the folder that holds the script, or the package, that was started."""
    program = sys.modules.get("__main__")
    file, spec = getattr(program, "__file__", None), getattr(program, "__spec__", None)
    if file is None:
        return None
    folders = Path(file).absolute().parents
    depth = 0 if spec is None else str(spec.name).count(".")
    return str(folders[min(depth, len(folders) - 1)])
