"""The inference form of a file: one image as input, logits as outputs, norms with statistics.

It is what the checks run. Its weights, its opset and its other nodes are those of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from onnx import ModelProto, NodeProto, TensorProto, helper

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
        _open_extents(form)
        notes = (*_separate_weights(form), *_norms_of_inference(form), *_end_with_logits(form))
    except ParityError as error:
        raise ParityError(f"{name}: {error}") from error
    return form, notes


def _open_extents(form: ModelProto) -> None:
    """Make the negative extents of inputs, by which some exporters mean any number, unknown."""
    for value in form.graph.input:
        for extent in value.type.tensor_type.shape.dim:
            if extent.dim_value < 0:
                extent.ClearField("dim_value")


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


def _end_with_logits(form: ModelProto) -> Iterator[str]:
    """Remove what follows the logits: a softmax, and nodes that keep all values around it."""
    removed = _drop_final_no_ops(form)
    notes = list(_without_softmax(form))
    removed += _drop_final_no_ops(form) if notes else Counter()
    if removed:
        counts = ", ".join(f"{count} {operator}" for operator, count in removed.items())
        yield f"{counts} at the end removed: they change nothing in inference"
    yield from notes


def _drop_final_no_ops(form: ModelProto) -> Counter[str]:
    """Remove Identity, Dropout and casts before each output, which keeps its name; count them."""
    graph, removed = form.graph, Counter[str]()
    for output in graph.output:
        makers = {made: node for node in graph.node for made in node.output}
        uses = Counter(each for node in graph.node for each in node.input)
        uses.update(value.name for value in graph.output)
        chain, value = [], output.name
        while value in makers and uses[value] == 1 and _keeps_values(makers[value]):
            chain.append(makers[value])
            value = chain[-1].input[0]
        if not chain or value not in makers or any(value == each.name for each in graph.output):
            continue
        for node in chain:
            graph.node.remove(node)
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [output.name if each == value else each for each in names]
        removed.update(node.op_type for node in chain)
        if any(node.op_type == "Cast" for node in chain):
            output.type.tensor_type.elem_type = TensorProto.FLOAT
    return removed


def _keeps_values(node: NodeProto) -> bool:
    """Whether a node keeps all values of a float32 tensor."""
    if node.op_type == "Cast":
        target = {each.name: helper.get_attribute_value(each) for each in node.attribute}["to"]
        return target in (TensorProto.FLOAT, TensorProto.DOUBLE)
    return node.op_type == "Identity" or (node.op_type == "Dropout" and len(node.input) < 3)


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
