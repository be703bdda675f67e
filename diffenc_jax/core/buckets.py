"""Google Cloud Storage: paths gs://BUCKET/..., and the library that opens them.

All access is by gcsfs. `prepare` makes etils.epath use gcsfs too, and with epath Orbax, JAX's compilation cache and
tensorflow-datasets. TensorFlow's file system, epath's first choice, takes 5 s and 500 MB to import, cannot create an
object only if it is absent, and is missing from some builds of TensorFlow.
"""

import logging
import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from diffenc_jax.core.errors import InputError, require_printable

if TYPE_CHECKING:
    from gcsfs import GCSFileSystem

CONNECT_SECONDS, SILENCE_SECONDS = 15, 60  # after which a request is repeated


def is_remote(path: Path | str) -> bool:
    """Whether `path` is in a bucket."""
    return str(path).startswith("gs://")


def as_path(text: str) -> Path:
    """The path that a user names: a pathlib.Path; for gs:// an etils.epath.Path, which has the same methods.

    Raises InputError for control characters, another scheme, such as s3://, or gs:// without a bucket and a folder.
    """
    require_printable(text)
    if re.match(r"[a-zA-Z][\w+.-]*:/", text) is None:
        return Path(text)
    if not re.match(r"gs://[a-z0-9][\w.-]+/+[^/]", text):
        raise InputError(f"{text} cannot be opened; give a local folder, or gs://BUCKET/FOLDER on Google Cloud Storage")
    prepare()
    from etils import epath

    return cast(Path, epath.Path(text.rstrip("/")))


@cache
def prepare() -> None:
    """Make etils.epath, and all libraries that open gs:// through it, use `file_system`."""
    os.environ.setdefault("EPATH_USE_TF", "false")
    from etils.epath import gpath

    gpath._is_tf_installed.cache_clear()  # cached when the first path was opened, even a local path
    # TensorStore waits as long as gcsfs.
    os.environ.setdefault("TENSORSTORE_CURL_CONNECT_TIMEOUT_SECONDS", str(CONNECT_SECONDS))
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", str(SILENCE_SECONDS))
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", "1")
    # Otherwise gcsfs asks for the type of each bucket by gRPC, which needs another permission.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    import aiohttp
    from fsspec.config import conf

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs tracebacks of the errors that it raises
    patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
    for protocol in ("gs", "gcs"):
        # A cached listing would hide what other machines write.
        conf.setdefault(protocol, {}).update(use_listings_cache=False, session_kwargs={"timeout": patience})


@cache
def file_system() -> "GCSFileSystem":
    """The file system of all buckets. It repeats a request for half a minute if a bucket does not answer."""
    prepare()
    import fsspec

    return fsspec.filesystem("gs")
