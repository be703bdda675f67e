"""Number formats: values with standard errors, intervals, durations, and the numbers of an evaluation's record."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

UNKNOWN = "–"  # in place of a value that the data do not determine


class Figure(str):
    """Numbers as text, such as '1.8912 ± 0.0031', which keeps them unrounded.

    Attributes:
      form: format of the text, with a field for each number: '{:.4f} ± {:.4f}'.
      values: the numbers.
    """

    form: str
    values: tuple[float, ...]

    def __new__(cls, form: str, *values: Any) -> "Figure":
        plain = [value.item() if hasattr(value, "item") else value for value in values]  # not NumPy's types
        figure = super().__new__(cls, form.format(*plain))
        figure.form, figure.values = form, tuple(plain)
        return figure


def format_number(value: float | None) -> str:
    """Number with four decimals, '1.8912', or `UNKNOWN` for None."""
    return UNKNOWN if value is None else Figure("{:.4f}", value)


def format_error(value: float) -> str:
    """Standard error with four decimals, '0.0031'; with one digit, '3e-05', if these would show 0; '0' for zero."""
    return Figure(_error_form(value), value)


def _error_form(value: float) -> str:
    return "{:.1g}" if value < 0.00005 else "{:.4f}"


def with_error(value: float | None, *errors: float | None) -> str:
    """A value with its known standard errors, such as those of noise and images: '1.8912 ± 0.0031 ± 0.0123'."""
    known = [error for error in errors if error is not None]
    form = " ± ".join([UNKNOWN if value is None else "{:.4f}", *map(_error_form, known)])
    return Figure(form, *([] if value is None else [value]), *known)


def format_regret(regret: Mapping[str, Any] | None) -> str:
    """A record's 'regret' with its errors by noise and by images, or `UNKNOWN` for None."""
    return UNKNOWN if regret is None else with_error(regret["bpd"], regret["noise"], regret["images"])


def format_interval(ends: Sequence[float] | None) -> str:
    """Interval from its two ends, '1.8850 .. 1.8974', or `UNKNOWN` for None."""
    return UNKNOWN if ends is None else Figure("{:.4f} .. {:.4f}", *ends)


def format_p(p: float | None) -> str:
    """p-value with two decimals, '0.31', or two digits below 0.1, '0.027' and '3.9e-06'; `UNKNOWN` for None."""
    return UNKNOWN if p is None else Figure("{:.2g}" if p < 0.1 else "{:.2f}", p)


def format_duration(seconds: float) -> str:
    """Duration: '12 s', from a minute on '0:03:20', from a day on '2 d 3:20:00'."""
    days, rest = divmod(round(seconds), 86_400)
    if days:
        return f"{days} d {timedelta(seconds=rest)}"
    return str(timedelta(seconds=rest)) if rest >= 60 else f"{rest} s"


def record_line(record: Mapping[str, Any]) -> str:
    """An evaluation's record in a line.

    'step 200: test 4.0612 ± 0.0031 (noise) bits/dim, bound, infinite depth, averaged parameters'
    """
    return f"step {record['step']}: {record['dataset']['split']} {format_record(record)}, averaged parameters"


def is_real(dataset: Mapping[str, Any]) -> bool:
    """Whether the data of a record are real numbers, whose bits/dim are those of a density."""
    return dataset.get("values") == "real"


def examples(dataset: Mapping[str, Any]) -> str:
    """The word for the data of a record: 'images', or 'examples' for real numbers."""
    return "examples" if is_real(dataset) else "images"


def format_record(record: Mapping[str, Any]) -> str:
    """The total of an evaluation's record, and its estimator in words.

    '1.8912 ± 0.0031 (noise) ± 0.0123 (images) bits/dim, bound, infinite depth'; for a model with labels, ', each image
    given its label' follows; and if the truth is known, ', regret 0.0212 ± 0.0031 (noise)'.
    """
    estimator, data = record["estimator"], examples(record["dataset"])
    total = _with_named_errors(record["bpd"]["total"], record["standard_error"], data)
    depth = [f"{estimator['depth']} steps"] if estimator.get("depth") else []
    labels = [f"each {data[:-1]} given its label"] if estimator.get("labels") else []
    known = record.get("regret")
    regret = [f"regret {_with_named_errors(known['bpd'], known, data)}"] if known else []
    return ", ".join([f"{total} bits/dim", estimator_name(estimator), *depth, *labels, *regret])


def estimator_name(estimator: Mapping[str, Any]) -> str:
    """The kind of a record's estimator in words, with the depth if it is infinite: 'bound, infinite depth'."""
    kind, names = estimator["kind"], {"ode": "ODE, another model than the bound's"}
    infinite = ", infinite depth" * (kind == "bound" and estimator.get("depth") is None)
    return names.get(kind, kind.replace("_", " ")) + infinite


def format_terms(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each term of an evaluation's record, such as '0.0067 ± 0.0001 (noise) ± 0.0002 (images)'."""
    terms, data = record["standard_error"]["terms"], examples(record["dataset"])
    return [(name, _with_named_errors(record["bpd"][name], errors, data)) for name, errors in terms.items()]


def _with_named_errors(value: float, errors: Mapping[str, float | None], data: str) -> str:
    second = ("total", f"{data} and noise") if errors["images"] is None else ("images", data)
    known = {name: error for key, name in (("noise", "noise"), second) if (error := errors[key]) is not None}
    parts = [f" ± {format_error(error)} ({name})" for name, error in known.items()]
    return f"{value:.4f}{''.join(parts)}"


def format_bytes(size: float) -> str:
    """Size in GiB, '15.75 GiB'."""
    return Figure("{:.2f} GiB", size / 2**30)
