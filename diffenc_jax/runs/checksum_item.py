"""The item of a checkpoint with its identity and the checksums of its arrays, under a hash of its own.

Every host writes one file, with the checksums of the parts of arrays that it holds. It computes them in the background,
while the arrays are saved, so that training does not wait.
"""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import jax

from diffenc_jax.config.schema import json_digest
from diffenc_jax.core.errors import require
from diffenc_jax.core.typed import mismatch
from diffenc_jax.parallel import hosts
from diffenc_jax.runs.files import parse_json
from diffenc_jax.runs.hashes import Damaged, Hashes, sum_of_hosts


class CheckpointIdentity(NamedTuple):
    """The run of a checkpoint (`Origin.run`), digests of its configuration and standards, and its step."""

    run: str
    configuration: str
    standards: str
    step: int = 0


class _File(TypedDict):
    """Entries of a host's file.

    Further entries are a `CheckpointIdentity`, the host's number, and a hash of all other entries, which tells damaged
    checksums from damaged arrays.
    """

    arrays: Hashes
    hosts: int


class ChecksumItem:
    """Checksums of a checkpoint's arrays, which Orbax saves beside the arrays through the method `save`.

    Attributes:
      identity: identity of the checkpoint.
      hashes: function that computes the checksums of this host's parts.
    """

    def __init__(self, identity: CheckpointIdentity, hashes: Callable[[], Hashes] = dict):
        self.identity, self.hashes = identity, hashes

    async def save(self, directory: Any) -> Awaitable[None]:
        """Part of Orbax's protocol: the coroutine that writes this host's file once `directory` exists."""

        async def write() -> None:
            folder, number = await directory.await_creation(), hosts.number()
            entries = {"arrays": self.hashes(), "host": number, "hosts": jax.process_count(), **self.identity._asdict()}
            (folder / f"{number}.json").write_text(json.dumps(entries | {"sha256": json_digest(entries)}))

        return write()

    async def load(self, directory: Path) -> Awaitable[None]:
        """Part of Orbax's protocol; the checksums are read by `checksums`, which needs no Orbax."""
        raise NotImplementedError


def checksums(folder: Path, identity: CheckpointIdentity) -> Hashes:
    """Checksums of whole arrays, from the files of all hosts in the `folder` of the item.

    Raises Damaged if a file was changed or has another identity, or an error of reading it; InputError if only the
    standards in config.json are not those of the checkpoint.
    """
    first = _entries(folder, 0, identity)
    others = [_entries(folder, host, identity) for host in range(1, first["hosts"])]
    return sum_of_hosts([entries["arrays"] for entries in (first, *others)])


def _entries(folder: Path, host: int, identity: CheckpointIdentity) -> dict[str, Any]:
    """Entries of a host's file; see `checksums`."""
    entries = parse_json((folder / f"{host}.json").read_text())
    is_intact = mismatch(entries, _File) is None and entries.pop("sha256", None) == json_digest(entries)
    if not is_intact or entries.get("host") != host:
        raise Damaged("its list of hashes is not what was saved")
    for name, ours in identity._asdict().items():
        theirs = entries.get(name)
        if name == "standards":  # a file without them is complete
            edited = "the standards in config.json are not those that the run was trained with; restore that file"
            require(theirs in (ours, None), edited)
        elif theirs != ours:
            raise Damaged(f"it is of another {name} ({theirs} in place of {ours})")
    return entries
