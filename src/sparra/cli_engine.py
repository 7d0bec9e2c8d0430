"""The options that say where a command's work runs."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sparra.engine.settings import EngineSettings

EngineOption = Annotated[
    str | None,
    typer.Option("--engine", "--scheduler", help="local, serial, slurm, or a scheduler's address; not the file's."),
]
# Of a command that reads no study's file, and so has nothing to say of Slurm.
EngineAloneOption = Annotated[
    str, typer.Option("--engine", "--scheduler", help="local, serial, or the address of a scheduler.")
]
WorkersOption = Annotated[int | None, typer.Option(help="Items at a time; default: one a processor.", min=1)]
MemoryOption = Annotated[float | None, typer.Option("--memory-gib", help="What one item may take of memory.")]
TimeLimitOption = Annotated[float | None, typer.Option("--time-limit-minutes", help="How long one item may take.")]


def engine_settings(
    engine: str, workers: int | None, memory_gib: float | None, time_limit_minutes: float | None
) -> "EngineSettings":
    """Return the settings that the options amount to.

    Raises
    ------
    UserError
        If a value is not possible, or the engine is Slurm, whose settings stand in a study's file.
    """
    from sparra.engine.settings import EngineSettings
    from sparra.errors import UserError

    if engine == "slurm":
        what = "this command reads no study's file, so it knows nothing of your Slurm"
        raise UserError(what, "--engine", "Start dask workers by Slurm and give their scheduler's address")
    values = {
        "engine": engine,
        "workers": workers,
        "memory_gib": memory_gib,
        "time_limit_minutes": time_limit_minutes,
    }
    return EngineSettings.from_mapping(values, "the command line")
