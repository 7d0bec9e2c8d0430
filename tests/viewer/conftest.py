"""A small study, one of whose patients has its original slide and CT, and a server of it."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import tifffile
from safetensors.numpy import load_file, save_file
from tests.report.conftest import build_study, make_graph

from sparra.bags.bag import Bag
from sparra.bags.preview import Preview
from sparra.bags.store import read_bag, write_bag
from sparra.cohort.tables import read_images, subject_key
from sparra.files import read_json, write_json
from sparra.graphs.store import write_graph
from sparra.modality import MODALITIES
from sparra.study.layout import StudyLayout
from sparra.viewer.server import ViewerServer, viewer

WITH_IMAGES = "P001"
WITHOUT_PICTURES = "P009"  # its features came without a picture of the image
SLIDE_PX = (1100, 700)  # width, height: tiles that are cut off at both borders
MPP = 0.5
TILE_UM = 64.0
CT_SHAPE = (14, 40, 48)  # z, y, x
CT_SPACING = (0.8, 0.8, 2.5)
# The first axis runs to the patient's right and the third to the feet.
CT_DIRECTION = np.diag([-1.0, 1.0, -1.0])
CT_ORIGIN = (30.0, -20.0, 500.0)
HOT_SLIDE, HOT_CT = 37, 5  # the most important patches
UNSURE_SLIDE = 20  # the slide's patch whose importance is least certain; the CT's has no standard deviation


@dataclass(frozen=True)
class SeenStudy:
    layout: StudyLayout
    folder: Path
    slide_key: str
    ct_key: str
    hu: np.ndarray
    mask: np.ndarray
    slide_bag: Bag
    ct_bag: Bag


@pytest.fixture(scope="session")
def seen_study(tmp_path_factory: pytest.TempPathFactory) -> SeenStudy:
    folder = tmp_path_factory.mktemp("viewed")
    layout = build_study(folder / "output", n_subjects=12)
    rng = np.random.default_rng(5)
    write_slide(folder / "slide.tiff", rng)
    hu, mask = write_ct(folder, rng)
    rows = [[WITH_IMAGES, "slide", "slide.tiff", "", ""], [WITH_IMAGES, "ct", "ct.nii.gz", "mask.nii.gz", "1"]]
    pd.DataFrame(rows, columns=["subject_id", "modality", "path", "mask", "label"]).to_csv(
        folder / "images.csv", index=False
    )
    settings = read_json(layout.settings) | {
        "cohort": {"subjects": str(layout.subjects), "images": str(folder / "images.csv"), "time_unit": "days"}
    }
    write_json(layout.settings, settings)
    slide_record, ct_record = read_images(folder / "images.csv")[0]
    slide_bag, ct_bag = _slide_bag(rng), _ct_bag(rng)
    _put(layout, slide_bag, slide_record.key, HOT_SLIDE)
    _put(layout, ct_bag, ct_record.key, HOT_CT)
    for modality in MODALITIES:
        key = f"{subject_key(WITHOUT_PICTURES)}-0"
        write_bag(layout.bag(modality, key), read_bag(layout.bag(modality, key)))
    layout.report.parent.mkdir()
    layout.report.write_text("<!DOCTYPE html><title>report</title>")
    (layout.report.parent / "figures").mkdir()
    (layout.report.parent / "figures" / "fig.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    return SeenStudy(layout, folder, slide_record.key, ct_record.key, hu, mask, slide_bag, ct_bag)


def write_slide(path: Path, rng: np.random.Generator) -> None:
    """A pyramid of two levels without loss, so that pixels can be compared."""
    width, height = SLIDE_PX
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    with tifffile.TiffWriter(path) as writer:
        for level in range(2):
            shown = pixels if level == 0 else pixels.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
            per_cm = 1e4 / (MPP * 2**level)
            writer.write(
                shown.astype(np.uint8), tile=(256, 256), photometric="rgb", compression="zlib",
                resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", subfiletype=level, metadata=None,
            )  # fmt: skip


def write_ct(folder: Path, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    hu = rng.integers(-1000, 1500, CT_SHAPE).astype(np.int16)
    mask = np.zeros(CT_SHAPE, dtype=np.uint8)
    mask[4:10, 12:28, 10:30] = 1
    for name, voxels in (("ct", hu), ("mask", mask)):
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing(CT_SPACING)
        image.SetOrigin(CT_ORIGIN)
        image.SetDirection(CT_DIRECTION.ravel().tolist())
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
    return hu, mask


def _slide_bag(rng: np.random.Generator) -> Bag:
    sides = [np.arange(side * MPP // TILE_UM) * TILE_UM + TILE_UM / 2 for side in SLIDE_PX]
    x, y = np.meshgrid(*sides)
    positions = np.column_stack([x.ravel(), y.ravel()])
    return Bag("slide", rng.normal(size=(len(positions), 4)), positions, (TILE_UM, TILE_UM))


def _ct_bag(rng: np.random.Generator) -> Bag:
    indices = np.stack(np.meshgrid([12, 20, 28], [14, 22], [5, 8], indexing="ij"), axis=-1).reshape(-1, 3)
    positions = indices * np.asarray(CT_SPACING) @ CT_DIRECTION.T + np.asarray(CT_ORIGIN)
    return Bag("ct", rng.normal(size=(len(positions), 4)), positions, (6.4, 6.4, 7.5))


def _put(layout: StudyLayout, bag: Bag, key: str, hot: int) -> None:
    """Replace the patient's bag, graph (a node a patch) and importance."""
    pixels = np.zeros((8, 8, 3), np.uint8) if bag.modality == "slide" else np.zeros((4, 4, 4), np.int16)
    axes = 2 if bag.modality == "slide" else 3
    preview = Preview(bag.modality, pixels, None, (1.0,) * axes, (0.0,) * axes, np.eye(axes))
    write_bag(layout.bag(bag.modality, key), bag, preview)
    write_graph(layout.graph(bag.modality, WITH_IMAGES), make_graph(bag, key, members=1))
    weights = np.full(len(bag), 1.0)
    weights[hot] = 5.0
    for path in layout.root.glob("models/*/sparra/fold-*/importance.safetensors"):
        tensors = load_file(path)
        if f"{bag.modality}/{WITH_IMAGES}" in tensors:
            tensors[f"{bag.modality}/{WITH_IMAGES}"] = (weights / weights.sum()).astype(np.float32)
            if bag.modality == "slide":
                tensors[f"sd/slide/{WITH_IMAGES}"] = np.where(np.arange(len(bag)) == UNSURE_SLIDE, 0.02, 0.01)
            save_file(tensors, path)


