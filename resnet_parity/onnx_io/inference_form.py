"""The inference form of a file: one image as input, logits as outputs, norms with statistics.

It is what the checks run. Its weights, its opset and its other nodes are those of the file.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import ModelProto, NodeProto, helper

from resnet_parity.errors import ParityError

_SOFTMAX = ("Softmax", "LogSoftmax")

_SEPARATE_IR = 4
"""The first IR version in which initializers need not be inputs of the graph."""


def inference_form(proto: ModelProto, name: str) -> tuple[ModelProto, tuple[str, ...]]:
    """Return a changed copy of a model, and a sentence for each kind of change.

    `name` is the name of its file in messages. Raises `ParityError` for a norm whose statistics
    are not one number per channel.
    """
    form = ModelProto()
    form.CopyFrom(proto)
    for each in (*form.opset_import, *form.graph.node):
        each.domain = "" if each.domain == "ai.onnx" else each.domain  # two names of one domain
    try:
        notes = (*_separate_weights(form), *_norms_of_inference(form), *_without_softmax(form))
    except ParityError as error:
        raise ParityError(f"{name}: {error}") from error
    return form, notes


def _separate_weights(form: ModelProto) -> Iterator[str]:
    """Remove the initializers from the inputs of the graph."""
    weights = {tensor.name for tensor in form.graph.initializer}
    images = [value for value in form.graph.input if value.name not in weights]
    count = len(form.graph.input) - len(images)
    form.ir_version = max(form.ir_version, _SEPARATE_IR)
    if count and images:
        del form.graph.input[:]
        form.graph.input.extend(images)
        yield f"{count} weights are inputs of the graph as well: the values in the file are read"


def _norms_of_inference(form: ModelProto) -> Iterator[str]:
    """Remove `spatial=0`, and outputs of norms that no node uses."""
    used = {each for node in form.graph.node for each in node.input}
    used |= {value.name for value in form.graph.output}
    rank = {tensor.name: len(tensor.dims) for tensor in form.graph.initializer}
    nonspatial = extra = 0
    for node in form.graph.node:
        if node.op_type != "BatchNormalization":
            continue
        kept = [each for each in node.attribute if each.name != "spatial" or each.i]
        if len(kept) < len(node.attribute):
            if any(rank.get(each, 1) != 1 for each in node.input[1:]):
                raise ParityError(
                    f"the norm {_label(node)} has spatial=0 and statistics per pixel, which no "
                    "ResNet has; export the model with norms per channel"
                )
            nonspatial += 1
            del node.attribute[:]
            node.attribute.extend(kept)
        is_training = any(each.name == "training_mode" and each.i for each in node.attribute)
        if len(node.output) > 1 and not is_training and not used & {*node.output[1:]}:
            extra += 1
            del node.output[1:]
    if nonspatial:
        yield (
            f"{nonspatial} norms have spatial=0, which runtimes refuse, but one number per "
            "channel: they are read as norms per channel"
        )
    if extra:
        yield (
            f"{extra} norms have outputs for statistics, which only training computes and nothing "
            "uses: they are read as norms of inference"
        )


def _without_softmax(form: ModelProto) -> Iterator[str]:
    """Make the logits the output, if a softmax over the classes computes the only output."""
    if len(form.graph.output) != 1:
        return
    (output,) = form.graph.output
    makers = [node for node in form.graph.node if output.name in node.output]
    if len(makers) != 1 or makers[0].op_type not in _SOFTMAX:
        return
    (softmax,) = makers
    version = next((each.version for each in form.opset_import if not each.domain), 1)
    axis = {each.name: helper.get_attribute_value(each) for each in softmax.attribute}.get("axis")
    if (axis if axis is not None else 1 if version < 13 else -1) not in (1, -1):
        return
    form.graph.node.remove(softmax)
    output.name = softmax.input[0]
    yield f"the {softmax.op_type} at the end is cut: the weights give logits, not probabilities"


def _label(node: NodeProto) -> str:
    """The name of a node, or of its output if it has none."""
    return repr(node.name or node.output[0])
