"""The description of an API (OpenAPI) as rows of a table, for a page that needs no network."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from typing import Any

COLUMNS = ("Request", "What it does", "Arguments")
_METHODS = ("get", "post", "put", "patch", "delete")


def rows(document: dict[str, Any]) -> list[list[str]]:
    """Return a row of `COLUMNS` for each request; cells are HTML."""
    return [row for path, methods in document["paths"].items() for row in _rows(path, methods)]


def _rows(path: str, methods: dict[str, Any]) -> Iterator[list[str]]:
    for method in (name for name in _METHODS if name in methods):
        operation = methods[method]
        arguments = [f"{item['name']} ({item['in']})" for item in operation.get("parameters", ())]
        if "requestBody" in operation:
            arguments.append(f"body: {json.dumps(operation['requestBody'].get('content', {}))}")
        request = f"<code>{html.escape(method.upper())} {html.escape(path)}</code>"
        yield [request, html.escape(operation.get("summary", "")), "<br>".join(map(html.escape, arguments))]
