"""Exports opened in the runtimes that are not TensorFlow: onnxruntime and LiteRT. Nothing here knows Keras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec.errors import UserError

Inputs = dict[str, np.ndarray]
FLEX = "Flex"
"""How the names of TensorFlow's operations begin in a LiteRT model."""


def open_onnx(path: Path) -> Callable[[Inputs], dict[str, np.ndarray]]:
    """Load an ONNX model with onnxruntime, on the CPU.

    Raises:
        UserError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError("comparing an ONNX export needs onnxruntime: pip install 'keras_actrec[export]'.") from None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def open_litert(path: Path) -> Callable[[Inputs], dict[str, np.ndarray]]:
    """Load a LiteRT model without operations of TensorFlow, on the CPU.

    Raises:
        UserError: LiteRT is not installed.
    """
    return by_signature(_interpreter()(model_path=str(path)))


def by_signature(interpreter: Any) -> Callable[[Inputs], dict[str, np.ndarray]]:
    """Return a function that runs an interpreter on clips of any number."""
    runner = interpreter.get_signature_runner()

    def run(inputs: Inputs) -> dict[str, np.ndarray]:
        # The runner hands out views of memory that the next call overwrites.
        return {name: np.array(value) for name, value in runner(**inputs).items()}

    return run


def operations(path: Path) -> tuple[str, ...]:
    """Return the names of the operations in a LiteRT model, sorted; those of TensorFlow begin with "Flex".

    Raises:
        UserError: LiteRT is not installed.
    """
    _interpreter()
    from ai_edge_litert import schema_py_generated as schema

    builtin = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    codes = [model.OperatorCodes(number) for number in range(model.OperatorCodesLength())]
    custom = schema.BuiltinOperator.CUSTOM
    return tuple(
        sorted({
            code.CustomCode().decode() if code.BuiltinCode() == custom else builtin[code.BuiltinCode()]
            for code in codes
        })
    )  # fmt: skip


def _interpreter() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise UserError("a LiteRT export needs ai-edge-litert: pip install 'keras_actrec[export]'.") from None
    return Interpreter
