"""Hooks of `make docs`: pages made of the repository's own files, and links that lead out of docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
MODULES = (
    "model.network.spec", "model.network.registry", "model.network.torch_module", "model.network.onnx_graph",
    "model.images.preprocess", "model.images.contract", "model.images.info", "model.images.crops", "model.runtime",
    "model.artifacts.artifact", "index.store", "index.search", "training.config", "training.data.datasets",
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
        files.append(File.generated(config, name, content=re.sub(r"\]\((?:\./)?docs/", "](", text)))
    icon = (ROOT / "server" / "web" / "icon.svg").read_bytes()
    files.append(File.generated(config, "icon.svg", content=icon))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links to the repository's documents into those to their pages, and links to source files into names."""
    for name, target in OUTSIDE.items():
        markdown = re.sub(rf"\]\((?:\.\./)*{re.escape(name)}(#[^)]*)?\)", rf"]({target}\1)", markdown)
    endings = r"(?:py|toml|sh|json|jsonl|yaml|yml|cfg|md|csv|proto|txt)"
    outside = (
        r"\[`?([^\]`]*)`?\]\((?:\.\./)*(?!results/|decisions/)((?:[a-z_]+/|[A-Z])[^)#:]*\." + endings + r"|LICENSE)\)"
    )
    return re.sub(outside, _named, markdown)


def _named(link: re.Match[str]) -> str:
    text, path = link.groups()
    return f"`{path}`" if text in path else f"{text} (`{path}`)"
