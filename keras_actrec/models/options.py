"""Check the options of an architecture against the fields of its config, and describe those fields.

A config is a standard dataclass whose annotations pydantic understands and whose fields are explained by the string
below each of them, as in `keras_actrec.config`.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import textwrap
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pydantic

from keras_actrec.errors import UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Option:
    """One field of a config.

    Attributes:
        name: of the field.
        type: what is allowed, such as "int" or "sinusoidal | learned".
        default: its default, None if there is none or that is the default.
        required: whether it must be given.
        doc: one sentence about it.
    """

    name: str
    type: str
    default: Any
    required: bool
    doc: str


def validate(config_type: type[Any], owner: str, values: dict[str, Any]) -> Any:
    """Return a config made of values as a YAML file gives them: strict types, but lists stand for tuples.

    Args:
        config_type: a frozen dataclass.
        owner: what the options belong to, for messages, such as "model 'foo'".
        values: field name -> value.

    Raises:
        UserError: with every mistake in one message.
    """
    names = [field.name for field in dataclasses.fields(config_type)]
    unknown = [name for name in values if name not in names]
    if unknown:
        raise UserError("; ".join(f"{owner} has no option '{name}'.{did_you_mean(name, names)}" for name in unknown))
    try:
        # JSON is where pydantic is strict and still reads a list as a tuple.
        return pydantic.TypeAdapter(config_type).validate_json(json.dumps(values, default=_plain), strict=True)
    except pydantic.ValidationError as error:
        # A mistake in a union is reported once per member of it: one line per field is enough.
        lines = {str(item["loc"][0]): _explain(item) for item in reversed(error.errors(include_url=False))}
        raise UserError(f"{owner}: " + "; ".join(reversed(lines.values())) + ".") from None


def describe(config_type: type[Any]) -> tuple[Option, ...]:
    """Return the fields of a config."""
    hints = get_type_hints(config_type, include_extras=True)
    docs = _docs(config_type)
    return tuple(
        Option(
            name=field.name,
            type=_type_text(hints[field.name]),
            default=None if field.default is dataclasses.MISSING else field.default,
            required=field.default is dataclasses.MISSING,
            doc=docs.get(field.name, ""),
        )
        for field in dataclasses.fields(config_type)
    )


def _plain(value: Any) -> Any:
    """Turn NumPy numbers and paths into what JSON knows."""
    if hasattr(value, "item"):
        return value.item()
    return str(value) if hasattr(value, "__fspath__") else repr(value)


def _explain(error: dict[str, Any]) -> str:
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{error['loc'][0]}: {message} (got {error['input']!r})"


def _docs(config_type: type[Any]) -> dict[str, str]:
    """Return the string that stands below each field in the source, base classes first."""
    docs: dict[str, str] = {}
    for base in reversed(config_type.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                docs[field.target.id] = inspect.cleandoc(str(text.value.value))
    return docs


def _type_text(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _type_text(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(_type_text(argument) for argument in arguments)
    if origin is tuple:
        return "list of " + " ".join(_type_text(argument) for argument in arguments if argument is not Ellipsis)
    return "none" if hint is type(None) else hint.__name__
