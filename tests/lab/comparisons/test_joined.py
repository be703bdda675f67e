"""Parts of images add up to the whole images: the numbers by hand, the refusals, and the command."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.core.errors import InputError
from diffenc_jax.evaluation.uncertainty import standard_errors
from diffenc_jax.lab.comparisons.joined import joined
from diffenc_jax.runs.records import read_evaluation
from tests.lab.comparisons.significance import made_up
from tests.refusals import refused

LEFT, RIGHT, WHOLE = (made_up.values(arm, 0) for arm in ("vdm", "diffenc", "nontrainable"))
OF_LEFT, OF_RIGHT = made_up.part("left", 24), made_up.part("right", 40)


def test_the_sum_by_hand(write):
    """The second part is modelled given the first, for more steps, with its own sampling of times."""
    own = {"labels": True, "time_sampling": "uniform"}
    paths = write("left", LEFT, (), OF_LEFT), write("right", RIGHT, own, OF_RIGHT, step=200, params=6)
    path, record, bits = joined([read_evaluation(one) for one in paths])
    np.testing.assert_allclose(bits, LEFT + RIGHT)
    whole = made_up.record("left", 0, LEFT)
    assert (record["dataset"], record["estimator"]) == (whole["dataset"], whole["estimator"])
    total = (LEFT + RIGHT).mean()
    assert list(record["bpd"].values()) == pytest.approx([total, 0.1 * total, 0, 0.9 * total])
    errors = record["standard_error"].pop("terms")
    assert record["standard_error"] == pytest.approx(standard_errors(LEFT + RIGHT, 2)._asdict())
    assert errors["latent"] == pytest.approx(standard_errors(0.1 * (LEFT + RIGHT), 2)._asdict())
    summed = [record[key] for key in ("arm", "params", "step", "seconds")]
    assert (str(path), summed) == ("left.json+right.json", ["left+right", 1240, 200, 10])


def test_labels_of_all_parts_are_labels_of_the_whole_and_one_record_is_itself(write):
    paths = write("left", LEFT, {"labels": True}, OF_LEFT), write("right", RIGHT, {"labels": True}, OF_RIGHT)
    parts = [read_evaluation(path) for path in paths]
    assert joined(parts).record["estimator"]["labels"]
    assert joined(parts[:1]) is parts[0]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"dataset": {}}, "right.json does not hold a part of each of other images; give all parts of one"),
        ({"bits": RIGHT[:, :9], "dataset": OF_RIGHT | {"num_examples": 9}}, "right.json does not hold a part of each"),
        ({"dataset": made_up.part("right", 40, sha256="f" * 64)}, "do not add up: as whole images, they hold the"),
        ({"dataset": OF_RIGHT | {"division": "halves"}}, "are of two divisions, none and halves; give the parts of"),
        ({"dataset": OF_LEFT}, "hold the same part; give every part once"),
        ({"dataset": OF_RIGHT | {"dims": 30}}, "have 54 of 64 dimensions of digits 1, test (40 images, sha256 0000"),
        ({"estimator": {"depth": 50}}, "are evaluated in different ways, depth=None and 50; evaluate all parts in the"),
        ({"bits": RIGHT[:2], "estimator": {"seed": 1, "replicates": None}}, "passes=4 and 2, replicates=2 and None, "),
    ],
)
def test_what_does_not_add_up_is_refused(write, second, message):
    paths = write("left", LEFT, (), OF_LEFT), write("right", **{"bits": RIGHT, "dataset": OF_RIGHT, **second})
    with pytest.raises(InputError, match=re.escape(message)):
        joined([read_evaluation(path) for path in paths])


def test_the_command_compares_a_sum_with_the_whole(write, capsys):
    write("whole", WHOLE)
    write("left/eval/x-1-y", LEFT, (), OF_LEFT)
    for name in ("right", "a+b"):
        write(name, RIGHT, (), OF_RIGHT)
    both = ["whole.json", "left+right.json"]
    assert main(["compare", "--reference=right.json+left", *both, "--json=out.json"]) == 0
    rows = json.loads(Path("out.json").read_text())["rows"]
    assert [row["bpd"] for row in rows] == pytest.approx([WHOLE.mean(), (LEFT + RIGHT).mean()])
    assert [row["excess"] is None for row in rows] == [False, True]
    assert rows[1]["file"] == "left/eval/x-1-y.json+right.json"
    assert main(["compare", "a+b.json"]) == 0
    assert capsys.readouterr().out.count("a+b.json") == 1
    for arguments, message in (
        ([*both, "right.json+left"], "right.json+left/eval/x-1-y.json is given twice; give every record once"),
        ([*both, "--json=right.json"], "--json=right.json would replace a record"),
        ([*both, "--reference=left"], "--reference=left is not among the records"),
        (["whole.json", "left+"], "left+ cannot be read: No such file"),
        (["whole.json", "right.json"], "have different images, digits 1, test (40 images, sha256 000000000000) and"),
    ):
        assert message in refused(main, ["compare", *arguments], capsys)
