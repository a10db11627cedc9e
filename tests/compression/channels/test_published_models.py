"""Networks of timm and torchvision, where these are installed: groups found, surgery proven, the same in onnxruntime.

pip install --no-deps timm torchvision safetensors huggingface_hub; pip install onnxruntime
"""

from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.surgery import prune_model, rank_channels
from hwflow.compression.fine_tuning import export_onnx
from tests.compression.channels.test_surgery import settled, silenced

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("timm") is None or find_spec("torchvision") is None, reason="needs timm and torchvision"),
]

MODELS = {
    # name: (pixels, groups, of which streams)
    "vit_tiny_patch16_224": (224, 25, 1),
    "nfnet_l0": (64, 57, 4),
    "mobileone_s0": (64, 4, 4),
    "shufflenet_v2_x0_5": (64, 18, 0),
}
ANEW = ("nfnet_l0", "vit_tiny_patch16_224")
"""Networks that normalise over channels of a stream or over inputs' weights, which changes with the number that is left."""


@pytest.fixture(scope="module", autouse=True)
def operators() -> torch.library.Library:
    """torchvision's Python code asks for operators that a build of it for another torch does not bring."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor a) -> Tensor")
    return library


def built(name: str) -> nn.Module:
    if name.startswith("shufflenet"):
        import torchvision

        return torchvision.models.get_model(name, weights=None)
    import timm

    return timm.create_model(name)


@pytest.mark.parametrize("name", MODELS)
def test_published_models_are_pruned(name: str, tmp_path: Path) -> None:
    pixels, groups, streams = MODELS[name]
    torch.manual_seed(0)
    model, shape = built(name), (1, 3, pixels, pixels)
    grouping = find_groups(model, shape, streams=True)
    assert (len(grouping.groups), sum(group.stream for group in grouping.groups)) == (groups, streams)
    model = settled(model)
    chosen = random.Random(0)
    plan = {g.name: chosen.choice(g.widths[:-1]) for g in grouping.groups if name not in ANEW or not g.stream}
    pruned = prune_model(model, grouping, plan, ranking=rank_channels(model, grouping))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = pruned(x)
        if name != "nfnet_l0":
            whole = {group.name: plan.get(group.name, group.channels) for group in grouping.groups}
            expected = silenced(model, grouping, whole)(x)
            assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert grouping.network_for(plan).params_total == sum(p.numel() for p in pruned.parameters())
    onnxruntime = pytest.importorskip("onnxruntime")
    export_onnx(pruned, shape[1:], tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    [told] = session.run(None, {"images": x.numpy()})
    assert torch.allclose(torch.from_numpy(told), found, rtol=1e-3, atol=1e-4 * float(found.abs().max()))
