"""FID (Heusel et al., arXiv 1706.08500) by torch-fidelity, from a file of its Inception network's weights."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from diffenc_jax.core.errors import InputError
from diffenc_jax.data import checks
from diffenc_jax.sampling.pictures import grey_values

FILE = "weights-inception-2015-12-05-6726825d.pth"
# Digest of the network that defines FID. torch-fidelity unpickles the file, so no other file is accepted.
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
WHERE = f"{FILE}, from https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0"
INSTALL = "pip install 'diffenc_jax[fid]'"


def check_weights(weights: Path) -> None:
    """Raise InputError unless FID can be computed with the file `weights`."""
    if not all(map(find_spec, ("torch", "torch_fidelity"))):
        raise InputError(f"FID needs torch-fidelity, which is not installed; run {INSTALL}")
    with checks.reading(weights), checks.regular(weights).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise checks.refused(weights, f"is not the network that defines FID (sha256 {found[:12]}); take {WHERE}")


def fid(a: np.ndarray, b: np.ndarray, levels: int, weights: Path) -> float:
    """FID between uint8 [N, H, W, C] and [M, H, W, C], grey or RGB; the network sees grey as three equal channels.

    It is biased upwards for few images; published values compare 50,000 samples with all training images.
    """
    import torch
    from torch_fidelity import KEY_METRIC_FID, calculate_metrics

    class Images(torch.utils.data.Dataset):
        """Images uint8 [3, H, W] of 256 levels."""

        def __init__(self, images):
            self.images = images

        def __len__(self):
            return len(self.images)

        def __getitem__(self, number):
            image = grey_values(self.images[number], levels)
            return torch.from_numpy(np.repeat(image, 3 // image.shape[-1], axis=-1).transpose(2, 0, 1).copy())

    metrics = calculate_metrics(
        input1=Images(a),
        input2=Images(b),
        fid=True,
        feature_extractor_weights_path=str(weights),
        cuda=torch.cuda.is_available(),
        cache=False,
        save_cpu_ram=True,  # read the images in this process
        verbose=False,
    )
    return float(metrics[KEY_METRIC_FID])
