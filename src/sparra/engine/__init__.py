"""Where work runs: here, on a local Dask cluster, on a scheduler that is already there, or on Slurm."""
