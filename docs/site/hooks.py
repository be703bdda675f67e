"""Hooks of MkDocs: pages from files outside docs/, links between all of them, and parts of pages made from the code.

A comment `<!-- site: NAME -->` in a page is replaced by what the entry of `PARTS` makes, and of a comment that begins
with a line `<!-- only on the site` the other lines are shown. On GitHub neither is seen.
"""

import re
import sys
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks/results")]

import configuration  # noqa: E402
import notebooks  # noqa: E402
from pages import whole  # noqa: E402
from result import measured  # noqa: E402

# Documents at the top of the repository that are pages of the site.
TOP_PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
# Packages whose functions have a page each, and their names in documents: `diffusion.gaussian.diffuse`.
REFERENCE = ("diffusion", "lab.stats", "lab.coding")
NAME = re.compile(rf"(?<!\[)`((?:{'|'.join(REFERENCE)})\.[\w.]*\w)`")
HIDDEN = re.compile(r"<!-- only on the site\n(.*?)-->", re.DOTALL)
LINKED = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)\s#]+)[^)]*\)")
LINK = re.compile(r'(?:(?<=\]\()|(?<=src="))(?!\w+:|#)([^)\s#"]+)')


PARTS = {"configuration": configuration.reference}
RESULTS = PurePosixPath("docs/results")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents and the pictures at the top of the repository, and the notebooks."""
    for name, page in TOP_PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    for path in sorted((ROOT / "pictures").iterdir()):
        files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))
    for path in sorted((ROOT / "docs").glob("*.ipynb")):
        text, pictures = notebooks.page(path)
        files.append(File.generated(config, f"{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, name, content=content))
    for name, result in measured().items():
        files.append(File.generated(config, f"results/{name}.md", content=whole(result)))
    for package in REFERENCE:
        files.append(File.generated(config, f"reference/{package.split('.')[-1]}.md", content=_functions(package)))
    return files


def _functions(package: str) -> str:
    """The page of a package's modules and functions."""
    modules = sorted(path.stem for path in (ROOT / "diffenc_jax").joinpath(*package.split(".")).glob("[a-z]*.py"))
    return "\n\n".join([f"# {package}", *(f"::: diffenc_jax.{package}.{module}" for module in modules)])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at pages of the site, leave out others, and fill in the parts that the code makes."""
    folder = "" if page.file.src_uri in TOP_PAGES.values() else "docs"
    markdown = NAME.sub(r"[`\1`][diffenc_jax.\1]", HIDDEN.sub(r"\1", markdown))
    markdown = LINKED.sub(lambda match: match[0] if _target(match[2], folder) else match[1], markdown)
    markdown = LINK.sub(lambda match: _target(match[1], folder) or match[1], markdown)
    return re.sub(r"<!-- site: (\w+) -->", lambda match: PARTS[match[1]](), markdown)


def _target(link: str, folder: str) -> str | None:
    """The target, seen from the top of the site, of a link in a document in `folder` of the repository.

    None if it is no page of the site.
    """
    path = (ROOT / folder / link).resolve().relative_to(ROOT)
    if str(path) in TOP_PAGES:
        return TOP_PAGES[str(path)]
    if path.suffix == ".ipynb":
        return f"{path.stem}.md"
    if path.parent == RESULTS:
        return f"results/{path.stem}.md"
    if path.parts[0] in ("docs", "pictures"):
        return str(PurePosixPath(*path.parts[path.parts[0] == "docs" :]))
    return None
