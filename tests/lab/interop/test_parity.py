"""The command that holds this code against the published one."""

from pathlib import Path

import numpy as np
import pytest

from diffenc_jax.lab.interop import parity

VDM = Path(__file__).parents[2] / "reference" / "vdm.npz"


def spoiled(tmp_path, **changes):
    with np.load(VDM) as archive:
        arrays = dict(archive) | changes
    np.savez(tmp_path / "spoiled.npz", **{name: array for name, array in arrays.items() if array is not None})
    return str(tmp_path / "spoiled.npz")


@pytest.mark.slow
def test_agreement_exits_with_0_and_a_difference_with_1(tmp_path, capsys):
    assert parity.main([str(VDM)]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("loss_recon", "loss_latent", "loss_diffusion", "bpd", "v_hat", "z_out"))
    with np.load(VDM) as archive:
        v_hat = archive["v_hat"] * np.float32(1.001)
    gradient = "grad:score_model/conv_out/bias"
    assert parity.main([spoiled(tmp_path, **{"v_hat": v_hat, gradient: np.ones(3, np.float32)})]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if "beyond" in line]
    assert [line.split()[0] for line in failed] == ["v_hat", gradient]


def refused(path, message, capsys):
    assert parity.main([path]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {path}")
    assert message in said
    assert said.count("\n") == 1


def test_unreadable_files_end_in_one_line(tmp_path, capsys):
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.md").write_text("hello")
    for name in ("empty.npz", "text.md"):
        refused(f"{tmp_path}/{name}", "is no .npz archive, or a damaged one; give reference arrays of", capsys)
    refused(f"{tmp_path}/absent.npz", "cannot be read: No such file or directory; give reference arrays", capsys)
    refused(str(tmp_path), "cannot be read: Is a directory; give reference arrays", capsys)


@pytest.mark.parametrize("argv", [[], ["--fast"]])
def test_the_module_takes_files_and_nothing_else(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        parity.main(argv)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("z_in", None),
        ("param:score_model/conv_in/bias", None),
        ("param:score_model/conv3/bias", np.ones(3)),
        ("grad:score_model/conv3/bias", np.ones(3)),
    ],
)
def test_missing_and_unknown_arrays_are_named(tmp_path, capsys, name, value):
    message = f"{name.removeprefix('param:').removeprefix('grad:')!r} is unknown or missing"
    refused(spoiled(tmp_path, **{name: value}), message, capsys)
