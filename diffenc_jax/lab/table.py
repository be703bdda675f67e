"""The kinds of parts that the lab adds, and the lab's parts by kind and short name; see `core/parts.py`."""

from diffenc_jax.core.parts import Entry, Kind

_STUDIES, _COMMANDS = "diffenc_jax.lab.studies", "diffenc_jax.lab.commands"


def _command(module: str, summary: str, computes: bool = False) -> Entry:
    return Entry(f"{_COMMANDS}.{module}", summary=summary, computes=computes)


def _study(path: str, summary: str, computes: bool = True) -> Entry:
    return Entry(f"{_STUDIES}.{path}", summary=summary, computes=computes)


KINDS = {"study": Kind("study", f"{_STUDIES}.study:Study", commands=True)}
PARTS: dict[str, dict[str, Entry]] = {
    "command": {
        "compress": _command("compress", "compress images without loss", computes=True),
        "decompress": _command("decompress", "decompress a file of images", computes=True),
        "compare": _command("compare", "compare evaluations, with errors of their differences"),
        "significance": _command("significance", "train arms under several seeds and test their differences"),
        "time-to-quality": _command("time_to_quality", "measure bits/dim by the cost of training", computes=True),
        "reproduce": _command("reproduce", "repeat the paper's comparisons"),
        "report": _command("report", "write a page of HTML about runs"),
        "costs": _command("costs", "measure parameters, FLOPs, memory and time of a training step", computes=True),
        "compile-check": _command("compile_check", "compile a training step for TPUs or GPUs, without having them"),
        "densities": _command("densities", "compare densities by several libraries with the truth", computes=True),
        "import-checkpoint": _command("import_checkpoint", "turn a published checkpoint into a workdir"),
        "parity": _command("parity", "compare this code with arrays of the published code"),
    },
    "estimator": {"code_length": Entry("diffenc_jax.lab.coding.code_length:CodeLength")},
    "study": {
        "loss-by-time": _study("by_time:LossByTime", "measure the diffusion loss by noise level"),
        "depth-study": _study("depth:DepthStudy", "measure bits/dim by number of steps, and the best steps"),
        "rate-distortion": _study("rate_distortion:RateDistortion", "measure the error of images by the bits received"),
        "encoder-study": _study(
            "encoder:EncoderStudy", "measure what a trained encoder does, and the bound without it"
        ),
        "draws-study": _study("draws:DrawsStudy", "measure bits/dim by many draws of the path, against the bound"),
        "anomalies": _study("anomalies:Anomalies", "measure how well bits/dim tell other images from test images"),
        "sample-quality": _study("sample_quality:SampleQuality", "measure samples beside real images", computes=False),
    },
}
