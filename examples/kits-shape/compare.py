"""Print the study's C-index beside that of the radiographic size alone: `python compare.py`, after `sparra run`.

Both are the mean over the same folds of Harrell's C within the fold, with 95 % intervals from the same draws of
patients. The size is not fitted: the larger tumour has the higher risk.
"""

from pathlib import Path

import pandas as pd

from sparra.survival.bootstrap import c_index_intervals


def main(folder: Path) -> None:
    predictions = pd.read_csv(folder / "output" / "evaluation" / "predictions.csv")
    size = pd.read_csv(folder / "cohort" / "subjects.csv").set_index("subject_id")["radiographic_size"]
    alone = predictions.drop_duplicates("subject_id").assign(aggregator="none", model="radiographic_size")
    alone["risk"] = alone["subject_id"].map(size)
    print(c_index_intervals(pd.concat([predictions, alone]), seed=0).round(3).to_string(index=False))
    print(f"{len(alone)} patients, {int(alone['event'].sum())} deaths")


if __name__ == "__main__":
    main(Path(__file__).parent)
