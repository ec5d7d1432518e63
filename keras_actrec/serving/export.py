"""The network of a run as a file of another runtime: SavedModel, ONNX, LiteRT. The one place of `serving` that knows
TensorFlow.

What is exported is a function of uint8 clips, as they come from a video, that normalises, runs the network and takes
the softmax. The batch size is open. In a SavedModel the weights are variables, else constants of the graph.

LiteRT has no loop over a list of tensors, and tf2onnx knows few such loops, so recurrent layers are unrolled for both.
Operations that LiteRT lacks altogether are TensorFlow's own ("flex"), and need TensorFlow, or its flex delegate, where
the model runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_actrec.data.pipeline import normalize
from keras_actrec.errors import UserError
from keras_actrec.serving.export_clips import Clips, Inputs
from keras_actrec.serving.export_run import LABEL, ExportRun, output_names

ONNX_OPSET = 17
SIGNATURE = "serving_default"
MODEL_FILES = {"saved_model": "saved_model", "onnx": "model.onnx", "litert": "model.tflite"}
"""Format -> the name of the model inside an export."""
Runner = Callable[[Inputs], dict[str, np.ndarray]]
"""Maps {input name: uint8 (B, T, H, W, C)} to {output name: float32 (B, K)}."""


def require_tensorflow() -> None:
    """Raise a `UserError` where Keras runs on another backend, whose graphs these converters cannot read."""
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise UserError(
            f"export works with Keras on TensorFlow, found KERAS_BACKEND={backend}; run it with "
            "KERAS_BACKEND=tensorflow: a run that was trained on another backend is read all the same."
        )


def write_saved_model(run: ExportRun, folder: Path) -> None:
    """Write a TensorFlow SavedModel with the signature "serving_default"."""
    with _portable_recurrence(run.model):
        _save(_whole(run), run.model, folder / MODEL_FILES["saved_model"])


def write_onnx(run: ExportRun, folder: Path) -> None:
    """Write an ONNX model of opset `ONNX_OPSET`, with tf2onnx.

    Raises:
        UserError: tf2onnx is not installed.
    """
    tf2onnx, onnx = _onnx_packages()
    path = str(folder / MODEL_FILES["onnx"])
    tf2onnx.convert.from_function(frozen(run), input_signature=_specs(run), opset=ONNX_OPSET, output_path=path)
    onnx.checker.check_model(path)  # what tf2onnx cannot convert it writes all the same


def write_litert(run: ExportRun, folder: Path, calibration: Clips | None = None) -> None:
    """Write a LiteRT model (.tflite), in float32, or quantised to 8 bit.

    Args:
        run: the run.
        folder: gets the file.
        calibration: clips by which the ranges of 8 bit numbers are chosen; None: float32.
    """
    with tempfile.TemporaryDirectory() as temporary:
        _save(frozen(run), None, Path(temporary))
        converter = tf.lite.TFLiteConverter.from_saved_model(temporary)
        kinds = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        if calibration is not None:
            kinds.insert(0, tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: calibration.batches(1)
        converter.target_spec.supported_ops = kinds
        (folder / MODEL_FILES["litert"]).write_bytes(converter.convert())


def open_saved_model(folder: Path) -> Runner:
    """Load the SavedModel of an export with TensorFlow."""
    loaded = tf.saved_model.load(str(folder / MODEL_FILES["saved_model"]))
    function = loaded.signatures[SIGNATURE]

    def run(inputs: Inputs, keep: Any = loaded) -> dict[str, np.ndarray]:
        outputs = function(**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    return run


def open_flex(folder: Path) -> Runner:
    """Load a LiteRT model that has operations of TensorFlow, which TensorFlow's own interpreter runs."""
    from keras_actrec.serving.export_runtimes import by_signature

    with quiet():
        return by_signature(tf.lite.Interpreter(model_path=str(folder / MODEL_FILES["litert"])))


