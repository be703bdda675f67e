"""Notebooks as pages of the site, with the outputs that they were saved with.

  python docs/site/notebooks.py docs/digits.ipynb

runs a notebook and saves it with its outputs, as `make notebook` does.
"""

import base64
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

# Escape sequences of terminals.
COLOUR = re.compile(r"\x1b\[[\d;]*m")


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """The page of the notebook at `path`, and the content of its pictures by name."""
    blocks: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        blocks.append(source if cell["cell_type"] == "markdown" else _fenced(source, "python"))
        outputs = cell.get("outputs", ())
        printed = COLOUR.sub("", "".join(map(_text, outputs))).strip("\n")
        if printed:
            blocks.append(_fenced(printed, "text"))
        for data in (output["data"] for output in outputs if _is_rich(output)):
            if "image/png" in data:
                name = f"{path.stem}-{cell['id']}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                blocks.append(f"![Output of the cell above]({name})")
            else:
                blocks.append("".join(data["text/markdown"]))
    return "\n\n".join(blocks) + "\n", pictures


def _is_rich(output: dict[str, Any]) -> bool:
    """Whether an output is a picture or Markdown."""
    return not {"image/png", "text/markdown"}.isdisjoint(output.get("data", ()))


def _text(output: dict[str, Any]) -> str:
    """The printed text of an output; pictures and Markdown have none."""
    return "" if _is_rich(output) else "".join(output.get("text", output.get("data", {}).get("text/plain", "")))


def _fenced(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```"


def executed(path: Path, folder: Path) -> Any:
    """The notebook at `path` with the outputs of its cells, run from top to bottom in `folder`; raises at an error."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    options = {"timeout": 1200, "kernel_name": "python3", "record_timing": False}
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, **options).execute()
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for path in map(Path, sys.argv[1:]):
            content = json.dumps(executed(path, Path(folder)), indent=1, ensure_ascii=False)
            path.write_text(content + "\n", encoding="utf-8")
