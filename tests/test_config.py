"""The configuration: what is accepted, and what each mistake says."""

import json
from pathlib import Path

import pytest
import yaml

from keras_actrec import config
from keras_actrec.config.fetch import load_fetch_config
from keras_actrec.errors import UserError
from keras_actrec.swarm.compare_settings import load_compare_config
from keras_actrec.swarm.settings import load_swarm_config
from keras_actrec.sweep.settings import load_sweep_config

ROOT = Path(__file__).parent.parent


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


def message_of(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        config.load_config(write(folder, text), overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_empty_file_is_the_default_configuration(tmp_path: Path) -> None:
    assert config.load_config(write(tmp_path, "")) == config.RunConfig()


def test_the_resolved_configuration_reads_back_equal(tmp_path: Path) -> None:
    given = config.load_config(
        write(tmp_path, "model: {name: convnet_rnn, cell: gru}"), ["training.devices=[CPU:0]", "logging.wandb={}"]
    )
    assert given.model.options == {"cell": "gru"}
    assert given.training.devices == ("CPU:0",)
    config.save_config(given, tmp_path / "resolved.yaml")
    assert config.load_config(tmp_path / "resolved.yaml") == given


def test_overrides_are_typed_and_later_ones_win(tmp_path: Path) -> None:
    given = config.load_config(
        write(tmp_path, "training:\n  optimizer:\n"),
        ["training.epochs=3", "training.epochs=4", "training.optimizer.name=adam", "name=a=b".replace("a=b", "ab")],
    )
    assert (given.training.epochs, given.training.optimizer.name, given.name) == (4, "adam", "ab")


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("trainng: {}", (), ["unknown key 'trainng'", "'training'"]),
        ("training: {optimizer: {learning_rat: 1}}", (), ["training.optimizer.learning_rat", "'learning_rate'"]),
        ("logging: {wandb: {projct: x}}", (), ["logging.wandb.projct", "'project'"]),
        ("training: {optimizer: {name: sdg}}", (), ["training.optimizer.name", "'sgd', 'adam'", "got 'sdg'"]),
        ("training: {epochs: 0}", (), ["training.epochs", "greater than or equal to 1", "got 0"]),
        ("training: {epochs: many}", (), ["training.epochs", "integer", "got 'many'"]),
        ("data: {frames: 5, runs: 2}", (), ["frames (5) must be a multiple of runs (2)"]),
        ("- a\n- b", (), ["expected sections with keys, found list"]),
        ("a: [", (), ["not valid YAML"]),
        ("", ("training.epochs",), ["expected key=value"]),
        ("", ("training..epochs=1",), ["expected key=value"]),
        ("name: x", ("name.deeper=1",), ["'name' is a value, not a section"]),
        ("name: ../../etc", (), ["name", "match pattern"]),
        ("training: 3", (), ["training", "got 3"]),
        ("model: {size: 64}", (), ["'size' is given by data.size"]),
    ],
)
def test_a_mistake_is_one_clear_sentence(
    tmp_path: Path, text: str, overrides: tuple[str, ...], expected: list[str]
) -> None:
    message = message_of(tmp_path, text, *overrides)
    for part in expected:
        assert part in message


def test_all_mistakes_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    message = message_of(tmp_path, "training: {epoch: 1}\ndata: {size: 1}")
    assert "training.epoch" in message
    assert "data.size" in message


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").touch()
    with pytest.raises(UserError, match=r"quickstart\.yaml"):
        config.load_config(tmp_path / "quickstat.yaml")
    with pytest.raises(UserError, match="there is no configuration"):
        config.load_config(tmp_path / "nowhere" / "quickstat.yaml")


def test_a_folder_or_binary_file_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the configuration"):
        config.load_config(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match="cannot read the configuration"):
        config.load_config(tmp_path / "binary.yaml")


def test_the_schema_describes_every_key() -> None:
    schema = config.json_schema()
    json.dumps(schema)
    described = schema["$defs"]["TrainingConfig"]["properties"]["regime"]["description"]
    assert "backbone is frozen" in described


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/**/*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    kept = yaml.safe_load(path.read_text())
    assert "name" in kept
    readers = {
        "compare": load_compare_config,
        "swarm": load_swarm_config,
        "fetch": load_fetch_config,
        "sweep": load_sweep_config,
    }
    read = next((read for section, read in readers.items() if section in kept), config.load_config)
    assert read(path).name == kept["name"]
