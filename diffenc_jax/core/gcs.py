"""gcsfs, in which a folder without objects is empty."""

from typing import Any

from gcsfs import GCSFileSystem


class BucketFileSystem(GCSFileSystem):
    """File system of buckets for programs that list folders which they have made, as Orbax does.

    A bucket has no folders, and gcsfs finds none at a path below which nothing lies: a process that is killed amid its
    first save, whose remains the next one deletes, leaves the latter such a path.
    """

    async def _ls(self, path: str, *args: Any, **kwargs: Any) -> list:
        try:
            return await super()._ls(path, *args, **kwargs)
        except FileNotFoundError:
            return []
