from pathlib import Path

import made
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_actrec import files
from keras_actrec.config import load_config
from keras_actrec.data.views import View
from keras_actrec.data.wanted import plain_views
from keras_actrec.errors import UserError
from keras_actrec.evaluation.trained import Trained, open_trained
from keras_actrec.serving import memory, predictor
from keras_actrec.serving.network import Network, Scores, pass_sizes, passes
from keras_actrec.serving.predictor import Predictor, default_sliding, open_predictor, usual_sec


@pytest.fixture(scope="module")
def network(run: Path) -> Network:
    return Network(open_trained(run), most_clips=8)


def frames(count: int, views: int = 1, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"rgb": rng.integers(0, 256, (count, views, 4, 32, 32, 3), np.uint8)}


def test_sizes_of_passes() -> None:
    assert pass_sizes(16) == (1, 2, 4, 8, 16)
    assert pass_sizes(1) == (1,)
    assert pass_sizes(6) == (1, 2, 3, 6)


@given(rows=st.integers(1, 100), most=st.integers(1, 40))
def test_passes_cover_all_rows_and_compute_few_more(rows: int, most: int) -> None:
    sizes = pass_sizes(most)
    found = list(passes(rows, sizes))
    covered = np.zeros(rows, int)
    for start, size in found:
        assert size in sizes
        covered[start : start + size] += 1
    assert (covered == 1).all()
    assert sum(size for _, size in found) < rows + max(4, most // 2 + 1)


def test_answers_do_not_depend_on_what_shares_a_pass(network: Network) -> None:
    given_frames = frames(11)
    together = network.scores(given_frames).probabilities
    assert together.shape == (11, 4)
    np.testing.assert_allclose(together.sum(axis=1), 1)
    for row in (0, 5, 10):
        one = network.scores({"rgb": given_frames["rgb"][row : row + 1]}).probabilities[0]
        np.testing.assert_allclose(one, together[row], atol=1e-5)
    assert len(np.unique(together.argmax(axis=1))) > 1 or together.std(axis=0).max() > 1e-3, "says the same of all"


def test_clips_of_a_window_are_averaged(network: Network) -> None:
    several = frames(2, views=3)
    flat = {"rgb": several["rgb"].reshape(6, 1, 4, 32, 32, 3)}
    expected = network.scores(flat).probabilities.reshape(2, 3, 4).mean(axis=1)
    np.testing.assert_allclose(network.scores(several).probabilities, expected, atol=1e-6)


def test_passes_shrink_where_a_device_is_too_small(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Network(open_trained(run), most_clips=16)
    seen, model = [], small.trained.model
    original = model.predict_on_batch

    class ResourceExhaustedError(Exception):
        """Named like TensorFlow's."""

    def limited(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        if len(batch) > 3:
            raise ResourceExhaustedError("OOM when allocating tensor")
        return original(batch)

    monkeypatch.setattr(model, "predict_on_batch", limited)
    found = small.scores(frames(9)).probabilities
    assert small.sizes == (1, 2)
    assert found.shape == (9, 4)
    assert seen[0] > 3

    def never(batch: np.ndarray) -> np.ndarray:
        raise ResourceExhaustedError

    monkeypatch.setattr(model, "predict_on_batch", never)
    with pytest.raises(UserError, match="too small for one clip"):
        small.scores(frames(9))


def test_other_errors_are_not_taken_for_a_lack_of_memory(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(open_trained(run), most_clips=4)

    def broken(batch: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError

    monkeypatch.setattr(network.trained.model, "predict_on_batch", broken)
    with pytest.raises(ZeroDivisionError):
        network.scores(frames(1))
    assert network.sizes == (1, 2, 4)


def test_clips_that_fit_memory(run: Path) -> None:
    model = open_trained(run).model
    each = memory.bytes_per_clip(model)
    assert each > 4 * 4 * 32 * 32 * 6, "smaller than the first feature map of four frames"
    assert memory.clips_that_fit(model, 16, free_bytes=100 * 16 * each) == 16
    assert memory.clips_that_fit(model, 16, free_bytes=20 * each) == 5
    assert memory.clips_that_fit(model, 16, free_bytes=0) == 1
    assert memory.free_memory_bytes() > 1_000_000


def test_an_ensemble_averages_in_the_order_of_the_first(run: Path, tmp_path: Path) -> None:
    turned = made.save_run(tmp_path / "turned", tuple(reversed(made.CLASSES)), seed=3)
    both = open_predictor([run, turned], most_clips=4)
    first, second = (Network(open_trained(path), 4) for path in (run, turned))
    given_frames = frames(3)
    expected = (first.scores(given_frames).probabilities + second.scores(given_frames).probabilities[:, ::-1]) / 2
    np.testing.assert_allclose(both.scores([given_frames, given_frames]).probabilities, expected, atol=1e-6)
    assert both.classes == made.CLASSES


def test_an_ensemble_of_different_classes_is_refused(run: Path, tmp_path: Path) -> None:
    other = made.save_run(tmp_path / "other", ("Jump", "Run", "Sit", "Swim"))
    with pytest.raises(UserError, match=r"same classes.*Swim, Wave"):
        open_predictor([run, other])
    with pytest.raises(UserError, match="threshold from 0 to 1"):
        open_predictor([run], least=1.5)
    with pytest.raises(UserError, match="has no repository"):
        open_predictor([run], with_repository=True)


def test_a_network_of_several_tempos(tmp_path: Path, short_video: Path) -> None:
    run = made.save_run(
        tmp_path / "tempos",
        data="{tempos: [3, 4, 5], frames: 4, size: 32, selection: variance_rate}",
        model="{name: ms3d, shared_filters: 4, pathway_filters: [4, 4, 4], blocks: [1, 1], growth: 4, code_size: 8}",
    )
    trained = open_trained(run)
    assert [view.name for view in trained.views] == ["tempo1", "tempo2", "tempo3"]
    with pytest.raises(UserError, match=r"inputs tempo1, tempo2, tempo3; this works with one input"):
        trained.frames(short_video)
    network = Network(trained, 2)
    rng = np.random.default_rng(0)
    given_frames = {
        f"tempo{number}": rng.integers(0, 256, (3, 1, number + 2, 32, 32, 3), np.uint8) for number in (1, 2, 3)
    }
    np.testing.assert_allclose(network.scores(given_frames).probabilities.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("data", "row", "seconds"),
    [
        ("{frames: 4, size: 32}", {"frames": 90, "fps": 30.0}, 3.0),
        ("{frames: 4, size: 32}", {"start_sec": 1.0, "end_sec": 3.5}, 2.5),
        ("{frames: 4, size: 32}", {"start_frame": 10, "end_frame": 60, "fps": 25.0}, 2.0),
        ("{frames: 4, size: 32}", {}, predictor.USUAL_SEC),
        ("{frames: 4, size: 32, selection: dense, stride: 8}", {"frames": 900, "fps": 25.0}, 1.0),
    ],
)
def test_windows_are_as_long_as_what_a_network_knows(data: str, row: dict, seconds: float, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"data: {data}\n")
    row = {"path": "a.mp4", "label": "Jump", "split": "train", **row}
    files.write_json(tmp_path / "manifest.lock", {"classes": ["Jump"], "clips": [row]})
    settings = load_config(config)
    trained = Trained(tmp_path, settings, ("Jump",), None, plain_views(settings.data, "zero_one"))
    assert usual_sec(trained) == pytest.approx(seconds)


def test_videos_of_twice_a_window_are_cut(run: Path) -> None:
    found = default_sliding(Predictor([Network(open_trained(run), 1)]))
    assert (found.window_sec, found.hop_sec, found.from_sec) == pytest.approx((2.0, 0.5, 4.0))


def test_a_window_that_is_asked_for_cuts_all_that_is_longer(run: Path) -> None:
    found = default_sliding(Predictor([Network(open_trained(run), 1)]), 3.0, 1.0)
    assert (found.window_sec, found.hop_sec, found.from_sec) == (3.0, 1.0, 3.0)


def test_scores_are_cut_by_rows() -> None:
    scores = Scores(np.arange(6.0).reshape(3, 2), np.arange(6.0).reshape(3, 2) + 10)
    assert scores.rows(1, 2).probabilities.tolist() == [[2, 3]]
    assert scores.rows(1, 3).distances.tolist() == [[12, 13], [14, 15]]


def test_a_wish_is_what_the_run_evaluates(run: Path) -> None:
    (view,) = Network(open_trained(run), 1).wish.views
    assert isinstance(view, View)
    assert (view.frames, view.size, view.clips) == (4, 32, 1)
