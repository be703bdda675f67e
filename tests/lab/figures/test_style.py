"""The style of all figures: arms by their names, text that fits, files of a figure."""

import matplotlib
from hypothesis import given
from hypothesis import strategies as st

from diffenc_jax.lab.figures import style
from tests import shipped
from tests.processes import python


def look(style):
    return style["color"], style["marker"], style["markerfacecolor"]


def test_shipped_arms_are_distinct_from_each_other_and_from_all_others():
    names = {arm for arms in shipped.ARMS.values() for arm in arms}
    known = [look(style.arm_style(name)) for name in names]
    assert len(set(known)) == len(names)
    others = {look(style.arm_style(f"arm {i}")) for i in range(1000)}
    assert not others & set(known)
    assert len(others) > 40
    compared = [*shipped.MATCHED, *shipped.OTHER_NETWORKS], shipped.EQUAL, shipped.EIGHT_LAYERS, shipped.PROCESSES
    for group in compared:
        assert len({style.arm_style(name)["color"] for name in group}) == len(group)


def test_runs_of_an_arm_differ_in_their_lines():
    """At several depths, with several seeds; an arm looks the same in every process."""
    plain, *deep = (style.arm_style(name) for name in ("vdm", "vdm-T5", "vdm-T10", "vdm-T20", "vdm-T50"))
    assert len({str(style["linestyle"]) for style in deep}) == len(deep)
    assert {look(style) for style in deep} == {(plain["color"], plain["marker"], "white")}
    first, _, second, third = style.run_styles(["mine, µ", "vdm", "mine, µ", "mine, µ"])
    assert look(first) == look(second) == look(third)
    assert len({str(one["linestyle"]) for one in (first, second, third)}) == 3
    code = "from diffenc_jax.lab.figures.style import arm_style; print(arm_style('mine, µ'))"
    assert python("-c", code, PYTHONHASHSEED="123").stdout.strip() == str(first)


@given(st.text("ab/-_$\\^{}µ漢", max_size=300), st.floats(0.5, 7))
def test_wrapped_names_fit_the_width_and_their_dollar_signs_are_no_mathematics(text, inches):
    lines = style.wrapped(style.literal(text), inches).split("\n")
    assert "".join(lines) == style.literal(text)
    assert max(len(line.replace(r"\$", "$")) for line in lines) <= inches * 72 / (0.58 * style.SMALL)
    assert not any(line.startswith("$") for line in lines)


def test_figures_look_alike_under_all_settings_of_a_user_and_leave_them_alone(tmp_path):
    def drawn():
        with style.style():
            figure, axes = style.new_figure(2, 2, style.literal("a$^{_$ of $x$") + " $x_t$", "note $x_t$")
            axes.plot([1, 2], [3, 4], label="a")
            axes.legend()
        return [file.read_bytes() for file in style.save_figure(figure, tmp_path / "a-0.5")]

    plain = drawn()
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "mathtext.fontset": "cm"}):
        before = dict(matplotlib.rcParams)
        assert drawn() == plain
        assert dict(matplotlib.rcParams) == before
    assert [content[:4] for content in plain] == [b"\x89PNG", b"%PDF"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-0.5.pdf", "a-0.5.png"]
