"""Seals: an item of a checkpoint with its identity and the checksums of its arrays, under a hash of its own.

Every host writes one file, with the checksums of the parts of arrays that it holds. It computes them in the background,
while the arrays are saved, so that training does not wait.
"""

import dataclasses
import json
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.args import CheckpointArgs, register_with_handler
from orbax.checkpoint.future import CommitFutureAwaitingContractedSignals, Future

from diffenc_jax.config.schema import json_digest
from diffenc_jax.core.errors import require
from diffenc_jax.core.typed import mismatch
from diffenc_jax.parallel import hosts
from diffenc_jax.runs.files import parse_json
from diffenc_jax.runs.hashes import Damaged, Hashes, sum_of_hosts


class Stamp(NamedTuple):
    """Identity of a checkpoint: the run (`Origin.run`), digests of its configuration and standards, and the step."""

    run: str
    configuration: str
    standards: str
    step: int = 0


class _Seal(TypedDict):
    """Entries of a host's file. Further entries are a stamp, the host's number, and a hash of all other entries.

    The hash tells damaged checksums from damaged arrays.
    """

    arrays: Hashes
    hosts: int


def _unsealed(folder: epath.Path, host: int, stamp: Stamp) -> dict[str, Any]:
    """The seal of a host; raises Damaged if it was changed or has another stamp, or an error of reading its file.

    Raises InputError if only the standards in config.json are not those of the stamp.
    """
    seal = parse_json((folder / f"{host}.json").read_text())
    if mismatch(seal, _Seal) is not None or seal.pop("sha256", None) != json_digest(seal) or seal.get("host") != host:
        raise Damaged("its list of hashes is not what was saved")
    for name, ours in stamp._asdict().items():
        theirs = seal.get(name)
        if name == "standards":  # a seal without them is complete
            edited = "the standards in config.json are not those that the run was trained with; restore that file"
            require(theirs in (ours, None), edited)
        elif theirs != ours:
            raise Damaged(f"it is of another {name} ({theirs} in place of {ours})")
    return seal


class SealHandler(ocp.AsyncCheckpointHandler):
    """Orbax handler of the seals of all hosts: one file per host, which states the number of hosts."""

    async def async_save(self, directory: epath.Path, args: "Seal") -> list[Future]:
        async def write() -> None:
            number, count = hosts.number(), jax.process_count()
            content = {"arrays": args.hashes(), "host": number, "hosts": count, **args.stamp._asdict()}
            (directory / f"{number}.json").write_text(json.dumps(content | {"sha256": json_digest(content)}))

        return [CommitFutureAwaitingContractedSignals(write(), name="seal")]

    def save(self, directory: epath.Path, args: "Seal") -> None:
        raise NotImplementedError("seals are saved in the background")

    def restore(self, directory: epath.Path, args: "Seal") -> Hashes:
        seals = [_unsealed(directory, 0, args.stamp)]
        seals += [_unsealed(directory, host, args.stamp) for host in range(1, seals[0]["hosts"])]
        return sum_of_hosts([seal["arrays"] for seal in seals])


@register_with_handler(SealHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class Seal(CheckpointArgs):
    """Argument of Orbax: save this host's seal with the checksums of `hashes()`, or restore the seals of all hosts."""

    stamp: Stamp
    hashes: Callable[[], Hashes] = dict
