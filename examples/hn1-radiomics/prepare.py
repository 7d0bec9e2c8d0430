"""Write the tables and bags of 137 head-and-neck patients: `python prepare.py ../../../shared/data/hn1-radiomics`.

Each delineated structure (tumours and organs at risk) is a row of a patient's bag: 32 first-order and shape features
of its CT, and whether it is a tumour (GTV). Sizes and energies span several powers of ten and are taken as logarithms,
from 1 up: the mesh of a cochlea of few voxels may have no volume or a negative one.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from sparra.bags import Bag, write_bag

TO_LOG = (
    *("Energy", "TotalEnergy", "Variance", "Kurtosis", "Range", "MeshVolume", "VoxelVolume", "SurfaceArea"),
    *("LeastAxisLength", "MinorAxisLength", "MajorAxisLength", "Maximum3DDiameter"),
    *("Maximum2DDiameterColumn", "Maximum2DDiameterRow", "Maximum2DDiameterSlice"),
)
COVARIATES = {
    "age_at_diagnosis": "age",
    "biological_sex": "sex",
    "ajcc_stage": "stage",
    "clin_t": "t",
    "clin_n": "n",
    "index_tumour_location": "location",
}


def main(data: Path) -> None:
    cohort = Path(__file__).parent / "cohort"
    (cohort / "bags").mkdir(parents=True, exist_ok=True)
    structures = pd.read_csv(data / "HN_Radiomics.csv", index_col=0)
    clinical = pd.read_csv(data / "HN_ClinicalData.csv").set_index("id").sort_index()
    is_gtv = structures["Structure"].str.startswith("GTV")
    volume_cm3 = (structures["VoxelVolume"] / 1000).where(is_gtv).groupby(structures["id"]).sum()
    features = structures.drop(columns=["id", "Structure"]).astype(float)
    features[list(TO_LOG)] = np.log(features[list(TO_LOG)].clip(lower=1.0))
    features["is_gtv"] = is_gtv.astype(float)
    for subject_id, rows in features.groupby(structures["id"]):
        provenance = {"encoder": "HN1 structures", "structures": structures.loc[rows.index, "Structure"].tolist()}
        bag = Bag("ct", rows.to_numpy(), None, feature_names=tuple(features.columns), provenance=provenance)
        write_bag(cohort / "bags" / f"{subject_id}.h5", bag)
    subjects = clinical[list(COVARIATES)].rename(columns=COVARIATES)
    subjects.insert(0, "time", clinical["overall_survival_in_days"])
    subjects.insert(1, "event", clinical["event_overall_survival"])
    subjects["gtv_volume_cm3"] = volume_cm3.round(3)
    subjects.to_csv(cohort / "subjects.csv", index_label="subject_id")
    images = pd.DataFrame({"subject_id": subjects.index, "modality": "ct"})
    images["path"] = [f"bags/{subject_id}.h5" for subject_id in subjects.index]
    images.to_csv(cohort / "images.csv", index=False)
    print(f"{len(subjects)} subjects with {len(structures)} structures written to {cohort}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
