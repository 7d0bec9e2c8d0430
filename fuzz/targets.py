"""What is fuzzed: for each kind of file a few valid small ones, how they are broken, and what reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import numpy as np

from fuzz import mutate
from sparra.bags.bag import Bag

Mutator = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes
    ----------
    name : str
        File name of an input.
    seeds : callable
        Writes valid files into a folder and returns their paths.
    mutate : callable
    read : callable
        Reads one file as the package does.
    """

    name: str
    seeds: Callable[[Path], list[Path]]
    mutate: Mutator
    read: Callable[[Path], object]


def _ct(path: Path) -> object:
    from sparra.radiology.io import read_ct

    return read_ct(path).GetSize()


def _ct_folder(path: Path) -> object:
    """Read the folder that holds the file: where others lie in it, a series that is broken in part."""
    return _ct(path.parent)


def _bag(path: Path) -> object:
    from sparra.bags.readers import import_bag
    from sparra.bags.settings import ImportSettings

    bag = import_bag(path, "slide", mpp=0.25, settings=ImportSettings(tile_px=256, encoder="x"))
    return float(np.asarray(bag.features, dtype=np.float64).sum())


def _graph(path: Path) -> object:
    from sparra.graphs.store import read_graph

    return float(np.asarray(read_graph(path).features, dtype=np.float64).sum())


def _geojson(path: Path) -> object:
    from sparra.pathology.geojson import read_geojson

    return read_geojson(path, (0.25, 0.25), (1000, 1000)).area


def _study(path: Path) -> object:
    from sparra.study.settings import read_study

    return read_study(path).name


def _tables(path: Path) -> object:
    from sparra.cohort.tables import read_images, read_subjects

    return read_images(path) if b"modality" in path.read_bytes() else read_subjects(path, follow_up=True)


def _nifti_seeds(folder: Path, suffix: str) -> list[Path]:
    import SimpleITK as sitk

    paths = []
    for kind in (np.int16, np.float32):
        image = sitk.GetImageFromArray(np.arange(4 * 5 * 6, dtype=kind).reshape(4, 5, 6))
        image.SetSpacing((0.8, 0.8, 2.5))
        paths.append(folder / f"{np.dtype(kind).name}{suffix}")
        sitk.WriteImage(image, str(paths[-1]))
    return paths


def _dicom_seeds(folder: Path) -> list[Path]:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    paths = []
    for number in range(3):
        slice_ = Dataset()
        slice_.file_meta = FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_.file_meta.MediaStorageSOPClassUID = slice_.SOPClassUID = CTImageStorage
        slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID = f"1.2.3.{number + 1}"
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID, slice_.FrameOfReferenceUID = "1.2.4", "1.2.5", "1.2.6"
        slice_.Modality, slice_.SeriesNumber, slice_.InstanceNumber = "CT", "1", str(number + 1)
        slice_.Rows = slice_.Columns = 4
        slice_.PixelSpacing, slice_.SliceThickness = ["0.8", "0.8"], "2.5"
        slice_.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        slice_.ImagePositionPatient = ["0", "0", str(2.5 * number)]
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 16, 15, 1
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.RescaleSlope, slice_.RescaleIntercept, slice_.ImageType = "1", "-1024", ["ORIGINAL", "PRIMARY", "AXIAL"]
        slice_.PixelData = np.arange(16, dtype=np.int16).tobytes()
        paths.append(folder / f"slice-{number}.dcm")
        slice_.save_as(paths[-1], enforce_file_format=True)
    return paths


def _small_bag() -> Bag:
    return Bag(
        modality="slide",
        features=np.arange(12, dtype=np.float32).reshape(3, 4),
        positions=np.array([[64.0, 64.0], [192.0, 64.0], [64.0, 192.0]]),
        patch_size=(128.0, 128.0),
        feature_names=("a", "b", "c", "d"),
        extras={"tissue_fraction": np.ones(3)},
        provenance={"encoder": "x"},
    )


def _hdf5_seeds(folder: Path) -> list[Path]:
    import h5py

    from sparra.bags.store import write_bag

    ours, clam = folder / "ours.h5", folder / "clam.h5"
    write_bag(ours, _small_bag())
    with h5py.File(clam, "w") as file:
        file["features"] = np.ones((3, 4), np.float32)
        coords = file.create_dataset("coords", data=np.array([[0, 0], [256, 0], [0, 256]]))
        coords.attrs.update({"patch_size": 256, "patch_level": 0, "downsample": np.array([1.0, 1.0])})
        file.create_dataset("packed", data=np.ones((8, 8)), chunks=(4, 4), compression="gzip")
    return [ours, clam, _recent_hdf5(folder / "recent.h5")]


