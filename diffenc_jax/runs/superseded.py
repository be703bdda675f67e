"""Records, samples and tables of steps that a resumed run makes again: set aside, since it may arrive elsewhere."""

import re
from pathlib import Path

from diffenc_jax.parallel import hosts
from diffenc_jax.runs import storage
from diffenc_jax.runs.checkpoint import DAMAGED_FOLDER
from diffenc_jax.runs.files import OTHER_WORKDIR, free_path, list_paths, writing
from diffenc_jax.runs.workdir import CHECKPOINTS

SUPERSEDED = "superseded"
# The step in a file's name: 'test-40-bound-0123456789ab.json' of a record, '40-ancestral.npz' of samples.
STEP = re.compile(r"(?:[a-z]\w*-)?(\d+)[-.]")


def supersede(workdir: Path, start: int) -> int:
    """Move files that name a later step than `start` from the folders of `workdir` to its folder `superseded`.

    Returns:
      Their number, on the first host; 0 on the others. Raises InputError if they cannot be moved.
    """
    if not hosts.is_first():
        return 0
    others = CHECKPOINTS, DAMAGED_FOLDER, SUPERSEDED
    paths = [path for path in list_paths(workdir, "*/*") if path.parent.name not in others]
    later = [path for path in paths if (step := STEP.match(path.name)) and int(step[1]) > start]
    if later:
        with writing(workdir, OTHER_WORKDIR):
            target = free_path(workdir / SUPERSEDED / str(start))
            for path in later:
                place = target / path.parent.name / path.name
                storage.make_folder(place.parent)
                storage.move(path, place)
    return len(later)
