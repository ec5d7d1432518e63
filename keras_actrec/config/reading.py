"""From YAML to a configuration and back; each mistake becomes a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic
import yaml
from pydantic import BaseModel

from keras_actrec import files
from keras_actrec.config.run import RunConfig
from keras_actrec.errors import UserError, did_you_mean

Kind = TypeVar("Kind", bound=BaseModel)


def load_config(path: str | Path | None, overrides: Sequence[str] = (), kind: type[Kind] = RunConfig) -> Kind:
    """Read a YAML file, or none, apply `section.key=value` overrides in order, and validate the result as `kind`."""
    document = {} if path is None else _read_yaml(Path(path))
    return parse_config(document, "the options" if path is None else str(path), kind, overrides)


def parse_config(
    document: dict[str, Any],
    origin: str = "configuration",
    kind: type[Kind] = RunConfig,
    overrides: Sequence[str] = (),
) -> Kind:
    """Validate a nested dictionary after overrides; raise one `UserError` that lists every mistake in it."""
    for override in overrides:
        _override(document, override)
    if "swarm" in document and "swarm" not in kind.model_fields:
        raise UserError(f"{origin} describes a swarm: start it with python swarm_server.py --config ...")
    if "sweep" in document and "sweep" not in kind.model_fields:
        raise UserError(f"{origin} describes a sweep: start it with python -m keras_actrec sweep --config ...")
    try:
        return kind.model_validate(document)
    except pydantic.ValidationError as error:
        lines = [_explain(item, kind) for item in error.errors(include_url=False)]
        raise UserError(f"{origin}: " + "; ".join(lines)) from None


def dump_yaml(config: BaseModel) -> str:
    """Return the resolved configuration as YAML that `load_config` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def save_config(config: BaseModel, path: str | Path) -> None:
    """Publish the resolved configuration."""
    files.write_text(path, dump_yaml(config))


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a run configuration, for completion in editors."""
    return RunConfig.model_json_schema()


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = did_you_mean(path.name, [entry.name for entry in path.parent.glob("*.yaml")])
        raise UserError(f"there is no configuration at {path}.{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the configuration {path}: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise UserError(f"{path}: expected sections with keys, found {type(document).__name__}.")
    return document


def _override(document: dict[str, Any], override: str) -> None:
    """Set one dotted key in place."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UserError(f"'{override}' is no override; expected key=value, such as training.epochs=5.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    for depth, part in enumerate(parts[:-1], start=1):
        section = document.setdefault(part, {})
        if section is None:
            section = document[part] = {}
        if not isinstance(section, dict):
            raise UserError(f"'{override}': '{'.'.join(parts[:depth])}' is a value, not a section.")
        document = section
    document[parts[-1]] = value


def _explain(error: dict[str, Any], kind: type[BaseModel]) -> str:
    """Turn one of pydantic's errors into a sentence."""
    location = [part for part in error["loc"] if not (isinstance(part, str) and "[" in part)]
    where = ".".join(map(str, location)) or "the configuration"
    if error["type"] == "extra_forbidden":
        return f"unknown key '{where}'.{did_you_mean(str(location[-1]), _keys_at(location[:-1], kind))}"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{where}: {message}" + ("." if isinstance(error["input"], dict) else f" (got {error['input']!r}).")


def _keys_at(location: Sequence[str | int], section: type[BaseModel]) -> list[str]:
    """Return the valid keys of the section at a location below `section`."""
    for part in location:
        if isinstance(part, int):  # an entry of a list, whose section is the list's
            continue
        annotation = section.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        section = next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(section.model_fields)
