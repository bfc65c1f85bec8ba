"""Hooks of `make docs`: pages made of the repository's own files, and links that lead out of docs/."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")
MODULES = (
    "model.network.spec", "model.network.registry", "model.network.torch_module", "model.network.onnx_graph",
    "model.images.preprocess", "model.images.contract", "model.images.info", "model.images.crops", "model.runtime",
    "model.artifacts.artifact", "index.folder.store", "index.search", "training.config", "training.data.datasets",
    "server.settings",
)  # fmt: skip
OUTSIDE = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Files of the repository that are pages of the site."""
REFERENCE = """# Python modules

What the packages below `alexnet` offer to other programs. Most programs need only `alexnet`: [Python](python.md).
Modules change with every version; the names that start with an underscore are not listed.

"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that aren't files of docs/."""
    pages = {page: (ROOT / name).read_text(encoding="utf-8") for name, page in OUTSIDE.items()}
    pages["reference.md"] = REFERENCE + "\n\n".join(f"::: {module}" for module in MODULES)
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    icon = (ROOT / "server" / "web" / "icon.svg").read_bytes()
    files.append(File.generated(config, "icon.svg", content=icon))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links to the repository's documents into those to their pages, and links to other files into names."""
    source = page.file.src_uri
    folder = ROOT if source in OUTSIDE.values() else (DOCS / source).parent

    def lead(link: re.Match[str]) -> str:
        text, target, anchor = link.groups()
        path = Path(os.path.normpath(folder / target))
        if "://" in target or not path.is_relative_to(ROOT):
            return link[0]
        name = path.relative_to(ROOT).as_posix()
        if name in OUTSIDE:
            path = DOCS / OUTSIDE[name]
        elif not path.is_relative_to(DOCS):
            return f"`{name}`" if text.strip("`") in name else f"{text} (`{name}`)"
        return f"[{text}]({os.path.relpath(path, (DOCS / source).parent)}{anchor or ''})"

    return LINK.sub(lead, markdown)
