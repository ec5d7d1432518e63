"""The configuration of a swarm: an ordinary run configuration with a section `swarm`. Imports no Keras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from keras_actrec import config as configuration
from keras_actrec.cluster.settings import RaySection
from keras_actrec.config import Count, NonNegative, Positive, RunConfig, Section
from keras_actrec.errors import UserError
from keras_actrec.swarm import sketch

PAPER_RATES: tuple[float | tuple[float, float], ...] = (1e-2, 1e-3, 1e-4, (1e-5, 1e-1))
"""Section 4 of the paper: three fixed rates, and a "wild" particle that draws one per round, log-uniformly."""
WEAK, STRONG = 0.2, 10.0
"""Table 3: the gradient weight M between ordinary particles, and that of the last particle's influence on them."""

Rate = Positive | tuple[Positive, Positive]


def _width(numbers: int) -> int:
    if not sketch.is_width(numbers):
        raise ValueError(f"must be a power of two from {sketch.FEWEST} to {sketch.MOST}")
    return numbers


class SwarmSection(Section):
    """How the particles learn from each other, and how the swarm is run."""

    particles: Count = 4
    """Number of networks, N."""
    dynamic: Literal["dynamic_1", "dynamic_2", "towards_best", "average", "none"] = "dynamic_1"
    """Eq. (3), Eq. (7), only the step towards the neighbourhood's best, plain averaging of weights, or no exchange."""
    variant: Literal["paper", "released", "attract"] = "paper"
    """The printed equations, what the released notebooks compute, or (Dynamic 2) the attraction that the text tells."""
    neighbours: Annotated[int, Field(ge=0)] | None = None
    """Nearest other particles that one learns from, k; default: all, N - 1."""
    nearest_by: Literal["exact", "sketch"] = "exact"
    """How the nearest are found: by the distances to all positions, or to small sketches of them; see docs/scaling.md.
    Distances to the neighbours themselves are always exact."""
    sketch_size: Annotated[int, AfterValidator(_width)] = 4096
    """Numbers of a sketch, a power of two from 64 to 65536; more are more exact."""
    exchange: Literal["float32", "float16", "bfloat16"] = "float32"
    """Precision of what particles publish for others; their own positions and checkpoints stay exact."""
    c1: NonNegative = 0.5
    """Pull towards the particle's own best position (Dynamic 1)."""
    c2: NonNegative = 0.5
    """Pull towards the best position of its neighbourhood; the c of Eq. (7)."""
    beta: Positive = 1.0
    """Exponent of Eq. (6)."""
    strength: NonNegative = 1.0
    """Factor of all gradient weights, M."""
    coupling: Literal["table_3"] | NonNegative | tuple[tuple[NonNegative, ...], ...] = "table_3"
    """Gradient weights M_ij, row learns from column: Table 3 (0.2; 10 from the last particle), one number, or rows."""
    fitness: Literal["val_loss", "val_accuracy"] = "val_loss"
    """What makes a position better; always on the validation split."""
    distance: Literal["euclidean", "rms"] = "euclidean"
    """`rms` divides by the root of the number of weights, so that coupling can matter in large networks."""
    positions: Literal["trainable", "all"] = "trainable"
    """Which variables are coordinates; `all` adds the statistics of batch normalisation, as the notebooks did."""
    warmup_rounds: Annotated[int, Field(ge=0)] = 0
    """First rounds without exchange (phase 1 of the paper)."""
    learning_rates: tuple[Rate, ...] | None = None
    """One per particle: a number, or [low, high] to draw one each round, log-uniformly; further particles begin again
    with the first. Default: the paper's four."""
    same_start: bool = False
    """Begin with the same weights in all particles; else each particle has a seed of its own."""
    straggler: Literal["wait", "go_on"] = "wait"
    """What a round does about a particle that is later than `deadline_sec`."""
    deadline_sec: NonNegative = 0.0
    """Time that the others wait for a late particle once the first one has published; 0: no deadline."""
    on_failure: Literal["go_on", "stop"] = "go_on"
    """What the others do when a particle cannot go on, for example because its training diverged."""
    restarts: Annotated[int, Field(ge=0)] = 5
    """So many times in a row a particle that dies is started again without having finished a round in between."""
    heartbeat_sec: Positive = 1.0
    """Time between two signs of life of a particle."""
    silence_sec: Positive = 60.0
    """A particle that gives no sign of life for so long is killed and started again."""
    start_sec: Positive = 300.0
    """Time that a particle has to start."""
    server_sec: Positive = 600.0
    """Time that a particle waits for a server that does not answer before it gives up."""
    store: str | None = None
    """Where positions are shared: a folder that all machines see, or s3://BUCKET/FOLDER; default: in the swarm's
    directory."""
    store_sec: Positive = 120.0
    """Time that a published position may take to be seen, or the store to answer, before that is an error."""
    cache: str | None = None
    """Folder on each machine's own disk for positions that it has fetched; default: with `s3://` a temporary one."""
    cache_gb: Positive = 10.0
    """Size of `cache`, 1e9 bytes; what one exchange needs may exceed it."""
    launcher: Literal["local", "ray", "manual"] = "local"
    """Who starts the particles: this machine, Ray on a cluster, or (`manual`) you, with commands that are printed."""
    ray: RaySection = RaySection()
    """Which Ray cluster, and what each particle gets of it."""
    devices: Literal["auto", "shared", "one_each"] = "auto"
    """GPUs: all particles on the first, or dealt out in turn; `auto` deals out when there are several."""
    host: str = "127.0.0.1"
    """Address of the page and of the server; another one than this machine's own needs `token`."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8600
    """Port; 0: any free one."""
    token: str | None = None
    """Password of the page; required when `host` can be reached from other machines."""

    @model_validator(mode="before")
    @classmethod
    def _read_the_former_name(cls, section: Any) -> Any:
        """Swarms of earlier versions say `launch: local` or `launch: none`; they can be resumed."""
        if isinstance(section, dict) and section.get("launch") in ("local", "none"):
            section = dict(section)
            section.setdefault("launcher", {"local": "local", "none": "manual"}[section.pop("launch")])
        return section

    @model_validator(mode="after")
    def _fits_together(self) -> SwarmSection:
        if self.variant == "attract" and self.dynamic != "dynamic_2":
            raise ValueError("variant 'attract' belongs to dynamic_2")
        if self.neighbours is not None and self.neighbours >= self.particles:
            raise ValueError(
                f"{self.particles} particles have at most {self.particles - 1} neighbours each, not {self.neighbours}"
            )
        if self.store is not None and not _names_a_store(self.store):
            raise ValueError(f"store must be a folder or s3://BUCKET/FOLDER, not {self.store}")
        if isinstance(self.coupling, tuple) and {len(self.coupling), *map(len, self.coupling)} != {self.particles}:
            raise ValueError(f"coupling must have {self.particles} rows of {self.particles} numbers")
        rates = self.learning_rates
        if rates is not None and not rates:
            raise ValueError("learning_rates must name at least one rate")
        if any(isinstance(rate, tuple) and rate[0] > rate[1] for rate in rates or ()):
            raise ValueError("a range of learning_rates must be [low, high]")
        return self

    @property
    def nearest(self) -> int:
        """Number of neighbours, k."""
        return self.particles - 1 if self.neighbours is None else self.neighbours

    def coupling_matrix(self) -> np.ndarray:
        """Return M_ij (N, N), row learns from column, zero on the diagonal."""
        count = self.particles
        if isinstance(self.coupling, tuple):
            matrix = np.array(self.coupling, dtype=float)
        elif self.coupling == "table_3":
            matrix = np.full((count, count), WEAK)
            matrix[:-1, -1] = STRONG
        else:
            matrix = np.full((count, count), float(self.coupling))
        np.fill_diagonal(matrix, 0.0)
        return self.strength * matrix

    def rate(self, particle: int) -> float | tuple[float, float]:
        """Return a particle's learning rate, or the range it is drawn from; further particles begin with the first."""
        rates = self.learning_rates or PAPER_RATES
        return rates[particle % len(rates)]


