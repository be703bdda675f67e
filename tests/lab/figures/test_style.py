"""The style of all figures: arms by their names, axes that show the values, text that fits, files of a figure."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffenc_jax.lab.figures import style
from tests import shipped

NUMBERS = st.floats(-1e3, 1e3)
INTERVALS = st.tuples(NUMBERS, NUMBERS).map(sorted)


def look(style):
    return style["color"], style["marker"], style["markerfacecolor"]


def test_shipped_arms_are_distinct_from_each_other_and_from_all_others():
    names = {arm for arms in shipped.ARMS.values() for arm in arms}
    known = [look(style.arm_style(name)) for name in names]
    assert len(set(known)) == len(names)
    others = {look(style.arm_style(f"arm {i}")) for i in range(1000)}
    assert not others & set(known)
    assert len(others) > 40


def test_arms_that_are_compared_have_their_own_colours():
    for names in ([*shipped.MATCHED, *shipped.OTHER_NETWORKS], ["vdm", "shrinking", "nontrainable"]):
        colours = [style.arm_style(name)["color"] for name in names]
        assert len(set(colours)) == len(colours)


def test_an_arm_at_several_depths_differs_in_its_lines():
    plain, *deep = (style.arm_style(name) for name in ("vdm", "vdm-T5", "vdm-T10", "vdm-T20", "vdm-T50"))
    assert len({str(style["linestyle"]) for style in deep}) == len(deep)
    assert {look(style) for style in deep} == {(plain["color"], plain["marker"], "white")}


def test_an_unknown_arm_looks_the_same_in_every_process():
    code = "from diffenc_jax.lab.figures.style import arm_style; print(arm_style('mine, µ'))"
    environment = os.environ | {"PYTHONHASHSEED": "123"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(style.arm_style("mine, µ"))


def test_a_figure_waits_for_a_thread_that_imports_ipython(tmp_path):
    """TensorFlow imports it, in the thread that writes TensorBoard's files."""
    (tmp_path / "IPython.py").write_text("import time; time.sleep(2); version_info = (9, 0)")
    code = """if True:
        import threading
        import matplotlib.backends.backend_agg, matplotlib.style
        from diffenc_jax.lab.figures import style

        threading.Thread(target=__import__, args=("IPython",)).start()
        style.figure_bytes(style.new_figure(2, 2)[0], "png")
    """
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_runs_of_an_arm_differ_in_their_lines_alone():
    arms = ["vdm", "mine", "vdm", "diffenc", "mine", "vdm"]
    styles = style.run_styles(arms)
    for arm in set(arms):
        mine = [style for style, name in zip(styles, arms, strict=True) if name == arm]
        assert {look(one) for one in mine} == {look(style.arm_style(arm))}
        assert len({style["linestyle"] for style in mine}) == len(mine)
    assert style.run_styles(["diffenc"]) == [styles[3]]


@given(st.lists(NUMBERS, min_size=1), st.lists(INTERVALS))
def test_limits_show_all_values_and_are_not_set_by_wide_intervals(values, intervals):
    low, high = style.limits(values, intervals)
    span = max(values) - min(values)
    assert low < min(values)
    assert max(values) < high
    if span > 1e-3:
        assert span > 0.5 * (high - low)


def test_limits_show_narrow_intervals_and_the_interval_of_a_single_value():
    low, high = style.limits([1.0, 2.0, np.nan, np.inf], [(0.9, 2.1)])
    assert low < 0.9
    assert high > 2.1
    low, high = style.limits([1.0, 1.0], [(0.9, 1.2)])
    assert low < 0.9
    assert high > 1.2


@pytest.mark.parametrize("vertical", [True, False])
def test_an_interval_that_leaves_the_axis_ends_in_an_arrow(vertical):
    _, axes = style.new_figure(2, 2)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    style.add_interval(axes, 0.5, (-3.0, 0.25), "black", vertical)
    bar, *arrows = axes.lines
    along = 1 if vertical else 0
    assert bar.get_xydata()[:, along].tolist() == [0, 0.25]
    assert bar.get_xydata()[:, 1 - along].tolist() == [0.5, 0.5]
    assert [(arrow.get_marker(), arrow.get_xydata()[0, along]) for arrow in arrows] == [("v" if vertical else "<", 0)]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=300), st.floats(0.5, 7))
def test_wrapped_text_keeps_its_words_within_the_width(text, inches):
    text = style.literal(text)
    lines = style.wrapped(text, inches).split("\n")
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert max(len(line.replace(r"\$", "$")) for line in lines) <= inches * 72 / (0.58 * style.SMALL)


def test_a_dollar_sign_in_a_name_is_no_mathematics():
    figure, _ = style.new_figure(3, 2, style.literal("a$^{_$ of $x$ and more") + " $x_t$")
    style.figure_bytes(figure, "png")


def test_mathematics_is_not_broken():
    text = r"the error $\|v-\hat{v}\|^2$ " * 9
    assert all(line.count("$") % 2 == 0 for line in style.wrapped(text, 2).split("\n"))


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_figures_look_alike_under_all_settings_of_a_user_and_leave_them_alone(kind, start):
    def drawn():
        with style.style():
            figure, axes = style.new_figure(2, 2, "title", "note $x_t$")
            axes.plot([1, 2], [3, 4], label="a")
            axes.legend()
        return style.figure_bytes(figure, kind)

    plain = drawn()
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "mathtext.fontset": "cm"}):
        before = dict(matplotlib.rcParams)
        assert drawn() == plain
        assert dict(matplotlib.rcParams) == before
    assert plain.startswith(start)


def test_a_figure_is_saved_as_pixels_and_as_vectors(tmp_path):
    style.save_figure(style.empty_figure(1, 1), tmp_path / "a-0.5")
    assert (tmp_path / "a-0.5.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a-0.5.pdf").read_bytes().startswith(b"%PDF")
