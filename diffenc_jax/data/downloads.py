"""Download and preparation of data sets by tensorflow-datasets, with one-line errors on what to do by hand."""

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit
from urllib.request import getproxies

from diffenc_jax.core.errors import InputError, first_line, require

LONGEST = 200  # characters of a library's message


def prepare(name: str, builder: Any, folder: str) -> None:
    """Download and prepare a data set; raises InputError, which says which files to put where, if that fails.

    Args:
      name: its name in messages.
      builder: its builder, whose data are not prepared.
      folder: folder of prepared data sets.
    """
    import tensorflow_datasets as tfds

    if "://" in folder:
        raise InputError(_by_copy(name, builder, folder))
    manual = Path(folder) / "downloads" / "manual"
    instructions = " ".join((builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").split())[:LONGEST]
    by_hand = f"put its files into {manual} by hand and run again. {instructions}"
    has_files = manual.is_dir() and any(manual.iterdir())
    require(not instructions or has_files, f"{name} cannot be downloaded without its publisher's consent; {by_hand}")
    files = {url: info.filename for url, info in (builder.url_infos or {}).items()}
    urls = [url for url in _first_urls(builder) if not (files.get(url) and (manual / files[url]).exists())]
    if not instructions:
        names = [files.get(url) or Path(urlsplit(url).path).name for url in urls]
        by_hand = f"put {', '.join(names) or 'its archives'}, as published, into {manual} by hand and run again"
    for url in urls:
        if not _resolves(url):
            raise InputError(f"{name} cannot be downloaded: {urlsplit(url).hostname} cannot be reached; {by_hand}")
    try:
        # Prepared copies in the bucket of tensorflow-datasets are not asked for: that needs credentials or a time-out.
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    except Exception as error:  # network, disk and archives raise anything
        reason = first_line(error)[:LONGEST]
        raise InputError(f"{name} could not be prepared ({type(error).__name__}: {reason}); {by_hand}") from error


def _by_copy(name: str, builder: Any, folder: str) -> str:
    here = f"import tensorflow_datasets as t; t.builder('{name}', data_dir='tfds').download_and_prepare()"
    return (
        f'{name} is not prepared in {folder}; prepare it in a local folder, by `python -c "{here}"`, and copy it, by '
        f"`gcloud storage cp -r tfds/{builder.name} {folder}/`"
    )


class _Asked(Exception):
    """A builder asked for its first files."""


class _FirstRequest:
    """Stand-in for the download manager of tensorflow-datasets, which notes the first URLs that a builder asks for."""

    def __init__(self):
        self.urls: list[str] = []

    def download(self, urls: Any) -> NoReturn:
        import jax

        self.urls = [str(getattr(url, "url", url)) for url in jax.tree.leaves(urls)]
        raise _Asked

    download_and_extract = download

    def __getattr__(self, name: str) -> NoReturn:  # such as manual_dir
        raise _Asked


def _first_urls(builder: Any) -> list[str]:
    """The URLs that preparation downloads first; empty if they are unknown."""
    request = _FirstRequest()
    with suppress(_Asked, TypeError):  # TypeError: builders that run on a cluster take a second argument
        builder._split_generators(request)
    return request.urls


def _resolves(url: str) -> bool:
    """Whether the URL's host has an address or a proxy is set. tensorflow-datasets itself retries for minutes."""
    if getproxies():
        return True
    try:
        return bool(socket.getaddrinfo(urlsplit(url).hostname, None))
    except OSError:
        return False