class SwarmConfig(RunConfig):
    """A swarm: what each particle does, and the section `swarm`."""

    swarm: SwarmSection = SwarmSection()

    @model_validator(mode="after")
    def _particles_keep_step(self) -> SwarmConfig:
        if self.training.patience:
            raise ValueError("training.patience must be 0: a particle that stops early would leave the others waiting")
        if self.training.optimizer.ema:
            raise ValueError("training.optimizer.ema must be 0: a moving average lags behind a particle that is moved")
        if self.folds == "all":
            raise ValueError("a swarm trains on one fold; choose it with data.fold, or compare all with swarm-compare")
        if self.joint:
            raise ValueError("a swarm trains on one data set; remove `joint`")
        if self.training.schedule.name == "listed":
            raise ValueError("training.schedule.name 'listed' belongs to the particles; use swarm.learning_rates")
        if self.training.semi_supervised is not None:
            raise ValueError("a swarm moves the weights of one network; remove training.semi_supervised")
        return self


def _names_a_store(address: str) -> bool:
    scheme, colon, rest = address.partition("://")
    return bool(address) if not colon else scheme == "s3" and bool(rest.partition("/")[0])


def load_swarm_config(path: str | Path, overrides: Sequence[str] = ()) -> SwarmConfig:
    """Read the configuration of a swarm, as `config.load_config` does that of a run."""
    return configuration.load_config(path, overrides, kind=SwarmConfig)


