"""Reader of checkpoints that flax.serialization wrote. The file is not trusted: nothing in it is executed."""

from pathlib import Path
from typing import Any

from flax import serialization

from diffenc_jax.core.errors import InputError, first_line, require

# The largest published models are near 2 GB: parameters, their averages, and two moments.
MAX_BYTES = 32 * 2**30
PICKLE = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))


def read_checkpoint(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """The entries `keys` of a checkpoint: nested dicts of numbers and arrays.

    Raises InputError if the file cannot be read, has another form, lacks one of `keys`, or is larger than any
    checkpoint.
    """
    named, as_checkpoint = f"{path} cannot be read", f"{path} cannot be read as a flax checkpoint"
    # Opening a pipe or a device might never return.
    what = "it is a folder, not one file" if path.is_dir() else "it is not a regular file"
    require(path.is_file(), f"{named}: {what if path.exists() else 'there is no such file'}")
    require(path.stat().st_size <= MAX_BYTES, f"{named}: it is larger than {MAX_BYTES} bytes")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{named}: {error.strerror}") from error
    require(content[:2] not in PICKLE, f"{named}: it is a pickle, which is a program, and is not run")
    try:
        entries = serialization.msgpack_restore(content)
    except Exception as error:  # libraries raise many types
        reason = first_line(error) or type(error).__name__
        raise InputError(f"{as_checkpoint}: {reason}") from error
    is_map = isinstance(entries, dict)
    missing = [key for key in keys if not is_map or key not in entries]
    has = ", ".join(map(str, list(entries)[:8])) if is_map else "nothing"
    require(not missing, f"{as_checkpoint}: it has no {' and no '.join(missing)}; it has {has or 'nothing'}")
    return {key: entries[key] for key in keys}
