"""The full repository of actions: codes of a few videos each, their centres, and recognition by the nearest one.

Man et al., "The Action Recognition with Multi-Clue Sparse 3-Dimensional Convolutional Networks", Sections III-C and
III-D. Of each action w video fragments are encoded p times; the action's centre is the mean of its w x p codes (Eq. 6).
A clip is taken for the action whose centre is nearest, if that is nearer than gamma, and is unknown otherwise. The
paper leaves gamma open; it is set on validation clips (`evaluation.gamma`), whose codes the repository keeps, so that
gamma can be set anew when an action comes or goes. Nothing here needs the network: adding an action trains nothing.

M codes of width D, K actions, Q validation codes. Distances are Euclidean.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec import tensor_file
from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.evaluation import gamma
from keras_actrec.evaluation.video_names import file_of

FILE_NAME = "repository.safetensors"
_KIND, _VERSION = "keras_actrec repository of actions", 1
_ARRAYS = {"codes": np.float32, "owners": np.int64, "gammas": np.float64, "calibration_codes": np.float32}
_NOTES = ("names", "videos", "calibration_names", "model", "code_size", "rule", "false_accepts", "notes")


@dataclasses.dataclass(frozen=True, eq=False)
class Repository:
    """The codes by which actions are recognised. Changes give a new one.

    Attributes:
        names: of the actions, K.
        codes: float32 (M, D), of all fragments and passes.
        owners: int64 (M,), which action each code is of.
        videos: (M,) which video each code came from (`video_names`), so that it is not counted in an evaluation.
        gammas: float64 (K,), the largest distance of each action; infinite while not calibrated.
        calibration_codes: float32 (Q, D), of validation clips.
        calibration_names: (Q,) their actions; they need not be in the repository.
        model: digest of the encoder's weights (`model_digest`).
        code_size: D.
        rule: how gamma is set: "global" or "per_class".
        false_accepts: share of validation clips that may be accepted wrongly.
        notes: whatever else shall be known of it; JSON.

    Raises:
        UserError: the parts contradict each other, or codes are NaN or infinite.
    """

    names: tuple[str, ...]
    codes: np.ndarray
    owners: np.ndarray
    videos: tuple[str, ...]
    gammas: np.ndarray
    calibration_codes: np.ndarray
    calibration_names: tuple[str, ...]
    model: str
    code_size: int
    rule: str = "global"
    false_accepts: float = 0.05
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in _ARRAYS.items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        _check(self)

    @functools.cached_property
    def centres(self) -> np.ndarray:
        """float64 (K, D): the mean of each action's codes (Eq. 6)."""
        codes = self.codes.astype(np.float64)
        return np.stack([codes[self.owners == number].mean(axis=0) for number in range(len(self.names))])

    @functools.cached_property
    def spread(self) -> np.ndarray:
        """float64 (K,): root mean square distance of each action's codes to its centre."""
        squares = ((self.codes - self.centres[self.owners]) ** 2).sum(axis=1)
        counts = np.bincount(self.owners, minlength=len(self.names))
        return np.sqrt(np.bincount(self.owners, squares, minlength=len(self.names)) / counts)

    def distances(self, codes: np.ndarray) -> np.ndarray:
        """Return float64 (N, K): of codes (N, D) to the centres.

        Raises:
            UserError: codes of another width, or NaN.
        """
        codes = _checked(codes, self.code_size)
        return np.stack([np.linalg.norm(codes - centre, axis=1) for centre in self.centres], axis=1)

    def nearest(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest centre of each of the codes (N, D): its index, int64 (N,), and distance, float64 (N,)."""
        distances = self.distances(codes)
        return distances.argmin(axis=1), distances.min(axis=1)

    def recognise(self, codes: np.ndarray) -> tuple[str | None, ...]:
        """Return what each of the codes (N, D) is taken for; None: unknown, no centre is nearer than its gamma."""
        found, distances = self.nearest(codes)
        accepted = distances < self.gammas[found]
        return tuple(self.names[index] if yes else None for index, yes in zip(found, accepted, strict=True))

    def calibration(self) -> gamma.Calibration:
        """Return what gamma would be on the validation codes, and what it would accept of them."""
        numbers = {name: number for number, name in enumerate(self.names)}
        owners = np.array([numbers.get(name, -1) for name in self.calibration_names], np.int64)
        return gamma.calibrate(self.distances(self.calibration_codes), owners, self.rule, self.false_accepts)

    def calibrated(self) -> Repository:
        """Return the repository with gamma set anew on its validation codes; infinite where it has none."""
        return dataclasses.replace(self, gammas=self.calibration().gammas)

    def add(self, name: str, codes: np.ndarray, videos: Sequence[str]) -> Repository:
        """Return the repository with a new action, or with more fragments of one that it has, and gamma set anew.

        Args:
            name: of the action.
            codes: (n, D), of all passes of all videos.
            videos: (n,) which video each is of. Codes of a video that the action has already take the place of those.
                A whole file and a stretch of it are the same video, two stretches are not.

        Raises:
            UserError: the codes do not fit, or one of the videos is held as another action.
        """
        codes = _checked(codes, self.code_size)
        if not name.strip():
            raise UserError("the name of an action must not be empty.")
        if not len(codes) or len(codes) != len(videos):
            raise UserError(f"expected a video for each code, at least one; got {len(codes)} codes, {len(videos)}.")
        given = set(videos)
        known = given | set(map(file_of, given))
        held = np.array([video in known or file_of(video) in given for video in self.videos], bool)
        for owner, video in zip(self.owners[held], np.array(self.videos, object)[held], strict=True):
            if self.names[owner] != name:
                raise UserError(
                    f"the video {video} is in the repository as '{self.names[owner]}'; it cannot be '{name}' as well."
                )
        kept = ~held
        names = self.names if name in self.names else (*self.names, name)
        return dataclasses.replace(
            self,
            names=names,
            codes=np.concatenate([self.codes[kept], codes]),
            owners=np.concatenate([self.owners[kept], np.full(len(codes), names.index(name))]),
            videos=(*np.array(self.videos, object)[kept], *videos),
            gammas=np.full(len(names), np.inf),
        ).calibrated()

    def remove(self, name: str) -> Repository:
        """Return the repository without an action, and gamma set anew.

        Validation clips of the action stay: they are clips of an unknown action now.

        Raises:
            UserError: it has no such action, or no other one.
        """
        if name not in self.names:
            raise UserError(f"the repository has no action '{name}'.{did_you_mean(name, self.names)}")
        if len(self.names) == 1:
            raise UserError(f"'{name}' is the only action of the repository; add another one before it is removed.")
        gone = self.names.index(name)
        kept = self.owners != gone
        return dataclasses.replace(
            self,
            names=(*self.names[:gone], *self.names[gone + 1 :]),
            codes=self.codes[kept],
            owners=self.owners[kept] - (self.owners[kept] > gone),
            videos=tuple(np.array(self.videos, object)[kept]),
            gammas=np.delete(self.gammas, gone),
        ).calibrated()

    def merge(self, other: Repository) -> Repository:
        """Return the repository with the actions, fragments and validation codes of another one, and gamma set anew.

        Rule, share of false accepts and notes stay this one's. What both hold, such as validation clips of one data
        set, counts once; of a video that both hold, the other one's codes are taken.

        Raises:
            UserError: it is of another model or code size, or holds a video as another action.
        """
        _check_fits(other, self.model, self.code_size, "the other repository")
        merged = self
        for number, name in enumerate(other.names):
            rows = np.flatnonzero(other.owners == number)
            merged = merged.add(name, other.codes[rows], [other.videos[row] for row in rows])
        codes = np.concatenate([self.calibration_codes, other.calibration_codes])
        names = (*self.calibration_names, *other.calibration_names)
        distinct = {(name, code.tobytes()): row for row, (name, code) in enumerate(zip(names, codes, strict=True))}
        rows = sorted(distinct.values())
        return dataclasses.replace(
            merged, calibration_codes=codes[rows], calibration_names=tuple(names[row] for row in rows)
        ).calibrated()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Publish it as one file."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        notes = {name: getattr(self, name) for name in _NOTES}
        tensor_file.save(path, arrays, {"kind": _KIND, "version": _VERSION, **notes, "notes": dict(self.notes)})


def build(
    names: Sequence[str],
    codes: np.ndarray,
    owners: np.ndarray,
    videos: Sequence[str],
    *,
    model: str,
    calibration_codes: np.ndarray | None = None,
    calibration_names: Sequence[str] = (),
    rule: str = "global",
    false_accepts: float = 0.05,
    notes: Mapping[str, Any] | None = None,
) -> Repository:
    """Return a repository whose gamma is set on the validation codes, infinite without any (see `Repository`).

    Names without a code, such as classes none of whose videos could be read, are left out.
    """
    codes, owners = np.asarray(codes, np.float32), np.asarray(owners, np.int64)
    size = codes.shape[-1]
    present = [number for number in range(len(names)) if (owners == number).any()]
    names = [names[number] for number in present]
    return Repository(
        names=tuple(names),
        codes=codes,
        owners=_renumbered(owners, present),
        videos=tuple(videos),
        gammas=np.full(len(names), np.inf),
        calibration_codes=np.zeros((0, size), np.float32) if calibration_codes is None else calibration_codes,
        calibration_names=tuple(calibration_names),
        model=model,
        code_size=size,
        rule=rule,
        false_accepts=false_accepts,
        notes=dict(notes or {}),
    ).calibrated()


def load(path: str | os.PathLike[str], model: str | None = None, code_size: int | None = None) -> Repository:
    """Read what `Repository.save` wrote.

    Args:
        path: the file.
        model: digest of the network that it shall be used with (`model_digest`); None: any.
        code_size: width of its codes; None: any.

    Raises:
        UserError: no such file, a damaged one, one that is no repository, or of another model or code size.
    """
    if not Path(path).is_file():
        raise UserError(f"there is no repository of actions at {path}.")
    try:
        arrays, notes = tensor_file.load(path)
    except tensor_file.DamagedFileError as error:
        raise UserError(f"{path} is no repository of actions, or a damaged one: {error}") from None
    if not isinstance(notes, dict) or notes.get("kind") != _KIND:
        raise UserError(f"{path} is no repository of actions but another file of arrays; see {FILE_NAME} of a run.")
    if notes.get("version") != _VERSION:
        raise UserError(
            f"{path} was written by another version of keras_actrec ({notes.get('version')}, not {_VERSION})."
        )
    if missing := [name for name in (*_ARRAYS, *_NOTES) if name not in arrays and name not in notes]:
        raise UserError(f"{path} is a damaged repository: it lacks {', '.join(missing)}.")
    fields = {name: tuple(notes[name]) if isinstance(notes[name], list) else notes[name] for name in _NOTES}
    try:
        repository = Repository(**{name: arrays[name] for name in _ARRAYS}, **fields)
    except (UserError, ValueError, TypeError) as error:
        raise UserError(f"{path} contradicts itself: {error}") from None
    _check_fits(repository, model, code_size, str(path))
    return repository


def as_classifier(centres: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel (D, K) and bias (K,) of a dense layer whose largest output is the nearest centre.

    Outputs are s (2 z.c - |c|^2) = -s |z - c|^2 + s |z|^2, so that their differences are -s times those of the squared
    distances, and softmax falls with the squared distance. 1 / s is the mean squared distance of codes to their own
    centre, each action counting alike; where that is 0, of the centres to their mean, or else 1.

    Args:
        centres: (K, D).
        spread: (K,), root mean square distances.
    """
    centres = np.asarray(centres, np.float64)
    within = float((np.asarray(spread, np.float64) ** 2).mean())
    between = float(((centres - centres.mean(axis=0)) ** 2).sum(axis=1).mean())
    scale = 1 / (within or between or 1.0)
    kernel, bias = 2 * scale * centres.T, -scale * (centres**2).sum(axis=1)
    return kernel.astype(np.float32), bias.astype(np.float32)


def model_digest(network: Any) -> str:
    """Return BLAKE2b over the weights of a network's encoder: all but those of its classifier.

    Names and order of the weights do not count, as they may change when a network is saved and loaded.

    Raises:
        UserError: it has no classifier.
    """
    import keras

    from keras_actrec.models.codes import encoder_of
    from keras_actrec.models.joint import CLASSIFIER

    encoder_of(network)
    classifier = {id(weight) for weight in network.get_layer(CLASSIFIER).weights}
    digests = sorted(
        _weight_digest(keras.ops.convert_to_numpy(weight)) for weight in network.weights if id(weight) not in classifier
    )
    return hashlib.blake2b(b"".join(digests), digest_size=16).hexdigest()


def _renumbered(owners: np.ndarray, present: Sequence[int]) -> np.ndarray:
    """Return the places of owners in the list of those that are present; -1, which is refused, for one of no name."""
    places = {number: place for place, number in enumerate(present)}
    return np.array([places.get(owner, -1) for owner in owners.tolist()], np.int64)


def _weight_digest(value: np.ndarray) -> bytes:
    digest = hashlib.blake2b(f"{value.dtype.name}{value.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
    return digest.digest()


def _checked(codes: np.ndarray, size: int) -> np.ndarray:
    """Return codes as float32 (N, D)."""
    codes = np.asarray(codes, np.float32)
    if codes.ndim != 2 or codes.shape[1] != size:
        raise UserError(f"expected codes of {size} numbers, one row each; got the shape {codes.shape}.")
    if not np.isfinite(codes).all():
        raise UserError(f"{int((~np.isfinite(codes)).any(axis=1).sum())} of {len(codes)} codes are NaN or infinite.")
    return codes


def _check(repository: Repository) -> None:
    """Refuse parts that contradict each other."""
    _checked(repository.codes, repository.code_size)
    _checked(repository.calibration_codes, repository.code_size)
    for what in (*_contradictions(repository), *_wrong_settings(repository)):
        raise UserError(f"a repository of actions that cannot be: {what}.")
    held: dict[str, int] = {}
    for video, owner in zip(repository.videos, repository.owners.tolist(), strict=True):
        if held.setdefault(video, owner) != owner:
            first, second = repository.names[held[video]], repository.names[owner]
            raise UserError(f"the video {video} is held both as '{first}' and as '{second}'.")


def _contradictions(repository: Repository) -> Iterator[str]:
    names, codes, owners = repository.names, repository.codes, repository.owners
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        yield "it has no action, or one without a name"
    if len(set(names)) < len(names):
        yield f"several actions have the same name ({', '.join(map(str, names))})"
    if owners.shape != codes.shape[:1] or len(repository.videos) != len(codes):
        yield f"{len(codes)} codes belong to {owners.size} actions and {len(repository.videos)} videos"
    if set(owners.tolist()) != set(range(len(names))):
        yield f"codes belong to other actions than the {len(names)} that are named, or one of these has no codes"
    if repository.gammas.shape != (len(names),) or not (repository.gammas >= 0).all():
        yield f"for {len(names)} actions it has the gammas {repository.gammas.tolist()}"
    if len(repository.calibration_codes) != len(repository.calibration_names):
        yield f"{len(repository.calibration_codes)} validation codes have {len(repository.calibration_names)} names"


def _wrong_settings(repository: Repository) -> Iterator[str]:
    if repository.rule not in gamma.RULES:
        yield f"gamma has the rule '{repository.rule}', which is none of {', '.join(gamma.RULES)}"
    if not 0 <= repository.false_accepts < 1:
        yield f"the share of false accepts is {repository.false_accepts:g}, expected at least 0 and below 1"
    if not isinstance(repository.model, str) or not isinstance(repository.notes, Mapping):
        yield f"the digest of its model is {repository.model!r}, its notes are {type(repository.notes).__name__}"


def _check_fits(repository: Repository, model: str | None, code_size: int | None, what: str) -> None:
    if code_size is not None and repository.code_size != code_size:
        raise UserError(
            f"{what} holds codes of {repository.code_size} numbers, the model gives {code_size}; it belongs to "
            "another model."
        )
    if model is not None and repository.model != model:
        raise UserError(
            f"{what} was made with another model (digest {repository.model[:12]}, this one's is {model[:12]}): "
            "codes of different networks cannot be compared. Make it anew with this model."
        )
