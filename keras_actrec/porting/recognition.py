"""Which family a file is of: seen from the names in it."""

from __future__ import annotations

from collections.abc import Sequence

from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.porting.families import FAMILIES
from keras_actrec.porting.family import Family
from keras_actrec.porting.reading import Tensors
from keras_actrec.porting.rules import targets

WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.")
SHOWN = 4
CLASSIFIER = "logits/kernel"
# A file of which less than this share is known is taken for something else.
LEAST_SHARE = 0.5


def unwrapped(tensors: Tensors) -> dict[str, str]:
    """Return plain name -> name in the file, without what wrappers such as DataParallel put in front.

    A prefix is left where removing it would give two tensors one name.
    """
    plain = {_strip(name): name for name in tensors}
    return plain if len(plain) == len(tensors) else {name: name for name in tensors}


def choose(model: str, names: Sequence[str], wanted: str | None = None) -> Family:
    """Return the family that a user wants, or the one that knows most of the names.

    Args:
        model: name in the registry.
        names: plain names of the tensors.
        wanted: name of a family, None to recognise it.

    Raises:
        UserError: no family fits the model and the names; says which would fit one of them.
    """
    fitting = [family for family in FAMILIES if model in family.models]
    if not fitting:
        raise UserError(
            f"no public weights are known for the model '{model}'; weights can be imported for {', '.join(portable())}."
        )
    if wanted is not None:
        return _named(wanted, model, fitting)
    best = max(fitting, key=lambda family: share(family, names))
    _check(best, model, names)
    return best


def portable() -> list[str]:
    """Return the names of the models that some family fits."""
    return sorted({model for family in FAMILIES for model in family.models})


def share(family: Family, names: Sequence[str]) -> float:
    """Return the share of the names that a family has a place for, those that it ignores left out."""
    counted = [name for name in names if not family.ignores(name)]
    return sum(bool(targets(family.rules, name)) for name in counted) / max(len(counted), 1)


def number_of_classes(family: Family, tensors: Tensors) -> int | None:
    """Return the number of classes that the classifier in the file has, None without one."""
    for name, array in tensors.items():
        if array.ndim and any(target.path == CLASSIFIER for target in targets(family.rules, name)):
            return array.shape[0]
    return None


def _strip(name: str) -> str:
    prefix = next((prefix for prefix in WRAPPERS if name.startswith(prefix)), None)
    return _strip(name.removeprefix(prefix)) if prefix else name


def _named(wanted: str, model: str, fitting: Sequence[Family]) -> Family:
    for family in fitting:
        if family.name == wanted:
            return family
    raise UserError(
        f"the model '{model}' has no family '{wanted}'.{did_you_mean(wanted, [family.name for family in fitting])}"
    )


def _check(best: Family, model: str, names: Sequence[str]) -> None:
    known = share(best, names)
    other = max(FAMILIES, key=lambda family: share(family, names))
    if share(other, names) > known:
        raise UserError(
            f"the names in the file are those of {other.publisher} (family {other.name}), which is for the model "
            f"{' or '.join(other.models)}, not for '{model}'. If you know better, pass --family {best.name}."
        )
    if known < LEAST_SHARE:
        shown = ", ".join(sorted(names)[:SHOWN])
        raise UserError(
            f"the names in the file are of no family that fits the model '{model}' "
            f"({', '.join(family.name for family in FAMILIES if model in family.models)}); they begin with {shown}. "
            "Check --model, or choose with --family."
        )