def generator(seed: int, round_number: int, particle: int, purpose: str) -> np.random.Generator:
    """Return the random generator of one purpose, particle and round; it depends on nothing else."""
    words = (seed, round_number, particle, *purpose.encode())
    return np.random.default_rng(np.random.SeedSequence(words))


def draws(seed: int, round_number: int, particle: int) -> tuple[float, float]:
    """Return r1 and r2 of Eq. (3), uniform in [0, 1); r2 is the r of Eq. (7)."""
    r1, r2 = generator(seed, round_number, particle, "move").random(2)
    return float(r1), float(r2)


def rates(config: SwarmConfig, particle: int) -> list[float]:
    """Return the learning rate of each round, first to last."""
    rate = config.swarm.rate(particle)
    if not isinstance(rate, tuple):
        return [rate] * config.training.epochs
    low, high = np.log10(rate)
    rounds = range(1, config.training.epochs + 1)
    return [float(10 ** generator(config.seed, number, particle, "rate").uniform(low, high)) for number in rounds]


def particle_config(config: SwarmConfig, particle: int, output: str, workers: int = 0) -> RunConfig:
    """Return the ordinary run configuration of one particle.

    Args:
        config: of the swarm.
        particle: index from 0.
        output: folder for its run.
        workers: decoding threads, where the configuration leaves that open.
    """
    document: dict[str, Any] = config.model_dump(exclude={"swarm"})
    rate = config.swarm.rate(particle)
    training = document["training"]
    if isinstance(rate, tuple):
        listed = rates(config, particle)
        training["schedule"] = {"name": "listed", "rates": listed}
        training["optimizer"]["learning_rate"] = max(listed)
    else:
        training["optimizer"]["learning_rate"] = rate
    training["select_by"] = config.swarm.fitness
    document["evaluation"]["baseline"] = False
    data = document["data"]
    data["workers"] = data["workers"] or workers
    data["split_seed"] = config.seed if data["split_seed"] is None else data["split_seed"]
    document |= {"name": name_of(particle), "output": output, "seed": particle_seed(config, particle)}
    try:
        return RunConfig.model_validate(document)
    except ValueError as error:
        raise UserError(f"the configuration of {name_of(particle)} is not valid: {error}") from None


def particle_seed(config: SwarmConfig, particle: int) -> int:
    """Return the seed of a particle's run; particle 0 has the swarm's own, so that a swarm of one is a plain run."""
    return config.seed if config.swarm.same_start else (config.seed + 1000 * particle) % 2**31


def name_of(particle: int) -> str:
    """Return what a particle is called in paths and texts; people count from 1, as the paper does."""
    return f"particle-{particle + 1}"
