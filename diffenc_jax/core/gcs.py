"""gcsfs, with folders that exist from the moment on at which they are made."""

from typing import Any

from fsspec.asyn import sync_wrapper
from gcsfs import GCSFileSystem


class BucketFileSystem(GCSFileSystem):
    """File system of buckets for programs that expect folders, as Orbax does.

    A bucket has no folders: gcsfs makes none, and finds one by listing what is in it. A listing may be out of date, and
    Orbax then gives up a checkpoint whose folder it has just made. Here a folder that this process has made exists
    until this process deletes it.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._made: set[str] = set()

    async def _mkdir(self, path: str, *args: Any, **kwargs: Any) -> None:
        await super()._mkdir(path, *args, **kwargs)
        await self._makedirs(path)

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        path = self._strip_protocol(path).rstrip("/")
        while "/" in path:
            self._made.add(path)
            path = path.rpartition("/")[0]

    async def _info(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return await super()._info(path, *args, **kwargs)
        except FileNotFoundError:
            name = self._strip_protocol(path).rstrip("/")
            if name not in self._made:
                raise
            return {"name": name, "size": 0, "type": "directory"}

    async def _ls(self, path: str, *args: Any, **kwargs: Any) -> list:
        try:
            return await super()._ls(path, *args, **kwargs)
        except FileNotFoundError:
            if self._strip_protocol(path).rstrip("/") not in self._made:
                raise
            return []

    async def _rm(self, path: str, *args: Any, **kwargs: Any) -> list:
        name = self._strip_protocol(path).rstrip("/")
        self._made = {made for made in self._made if not f"{made}/".startswith(f"{name}/")}
        return await super()._rm(path, *args, **kwargs)

    mkdir, makedirs, rm = sync_wrapper(_mkdir), sync_wrapper(_makedirs), sync_wrapper(_rm)