@dataclass(frozen=True)
class Client:
    """Sends requests just as they are written, which browsers and libraries would tidy up."""

    server: ViewerServer

    def ask(self, target: str, method: str = "GET", headers: dict[str, str] | None = None) -> HTTPResponse:
        address = self.server.server_address
        connection = HTTPConnection(str(address[0]), int(address[1]), timeout=20)
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": f"127.0.0.1:{address[1]}", **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        response.body = response.read()  # type: ignore[attr-defined]
        connection.close()
        return response

    def status(self, target: str, method: str = "GET", headers: dict[str, str] | None = None) -> int:
        return self.ask(target, method, headers).status

    def body(self, target: str) -> bytes:
        response = self.ask(target)
        assert response.status == 200, (target, response.status, response.body)
        return response.body


def serve(layout: StudyLayout, host: str = "127.0.0.1") -> Iterator[Client]:
    with viewer(layout, host, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Client(server)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def client(seen_study: SeenStudy) -> Iterator[Client]:
    yield from serve(seen_study.layout)


@pytest.fixture(scope="module")
def open_client(seen_study: SeenStudy) -> Iterator[Client]:
    """A server that other machines could reach; on all addresses, since this machine may have none but loopback."""
    yield from serve(seen_study.layout, "0.0.0.0")
