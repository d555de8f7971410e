"""A small writer of ONNX graphs: constants and nodes get their names here, so that a network reads like its formula."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 8  # what Triton 2.51's onnxruntime reads

HEIGHT, WIDTH = "height", "width"  # sides of a picture that are free

FLOAT, FLOAT16, UINT8, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8, TensorProto.INT64


class Graph:
    """Collects nodes and constants; `model` closes it. Values are names of tensors."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        """Adds a constant (float32 unless told) and returns its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype=dtype, order="C"), name))
        return name

    def ints(self, *values: int) -> str:
        """Adds an int64 vector (a shape, axes, pads) and returns its name."""
        return self.const(values, np.int64)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node with one output and returns that output's name."""
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Adds a node with several outputs and returns their names."""
        node = f"{kind}_{len(self.nodes)}"
        names = [f"{node}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=node, **attributes))
        return names

    def name(self, value: str, name: str) -> None:
        """Gives a tensor the name of a graph output."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=f"output_{name}"))

    def model(
        self,
        name: str,
        inputs: Sequence[tuple[str, int, Sequence[int | str]]],
        outputs: Sequence[tuple[str, int, Sequence[int]]],
    ) -> onnx.ModelProto:
        """Closes the graph.

        Args:
            name: name of the graph.
            inputs, outputs: (tensor name, element type, shape without the batch axis), the batch axis being free;
                a free side of a picture by its name.

        Raises:
            onnx.checker.ValidationError: the graph is not valid ONNX.
        """
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(n, t, ["N", *s]) for n, t, s in inputs],
            [helper.make_tensor_value_info(n, t, ["N", *s]) for n, t, s in outputs],
            self.constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="anonfaces",
        )
        onnx.checker.check_model(model, full_check=True)
        return model
