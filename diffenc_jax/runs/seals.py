"""Checksums of a checkpoint as a part of it, with its identity, under a hash of their own.

Every host writes one file, with the checksums of the parts of arrays that it holds. It computes them while the arrays
are saved, in the background, so that training waits for none.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.args import CheckpointArgs, register_with_handler
from orbax.checkpoint.future import CommitFutureAwaitingContractedSignals, Future

from diffenc_jax.parallel import hosts
from diffenc_jax.runs.hashes import Damaged, Hashes, digest, sum_of_hosts


class Stamp(NamedTuple):
    """Identity of a checkpoint: the step, and the digest of the run's configuration (`Config.hash`)."""

    step: int
    run: str


def seal(hashes: Hashes, stamp: Stamp) -> dict[str, Any]:
    """JSON value of `hashes` and `stamp` with a hash over them, which tells damaged hashes from damaged arrays."""
    content = {"arrays": hashes, **stamp._asdict()}
    return content | {"sha256": digest(content)}


def unseal(seals: Sequence[Any], stamp: Stamp) -> Hashes:
    """The hashes in the seals of all hosts; raises Damaged if one is something else, or of another stamp."""
    if not seals:
        raise Damaged("its list of hashes is missing")
    return sum_of_hosts([_hashes_in(content, stamp) for content in seals])


def _hashes_in(content: Any, stamp: Stamp) -> Hashes:
    content = dict(content) if isinstance(content, dict) else {}
    if content.pop("sha256", None) != digest(content) or "arrays" not in content:
        raise Damaged("its list of hashes is not what was saved")
    theirs = Stamp(content["step"], content["run"])
    if theirs.run != stamp.run:
        raise Damaged(f"it is of another configuration than config.json has ({theirs.run} in place of {stamp.run})")
    if theirs.step != stamp.step:
        raise Damaged(f"it was saved as that of step {theirs.step}")
    return content["arrays"]


class SealHandler(ocp.AsyncCheckpointHandler):
    """Orbax handler of an item that is the seals of all hosts, a file each."""

    async def async_save(self, directory: epath.Path, args: "SaveSeal") -> list[Future]:
        async def write() -> None:
            (directory / f"{hosts.number()}.json").write_text(json.dumps(seal(args.hashes(), args.stamp)))

        return [CommitFutureAwaitingContractedSignals(write(), name="seal")]

    def save(self, directory: epath.Path, args: "SaveSeal") -> None:
        raise NotImplementedError("seals are saved in the background")

    def restore(self, directory: epath.Path, args: "RestoreSeals") -> list[Any]:
        return [json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))]


@register_with_handler(SealHandler, for_save=True)
@dataclasses.dataclass
class SaveSeal(CheckpointArgs):
    """Tells Orbax to save the seal of this host, with the hashes that a function returns."""

    hashes: Callable[[], Hashes]
    stamp: Stamp


@register_with_handler(SealHandler, for_restore=True)
@dataclasses.dataclass
class RestoreSeals(CheckpointArgs):
    """Tells Orbax to restore the seals of all hosts."""