def _recent_hdf5(path: Path) -> Path:
    """Write a file in HDF5's newer structures: dense attributes and links, chunks in arrays and trees, texts."""
    import h5py

    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("features", data=np.ones((8, 4), np.float32), chunks=(2, 4), maxshape=(None, 4))
        coords = file.create_dataset("coords", data=np.zeros((8, 2), np.int64), chunks=(2, 2), maxshape=(None, None))
        coords.attrs.update({"patch_size": 256, "patch_size_level0": 256, "level0_magnification": 40, "name": "s1"})
        file.create_dataset("names", data=["a", "bb", ""], dtype=h5py.string_dtype())
        for number in range(12):
            coords.attrs[f"note-{number}"] = "text" * number
            file[f"group/{number}"] = h5py.SoftLink("/coords")
    return path


def _graph_seeds(folder: Path) -> list[Path]:
    from sparra.graphs.build import build_graph
    from sparra.graphs.settings import default_graph_settings
    from sparra.graphs.store import write_graph

    write_graph(folder / "graph.safetensors", build_graph(_small_bag(), default_graph_settings("slide"), "s1"))
    return [folder / "graph.safetensors"]


def _geojson_seeds(folder: Path) -> list[Path]:
    from shapely import MultiPolygon, Point, box

    from sparra.pathology.geojson import write_geojson

    path = folder / "outline.geojson"
    outline = MultiPolygon([box(5, 5, 90, 80), Point(150, 150).buffer(30, 4)])
    write_geojson(path, {"Tumor": outline, "Fold*": MultiPolygon([box(20, 20, 30, 30)])}, (0.25, 0.25))
    return [path]


STUDY = """name: Kidney
cohort: {subjects: subjects.csv, images: images.csv, time_unit: days}
output: output
ct: {spacing_mm: 1.024, margin_mm: 8, patch_mm: 12.288}
slide:
  mpp: 0.5
  tile_um: 128
methods:
  aggregators: [mean, abmil, sparra]
  options: {sparra: {preset: paper}}
training: {epochs: 20, learning_rate: 3.0e-4}
evaluation: {folds: 5, keep_together: site}
seed: 0
"""
TABLES = (
    'subject_id,time,event,age\nP1,812,1,61\nP2,1430,Alive,55\n"P,3",30,0:LIVING,\n',
    "subject_id,modality,path,mask,label,mpp,spacing_mm\nP1,ct,a.nii,m.nii,1+2,,0.8x0.8x2\nP2,slide,b.svs,,,0.25,\n",
)


def _text_seeds(folder: Path, suffix: str, texts: tuple[str, ...]) -> list[Path]:
    paths = [folder / f"{number}{suffix}" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def _plain_seeds(folder: Path, suffix: str) -> list[Path]:
    import torch

    features = np.arange(12, dtype=np.float32).reshape(3, 4)
    coords = np.array([[0, 0], [256, 0], [0, 256]])
    path = folder / f"plain{suffix}"
    if suffix == ".npy":
        np.save(path, features)
    elif suffix == ".npz":
        np.savez(path, features=features, coords=coords, patch_size=np.array(256))
    elif suffix == ".pt":
        torch.save(torch.from_numpy(features), path)
    else:
        rows = [f"{x},{y},{x + 256},{y + 256},{i},{i + 1}" for i, (x, y) in enumerate(coords)]
        path.write_text("\n".join(["x0,y0,x1,y1,f0,f1", *rows]) + "\n")
    return [path]


TARGETS: dict[str, Target] = {
    "nifti": Target("ct.nii", partial(_nifti_seeds, suffix=".nii"), mutate.mutate_bytes, _ct),
    "nifti-gz": Target("ct.nii.gz", partial(_nifti_seeds, suffix=".nii.gz"), mutate.mutate_gzip, _ct),
    "dicom": Target("slice.dcm", _dicom_seeds, mutate.mutate_bytes, _ct_folder),
    "hdf5": Target("bag.h5", _hdf5_seeds, mutate.mutate_bytes, _bag),
    "geojson": Target("outline.geojson", _geojson_seeds, mutate.mutate_text, _geojson),
    "yaml": Target("study.yaml", partial(_text_seeds, suffix=".yaml", texts=(STUDY,)), mutate.mutate_text, _study),
    "safetensors": Target("graph.safetensors", _graph_seeds, mutate.mutate_safetensors, _graph),
    "npy": Target("bag.npy", partial(_plain_seeds, suffix=".npy"), mutate.mutate_bytes, _bag),
    "npz": Target("bag.npz", partial(_plain_seeds, suffix=".npz"), mutate.mutate_zip, _bag),
    "pt": Target("bag.pt", partial(_plain_seeds, suffix=".pt"), mutate.mutate_zip, _bag),
    "csv": Target("bag.csv", partial(_plain_seeds, suffix=".csv"), mutate.mutate_text, _bag),
    "tables": Target("t.csv", partial(_text_seeds, suffix=".csv", texts=TABLES), mutate.mutate_text, _tables),
}
