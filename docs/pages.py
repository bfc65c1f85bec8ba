"""Hooks of `make docs`: the README as first page, the HTTP API from the server, the Python reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from server.app import add_routes

ROOT = Path(__file__).parents[1]
MODULES = (
    "model.network.spec", "model.network.registry", "model.network.torch_module", "model.network.onnx_graph",
    "model.images.preprocess", "model.images.contract", "model.images.info", "model.images.crops", "model.runtime",
    "model.artifacts.artifact", "index.store", "index.search", "training.config", "training.data.datasets",
    "server.settings",
)  # fmt: skip


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    readme = (ROOT / "README.md").read_text().replace("](docs/", "](")
    reference = "# Python\n\n" + "\n\n".join(f"::: {module}" for module in MODULES)
    pages = {"index.md": readme, "interface.md": "\n".join(http_api()), "reference.md": reference}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace links to source files by their names: the site has documents only."""
    endings = r"(?:py|toml|sh|json|yaml|yml|cfg|md|csv)"
    outside = (
        r"\[`?([^\]`]*)`?\]\((?:\.\./|(?=[a-z]+/|[A-Z]))(?!results/|decisions/)([^)#:]*\." + endings + r"|LICENSE)\)"
    )
    return re.sub(outside, _named, markdown)


def _named(link: re.Match[str]) -> str:
    text, path = link.groups()
    return f"`{path}`" if text in path else f"{text} (`{path}`)"


def http_api() -> Iterator[str]:
    """Every operation of the HTTP API, in Markdown, from the server's OpenAPI document."""
    app = FastAPI()
    add_routes(app)
    yield "# HTTP\n\nA running server has the OpenAPI document at `/openapi.json`, and a page to try it at `/docs`.\n"
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            yield f"## {method.upper()} {path}\n\n**{operation['summary']}.** {operation.get('description', '')}\n"
            if parameters := operation.get("parameters"):
                yield "| parameter | in | |\n|---|---|---|"
                for parameter in parameters:
                    default = parameter.get("schema", {}).get("default")
                    text = parameter.get("description", "") + (f" ({default})" if default is not None else "")
                    yield f"| `{parameter['name']}` | {parameter['in']} | {text} |"
                yield ""
            yield "Responses: " + ", ".join(f"{status}" for status in operation["responses"]) + ".\n"
