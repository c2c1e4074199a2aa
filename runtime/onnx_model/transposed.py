"""ONNX's ConvTranspose, whose padding may be given by the shape of its output."""

from __future__ import annotations

from typing import Any

from runtime.onnx_model.translation import OnnxNode, Translation, Unsupported


def conv_transpose(t: Translation, node: OnnxNode) -> str:
    """One group, without dilation."""
    image, kernel = t.shape(node.inputs[0])[2:], t.shape(node.inputs[1])[2:]
    if node.attributes.get("group", 1) != 1:
        raise Unsupported("more than one group")
    if any(dilation != 1 for dilation in node.attributes.get("dilations", ())):
        raise Unsupported("dilation")
    operands = [t.value(name) for name in node.inputs if name]
    return str(t.build.add("conv_transpose", *operands, name=node.outputs[0], **_params(node, image, kernel)))


def _params(node: OnnxNode, image: tuple[int, ...], kernel: tuple[int, ...]) -> dict[str, Any]:
    """Strides, padding and output padding; `output_shape` and `auto_pad` are worked into the padding.

    What is to be cut off in all is shared between both sides, the odd one at the high side with SAME_UPPER, else at the
    low side.
    """
    rank = len(image)
    strides = tuple(node.attributes.get("strides", (1,) * rank))
    more = tuple(node.attributes.get("output_padding", (0,) * rank))
    auto, wanted = node.attributes.get("auto_pad", "NOTSET"), node.attributes.get("output_shape")
    if isinstance(auto, bytes):
        auto = auto.decode()
    if auto in ("SAME_UPPER", "SAME_LOWER") and wanted is None:
        wanted = tuple(n * stride for n, stride in zip(image, strides))
    elif auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise Unsupported(f"auto_pad {auto!r}")
    padding = tuple(node.attributes.get("pads", (0,) * 2 * rank)) if auto == "NOTSET" else (0,) * 2 * rank
    if wanted is not None:
        cut = [(n - 1) * s + m + k - out for n, s, m, k, out in zip(image, strides, more, kernel, wanted[-rank:])]
        if min(cut) < 0:
            raise Unsupported(f"an output_shape {tuple(wanted)} beyond what the windows cover")
        small = [n // 2 for n in cut]
        large = [n - half for n, half in zip(cut, small)]
        padding = tuple(small + large if auto == "SAME_UPPER" else large + small)
    return {"strides": strides, "padding": padding, "output_padding": more}
