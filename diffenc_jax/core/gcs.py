"""gcsfs with empty folders: the list of a folder without objects is empty."""

from typing import Any

from gcsfs import GCSFileSystem


class BucketFileSystem(GCSFileSystem):
    """File system of buckets in which an empty folder can be listed.

    A bucket has no folders, and gcsfs raises an error for a path below which nothing lies. Orbax lists such a path if a
    process was killed in its first save and the next process has deleted the remains.
    """

    async def _ls(self, path: str, *args: Any, **kwargs: Any) -> list:
        try:
            return await super()._ls(path, *args, **kwargs)
        except FileNotFoundError:
            return []
