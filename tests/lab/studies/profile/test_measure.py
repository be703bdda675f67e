"""Sums of a trace: own times of nested operations, scopes from JAX's names, and damaged profiles."""

import json

import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.studies.profile.measure import Operation, Profile, own_times, read_profile, split_scope
from diffenc_jax.lab.studies.profile.table import operations_table, parts_table
from tests.refusals import refused

SECOND = 1e9  # nanoseconds


def test_an_operation_is_not_charged_for_those_that_it_calls():
    executed = [("while", 0, 10), ("body", 1, 4), ("leaf", 2, 3), ("body", 5, 9), ("after", 10, 12)]
    found = list(own_times([(name, start * SECOND, end * SECOND) for name, start, end in reversed(executed)]))
    assert found == [("while", 3.0), ("body", 2.0), ("leaf", 1.0), ("body", 4.0), ("after", 2.0)]
    assert sum(seconds for _, seconds in found) == 12


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("jit(train_step)/jvp(encoder)/UNet/conv_in/add", ("encoder", False, "UNet/conv_in/add")),
        (
            "jit(train_step)/transpose(jvp(jvp(score_network)))/UNet/while/body/norm_1/jit(group_norm)/checkpoint/mul",
            ("score_network", True, "UNet/norm_1/group_norm/mul"),
        ),
        ("jit(train_step)/optimizer/sqrt;jit(train_step)/add", ("optimizer", False, "sqrt")),
        ("jit(train_step)/reduce_sum", ("other", False, "reduce_sum")),
        ("", ("other", False, "")),
    ],
)
def test_scopes_of_jaxs_names(name, expected):
    assert split_scope(name) == expected


def test_tables(tmp_path):
    operations = [
        Operation("fusion.1", "score_network", True, "UNet/mul", 0.006, 4),
        Operation("fusion.2", "optimizer", False, "", 0.003, 2),
        Operation("fusion.3", "score_network", True, "UNet/add", 0.001, 2),
    ]
    profile = Profile(tmp_path, (10, 11), operations)
    assert parts_table(profile).rows == [
        ["score_network (backward)", "70.0 %", "3.500"],
        ["optimizer", "30.0 %", "1.500"],
    ]
    assert operations_table(profile, top=2).rows == [
        ["fusion.1", "60.0 %", "3.000", "2", "score_network (backward): UNet/mul"],
        ["fusion.2", "30.0 %", "1.500", "1", "optimizer"],
    ]


@pytest.mark.parametrize(
    ("about", "trace", "message"),
    [
        ({"steps": [3, 5]}, b"", "is damaged"),
        ({"steps": [3, 5], "scopes": {}}, b"\xff no trace", "is damaged"),
        ({"steps": [3, 5], "scopes": {}}, b"", "holds no operations"),
        ([], b"", "is damaged"),
    ],
)
def test_damaged_profiles(about, trace, message, tmp_path):
    folder = tmp_path / "plugins" / "profile" / "2030_01_01_00_00_00"
    folder.mkdir(parents=True)
    (folder / "scopes.json").write_text(json.dumps(about))
    (folder / "host.xplane.pb").write_bytes(trace)
    with pytest.raises(InputError, match=rf"{message}.*; make one by `diffenc train --profile=FIRST:LAST`"):
        read_profile(tmp_path)


def test_a_run_without_a_profile(tmp_path, capsys):
    assert "holds no profile of training steps" in refused(main, ["profile-summary", tmp_path], capsys)
