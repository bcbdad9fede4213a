"""The pictures of the comparison: a few PNG files in class folders, and the same files as normalised tensors.

PNG keeps every pixel, and the files have the network's size already, so neither program resamples: both see equal numbers.
"""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import networks

CLASSES = 4
PER_CLASS = 2


def write_pictures(root, wanted, seed):
    """Writes CLASSES x PER_CLASS pictures below root/<class>/: photographs from $DTRAIN_TEST_DATA/imagenette224 where
    that is set, smooth random pictures otherwise. Returns which: "photographs" or "smooth random pictures"."""
    data = os.environ.get("DTRAIN_TEST_DATA")
    folder = Path(data) / "imagenette224" / "train" if data else None
    random = np.random.default_rng(seed)
    for label in range(CLASSES):
        place = Path(root) / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        for index in range(PER_CLASS):
            picture = _photograph(folder, label, index) if folder else _smooth_picture(random, wanted.size)
            if picture.size != (wanted.size, wanted.size):
                picture = picture.resize((wanted.size, wanted.size), Image.BICUBIC)
            picture.convert("L" if wanted.channels == 1 else "RGB").save(place / f"{index:04}.png")
    return "photographs" if folder else "smooth random pictures"


def read_pictures(root, channels):
    """Returns (images float64 (n, c, h, w), labels int64 (n)): classes in byte order of their names, files likewise."""
    images, labels = [], []
    for label, folder in enumerate(sorted(path for path in Path(root).iterdir() if path.is_dir())):
        for path in sorted(folder.iterdir()):
            pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float64) / 255.0
            normalised = (pixels - np.array(networks.MEAN)) / np.array(networks.STDDEV)
            images.append(normalised.transpose(2, 0, 1)[:channels])
            labels.append(label)
    return torch.from_numpy(np.stack(images)), torch.tensor(labels)


def _photograph(folder, label, index):
    if not folder.is_dir():
        raise SystemExit(f"photographs: expected class folders in {folder}; unset DTRAIN_TEST_DATA for random pictures")
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    return Image.open(sorted(classes[label].iterdir())[index]).convert("RGB")


def _smooth_picture(random, size):
    """Coarse colours blown up, plus a little grain: neighbouring pixels agree as in photographs."""
    coarse = Image.fromarray(random.integers(0, 256, (7, 7, 3), dtype=np.uint8)).resize((size, size), Image.BICUBIC)
    grain = random.normal(0.0, 6.0, (size, size, 3))
    return Image.fromarray(np.clip(np.asarray(coarse, dtype=np.float64) + grain, 0, 255).astype(np.uint8))
