"""Folders with stand-ins for the commands of clouds and clusters."""

import pytest

from tests.launch.stand_ins import Place


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def cloud(place):
    for name in ("gcloud", "srun", "scontrol"):
        place.stand_in(name)
    place.stand_in("kubectl", "if [[ $1 == apply ]]; then cat >/dev/null; fi")
    place.stand_in("sbatch", 'if [[ " $* " == *" --parsable "* ]]; then echo "77;cluster"; fi')
    return place
