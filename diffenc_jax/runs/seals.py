"""Checksums of a checkpoint as a part of it, with its identity, under a hash of their own.

Every host writes one file, with the checksums of the parts of arrays that it holds. It computes them while the arrays
are saved, in the background, so that training waits for none.
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
from diffenc_jax.core.typed import mismatch
from diffenc_jax.parallel import hosts
from diffenc_jax.runs.files import parse_json
from diffenc_jax.runs.hashes import Damaged, Hashes, sum_of_hosts


class Stamp(NamedTuple):
    """Identity of a checkpoint: the run (`Origin.run`), the digest of its configuration, and the step."""

    run: str
    configuration: str
    step: int = 0


class _Seal(TypedDict):
    """Entries of a host's file, which has those of a stamp too, the host's number, and a hash over all else.

    The hash tells damaged checksums from damaged arrays.
    """

    arrays: Hashes
    hosts: int


def _unsealed(folder: epath.Path, host: int, stamp: Stamp) -> dict[str, Any]:
    """The seal of a host; raises Damaged, or an error of its file, if it is something else or of another stamp."""
    seal = parse_json((folder / f"{host}.json").read_text())
    if mismatch(seal, _Seal) is not None or seal.pop("sha256", None) != json_digest(seal) or seal.get("host") != host:
        raise Damaged("its list of hashes is not what was saved")
    for name, ours in stamp._asdict().items():
        if seal.get(name) != ours:
            raise Damaged(f"it is of another {name} ({seal.get(name)} in place of {ours})")
    return seal


class SealHandler(ocp.AsyncCheckpointHandler):
    """Orbax handler of an item that is the seals of all hosts, a file each, which state how many there are."""

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
    """Tells Orbax to save the seal of this host, of what the function `hashes` returns, or to restore those of all."""

    stamp: Stamp
    hashes: Callable[[], Hashes] = dict
