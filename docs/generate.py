"""`python docs/generate.py`: write the pages of the documentation that come from the program.

docs/settings.md from the settings of the server, docs/http.md from its OpenAPI document and the recorded responses of
docs/http_examples.json (see docs/record_http.py). `tests/project/test_generated.py` fails when one is out of date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from server.app import add_routes
from server.settings import Settings

DOCS = Path(__file__).parent
EXAMPLES = DOCS / "http_examples.json"
NOT_A_FLAG = ("keys",)
Schema = dict[str, Any]


def main() -> None:
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """The text of every generated page, by file name."""
    examples = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    return {"settings.md": "\n".join(settings_page()), "http.md": "\n".join(http_page(openapi(), examples))}


def openapi() -> Schema:
    """The OpenAPI document of the server."""
    app = FastAPI()
    add_routes(app)
    return app.openapi()


def settings_page() -> Iterator[str]:
    """Every setting of the server."""
    yield """# Server settings

<!-- written by docs/generate.py from server/settings.py -->

A setting is a flag of `alexnet serve` (`--max-concurrent-requests 32`), an environment variable
(`ALEXNET_MAX_CONCURRENT_REQUESTS=32`), and a line of the TOML file that `--config` or `ALEXNET_CONFIG` names
(`max_concurrent_requests = 32`). A flag wins over a variable, and a variable over the file. In all three, lists are
text with commas (`allowed_hosts = "nas.local,*.example.org"`). An unknown line of the file is refused, and so is a
variable whose name is nearly a setting's. `ALEXNET_KEYS` is not a flag, because other users of the machine can see
command lines.

| flag | environment variable | default | meaning |
|---|---|---|---|"""
    for name, field in Settings.model_fields.items():
        flag = "" if name in NOT_A_FLAG else f"`--{name.replace('_', '-')}`"
        yield _row(flag, f"`ALEXNET_{name.upper()}`", _default(name, field.default), _cell(field.description or name))
    yield ""


def _default(name: str, value: object) -> str:
    if name == "home":
        return "the working directory"
    if value in (None, ""):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def http_page(document: Schema, examples: dict[str, Any]) -> Iterator[str]:
    """Every operation of the HTTP API, with a request and its response, and every schema."""
    yield """# HTTP API

<!-- written by docs/generate.py from the OpenAPI document and docs/http_examples.json -->

A running server has this reference at `/docs`, where you can try it, and the OpenAPI document at `/openapi.json`.
[Requests and routes](routes.md) says what every request may carry, which API key each route needs, and how clients
share the limits. [Troubleshooting](troubleshooting.md#http-errors) says what each error code means.

The responses below were recorded from a real server. Lists are cut after two items, and long texts are cut, too.
"""
    tag = ""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation["tags"][0] != tag:
                tag = operation["tags"][0]
                yield f"## {tag[0].upper()}{tag[1:]}\n"
            name = f"{method.upper()} {path}"
            yield from _operation(name, operation, examples.get(name), document)
    yield "## Schemas\n"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield from _schema(name, schema)


def _operation(name: str, operation: Schema, example: Any, document: Schema) -> Iterator[str]:
    yield f"### {name}\n"
    yield f"**{operation['summary']}.** {operation.get('description', '')}\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | in | type | default | meaning |\n|---|---|---|---|---|"
        for parameter in parameters:
            schema = parameter["schema"]
            default = schema.get("default")
            yield _row(
                f"`{parameter['name']}`", parameter["in"], _type(schema), "" if default is None else f"`{default}`",
                _cell(parameter.get("description", "")),
            )  # fmt: skip
        yield ""
    if body := operation.get("requestBody"):
        yield f"Body: {', '.join(f'`{kind}`' for kind in body['content'])}.\n"
    if example:
        yield from _example(example)
    is_refused = bool(example) and example["status"] >= 400
    yield from _responses(operation["responses"], is_refused)


def _example(example: Any) -> Iterator[str]:
    yield f"```bash\n{example['request']}\n```\n"
    if example["status"] >= 400:
        yield f"This is refused with {example['status']}:\n"
    if "response" in example:
        if isinstance(example["response"], str):
            yield f"```text\n{example['response']}\n```\n"
        else:
            yield f"```json\n{json.dumps(example['response'], indent=2, ensure_ascii=False)}\n```\n"
    elif "bytes" in example:
        yield f"The response is a file (`{example['type']}`, {example['bytes']:,} bytes here).\n"


def _responses(responses: Schema, is_refused: bool) -> Iterator[str]:
    """The body of a success, unless the operation `is_refused` always, and the codes of all errors."""
    errors = []
    for status, response in sorted(responses.items()):
        kinds = response.get("content", {})
        if status < "300" and is_refused:
            continue
        if status.startswith("3"):
            yield f"Response {status}: {response['description']}\n"
        elif status < "300":
            bodies = [
                _type(content["schema"]) if content.get("schema") else f"`{kind}`" for kind, content in kinds.items()
            ]
            yield f"Response {status}: {', '.join(bodies) or 'no body'}.\n"
        else:
            codes = re.findall(r"^`(\w+)`", response["description"], re.MULTILINE)
            errors.append(f"{status} {', '.join(f'`{code}`' for code in codes)}".strip())
    if errors:
        yield f"Errors: {'; '.join(errors)}.\n"


def _schema(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {name}\n\n{schema.get('description', '')}\n"
    if "properties" in schema:
        yield "| field | type | meaning |\n|---|---|---|"
        for field, value in schema["properties"].items():
            yield _row(f"`{field}`", _type(value), _cell(value.get("description", "")))
        yield ""
    elif "enum" in schema:
        yield f"One of {', '.join(f'`{value}`' for value in schema['enum'])}.\n"


def _type(schema: Schema) -> str:
    """The type of a value, with a link to its schema."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if several := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return " or ".join(_type(option) for option in several)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if schema.get("type") == "array":
        size = f" (up to {schema['maxItems']:,})" if "maxItems" in schema else ""
        return f"list{size} of {_type(schema.get('items', {}))}"
    if "maxLength" in schema:
        return f"{schema.get('format') or 'string'} of up to {schema['maxLength']:,} characters"
    limits = [f"{word} {schema[key]:.15g}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    if schema.get("maximum", 0) >= 2**53:
        limits = limits[:1]
    return " ".join([schema.get("format") or schema.get("type", "any"), *limits])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Text for a table: one line, without bars, and without stars that Markdown would take for emphasis."""
    line = re.sub(r"\s+", " ", text).replace("|", "\\|")
    return re.sub(r"(`[^`]*`)|\*", lambda match: match[1] or "\\*", line)


if __name__ == "__main__":
    main()
