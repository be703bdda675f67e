"""Number formats, including values that are not known."""

import pytest

from diffenc_jax.core import numbers


def record(noise=0.1, images=0.2, total=0.3):
    errors = {"noise": noise, "images": images, "total": total}
    terms = {"latent": dict(errors)}
    described = {"step": 7, "dataset": {"split": "test"}, "estimator": {"kind": "bound", "depth": None}}
    return described | {"bpd": {"total": 2.0, "latent": 0.5}, "standard_error": errors | {"terms": terms}}


TEXTS = [
    (record(), "2.0000 ± 0.1000 (noise) ± 0.2000 (images) bits/dim"),
    (record(noise=None, images=None), "2.0000 ± 0.3000 (images and noise) bits/dim"),
    (record(images=None, total=None), "2.0000 ± 0.1000 (noise) bits/dim"),
    (record(None, None, None), "2.0000 bits/dim"),
    (record(images=None, total=0.1), "2.0000 ± 0.1000 (noise) ± 0.1000 (images and noise) bits/dim"),
    (record(noise=2e-5), "2.0000 ± 2e-05 (noise) ± 0.2000 (images) bits/dim"),
]


@pytest.mark.parametrize(("given", "text"), TEXTS)
def test_a_records_errors_are_named(given, text):
    assert numbers.format_record(given) == f"{text}, bound, infinite depth"
    assert numbers.format_terms(given) == [("latent", text.replace("2.0", "0.5", 1).removesuffix(" bits/dim"))]


def test_a_number_says_what_it_is():
    text = numbers.format_record(record()).removesuffix("bound, infinite depth")
    for estimator, what in (
        ({"kind": "bound", "depth": None, "labels": True}, "bound, infinite depth, each image given its label"),
        ({"kind": "bound", "depth": 20}, "bound, 20 steps"),
        ({"kind": "importance_weighted", "num_draws": 8, "depth": None}, "importance weighted"),
        ({"kind": "ode"}, "ODE, another model than the bound's"),
    ):
        assert numbers.format_record(record() | {"estimator": estimator}) == text + what
    assert numbers.record_line(record()) == f"step 7: test {numbers.format_record(record())}, averaged parameters"


def test_unknown_values_have_one_sign():
    assert numbers.with_error(1.89124, 0.00312, None) == "1.8912 ± 0.0031"
    unknown = numbers.format_number(None), numbers.format_interval(None), numbers.with_error(None, None)
    assert set(unknown) == {numbers.UNKNOWN}
    assert numbers.format_interval((1.25, 1.5)) == "1.2500 .. 1.5000"


DURATIONS = [(0.4, "0 s"), (59.4, "59 s"), (59.6, "0:01:00"), (3723.0, "1:02:03"), (2 * 86_400 + 12_000, "2 d 3:20:00")]


@pytest.mark.parametrize(("seconds", "text"), DURATIONS)
def test_durations_are_rounded_to_seconds(seconds, text):
    assert numbers.format_duration(seconds) == text
