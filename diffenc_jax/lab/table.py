"""The parts of the lab by kind and short name; see `core/parts.py`."""

from diffenc_jax.core.parts import Entry


def _study(place: str, summary: str, computes: bool = True) -> Entry:
    return Entry(f"diffenc_jax.lab.studies.{place}", summary=summary, computes=computes)


PARTS: dict[str, dict[str, Entry]] = {
    "estimator": {"code_length": Entry("diffenc_jax.lab.coding.code_length:CodeLength")},
    "study": {
        "loss-by-time": _study("by_time.study:LossByTime", "measure the diffusion loss by noise level"),
        "depth-study": _study("depth.study:DepthStudy", "measure bits/dim by number of steps, and the best steps"),
        "rate-distortion": _study(
            "rate_distortion.study:RateDistortion", "measure the error of images by the bits received"
        ),
        "classify": _study("classify.study:Classify", "classify images by the bound under each label"),
        "encoder-study": _study(
            "encoder.study:EncoderStudy", "measure what a trained encoder does, and the bound without it"
        ),
        "sample-quality": _study(
            "sample_quality.study:SampleQuality", "measure samples beside real images", computes=False
        ),
    },
}