def original(run: ExportRun) -> Runner:
    """Return the network as the package itself runs it: clips normalised beforehand, softmax afterwards."""
    from keras_actrec.evaluation.predict import arrange, prepare_for_inference, softmax

    prepare_for_inference(run.model)

    def predict(inputs: Inputs) -> dict[str, np.ndarray]:
        floats = {view.name: normalize(inputs[view.name], view).numpy() for view in run.views}
        found = _by_head(run.model.predict_on_batch(arrange(run.model, floats)))
        return _named(run, {head: (np.asarray(logits), softmax(np.asarray(logits))) for head, logits in found.items()})

    return predict


def frozen(run: ExportRun) -> Any:
    """Return the graph of the whole function with the weights folded in, as a function that names its outputs.

    LiteRT's converter does not read the variables of Keras 3 in a SavedModel, and tf2onnx wants constants, too.
    """
    with _unrolled(run.model):
        graph = convert_variables_to_constants_v2(_whole(run).get_concrete_function(), lower_control_flow=False)
    # A dictionary of outputs is flattened by sorted names.
    names = sorted(name for head in run.heads for name in output_names(run.heads, head))

    def named(*clips: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(names, tf.nest.flatten(graph(*clips)), strict=True))

    return tf.function(named, input_signature=_specs(run), autograph=False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep away from the terminal what the converters print as they go; what went wrong stands in their exceptions."""
    for name in ("tf2onnx", "tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryFile() as said:
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _specs(run: ExportRun) -> list[tf.TensorSpec]:
    return [tf.TensorSpec((None, *shape), tf.uint8, name=name) for name, shape in run.shapes.items()]


def _whole(run: ExportRun) -> Any:
    """Return the function that is exported: uint8 clips -> {name: logits or probabilities}."""

    def whole(*clips: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = {view.name: normalize(value, view) for view, value in zip(run.views, clips, strict=True)}
        found = _by_head(run.model(inputs if len(inputs) > 1 else next(iter(inputs.values())), training=False))
        floats = {head: tf.cast(logits, tf.float32) for head, logits in found.items()}
        return _named(run, {head: (logits, tf.nn.softmax(logits)) for head, logits in floats.items()})

    # XLA is off: its operations mean nothing to the other runtimes.
    return tf.function(whole, input_signature=_specs(run), jit_compile=False, autograph=False)


def _by_head(outputs: Any) -> dict[str, Any]:
    return outputs if isinstance(outputs, dict) else {LABEL: outputs}


def _named(run: ExportRun, outputs: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Return {name: values} of {head: (logits, probabilities)}."""
    return {
        name: values
        for head, pair in outputs.items()
        for name, values in zip(output_names(run.heads, head), pair, strict=True)
    }


def _save(function: Any, weights: Any, folder: Path) -> None:
    module = tf.Module()
    module.serve, module.weights = function, weights
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: function})


def _recurrent(model: keras.Model) -> list[Any]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]


@contextlib.contextmanager
def _unrolled(model: keras.Model) -> Iterator[None]:
    with _portable_recurrence(model), _changed(_recurrent(model), "unroll", True):
        yield


@contextlib.contextmanager
def _portable_recurrence(model: keras.Model) -> Iterator[None]:
    """Keep cuDNN's kernels, which Keras would choose on a GPU, out of the graph."""
    with _changed([layer for layer in _recurrent(model) if hasattr(layer, "use_cudnn")], "use_cudnn", False):
        yield


@contextlib.contextmanager
def _changed(layers: list[Any], name: str, value: Any) -> Iterator[None]:
    before = [getattr(layer, name) for layer in layers]
    for layer in layers:
        setattr(layer, name, value)
    try:
        yield
    finally:
        for layer, old in zip(layers, before, strict=True):
            setattr(layer, name, old)


def _onnx_packages() -> tuple[Any, Any]:
    try:
        import onnx
        import tf2onnx
    except ImportError:
        raise UserError("ONNX needs tf2onnx and onnx: pip install 'keras_actrec[export]'.") from None
    return tf2onnx, onnx
