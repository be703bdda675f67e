"""Arms of cascades. Each cascade has the parameters and the training FLOPs of one model of the whole images."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from diffenc_jax.config.recipe import IDENTITY, choose_arm, with_changes

# Parts of the cascades with two and three levels of wavelets, and of the one with pixels as they are: the data set, and
# the share of the FLOPs, which is that of the pixels.
PARTS = {
    "two-coarse": ("COARSE_1", 1 / 4),
    "two-details": ("DETAILS_1", 3 / 4),
    "three-coarse": ("COARSE_2", 1 / 16),
    "three-details-2": ("DETAILS_2", 3 / 16),
    "three-details-1": ("DETAILS_1", 3 / 4),
    "pixels-coarse": ("PIXELS_COARSE", 1 / 4),
    "pixels-details": ("PIXELS_DETAILS", 3 / 4),
}
# Layers of the score networks of width 32 that give each cascade, and vdm-matched, half a million parameters.
SMALL = {
    "vdm-matched": 7,
    **{"two-coarse": 2, "two-details": 3},
    **{"three-coarse": 1, "three-details-2": 1, "three-details-1": 1},
    **{"pixels-coarse": 2, "pixels-details": 3},
}


def configuration(
    base: ConfigDict, source: str, layers: Mapping[str, int], noises: tuple[float, ...] = ()
) -> ConfigDict:
    """The configuration of the arm `base.arm`: `vdm`, `vdm-matched` or one of `PARTS`, each a VDM.

    vdm-matched has the training FLOPs of vdm, and so have the parts of a cascade together.

    Args:
      base: configuration of vdm for the whole images.
      source: import path of the data sets, such as "cascade.data:DIGITS".
      layers: layers of the score networks by arm.
      noises: values of γ_0 for further arms such as `two-coarse-g8`, with more noise in the coarse image's z_0.
    """
    arms: dict[str, dict[str, Any]] = {"vdm": {}}
    arms["vdm-matched"] = {"model.score.layers": layers["vdm-matched"], "train.flops_of": "vdm"}
    for arm, (suffix, share) in PARTS.items():
        budget = f"vdm-{share:g}"  # a training with this share of the FLOPs
        given = "DETAILS" in suffix
        network = {"kind": "beside"} if given else {}
        arms[budget] = {"train.steps": round(share * base.train.steps)}
        arms[arm] = {
            "data.source": f"{source}_{suffix}",
            "model.score": ConfigDict({**base.model.score, **network, "layers": layers[arm]}),
            "model.labels": given,
            "train.flops_of": budget,
        }
    for noise in noises:
        arms[f"two-coarse-g{-noise:g}"] = {**arms["two-coarse"], "model.schedule.gamma_min": noise}
    return choose_arm(with_changes(base, {"data.source": source, "model.encoder": IDENTITY}), arms)
