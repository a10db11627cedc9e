"""`hwflow.train`, files of weights, and the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hwflow
from hwflow import cli
from hwflow.datasets import load_data
from hwflow.errors import InputError
from hwflow.network.load import load_module
from hwflow.training import Recipe, load_weights, save_weights, score, train
from tests.training.nets import Small, small, stripes, values

TINY = """
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))

def narrow():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a module `tiny_nets`."""
    (tmp_path / "tiny_nets.py").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny_nets", raising=False)
    return tmp_path


# Weights -------------------------------------------------------------------------------------------------------------


def test_weights_come_back_with_what_is_known_of_them(tmp_path: Path) -> None:
    one, other = small(), small(1)
    save_weights(tmp_path / "w.pt", one, {"network": "small", "classes": 2, "accuracy": 0.5})
    assert load_weights(tmp_path / "w.pt", other) == {"network": "small", "classes": 2, "accuracy": 0.5}
    assert values(one) == values(other)
    save_weights(tmp_path / "again.pt", one, {"accuracy": 0.5, "classes": 2, "network": "small"})
    assert (tmp_path / "w.pt").read_bytes() == (tmp_path / "again.pt").read_bytes()


def test_a_plain_state_dict_is_read_too(tmp_path: Path) -> None:
    one, other = small(), small(1)
    torch.save(one.state_dict(), tmp_path / "w.pt")
    assert load_weights(tmp_path / "w.pt", other) == {}
    assert values(one) == values(other)


def test_weights_of_another_network_are_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.pt", small(classes=5), {"network": "small", "classes": 5})
    model = small()
    before = values(model)
    with pytest.raises(InputError) as caught:
        load_weights(tmp_path / "w.pt", model)
    assert "do not fit the network: fc.weight is (5, 96), the network's is (2, 96); fc.bias is (5,)" in str(caught.value)
    assert "They are of small with 5 classes." in str(caught.value)
    assert values(model) == before
    with pytest.raises(
        InputError, match=r"1\.weight is missing; 1\.bias is missing; conv\.weight is not of the network; and 7"
    ):
        load_weights(tmp_path / "w.pt", nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "weights"}, "damaged: what is known of them cannot be read: 'about'"),
        ({"kind": "weights", "about": "{", "model": {}}, "damaged: what is known of them cannot be read"),
        ({"kind": "weights", "about": "[" * 5000, "model": {}}, "more than 100 lists and mappings within one another"),
        ({"kind": "weights", "about": 3, "model": {}}, "damaged: what is known of them cannot be read"),
        ({"kind": "weights", "about": "[1]", "model": {}}, r"damaged: what is known of them is \[1\], not a mapping"),
        ({"kind": "weights", "about": "{}"}, "the file holds no state dict"),
        ({"kind": "weights", "about": "{}", "model": [1]}, "the file holds no state dict"),
        ({"kind": "weights", "about": "{}", "model": {"a": 1}}, "the file holds no state dict"),
        ({"kind": "weights", "about": '{"plan": {}}', "model": {"a": torch.zeros(1)}}, "do not fit the network"),
    ],
)
def test_weights_that_somebody_made_up(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "made.pt")
    with pytest.raises(InputError, match=message):
        load_weights(tmp_path / "made.pt", torch.nn.Linear(2, 2))


def test_files_that_hold_no_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the weights .*none\.pt: there is no such file"):
        load_weights(tmp_path / "none.pt", small())
    with pytest.raises(InputError, match=r"the weights .* is a folder; name a file"):
        load_weights(tmp_path, small())
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(InputError, match=r"the weights .*text\.pt is damaged, or no file of tensors"):
        load_weights(tmp_path / "text.pt", small())
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    with pytest.raises(InputError, match=r"list\.pt holds list, not tensors by name"):
        load_weights(tmp_path / "list.pt", small())
    train_part, held = stripes().hold_out(24)
    from hwflow.training import fit

    fit(small(), train_part, held, Recipe(epochs=1), checkpoint=tmp_path / "w.pt.checkpoint")
    with pytest.raises(InputError, match=r"holds no state dict\. It may be a checkpoint, which is no result yet"):
        load_weights(tmp_path / "w.pt.checkpoint", small())


def test_a_state_dict_under_its_usual_key(tmp_path: Path) -> None:
    """As Lightning and timm write it; another key is named."""
    wanted = small(1)
    torch.save({"epoch": 3, "state_dict": wanted.state_dict()}, tmp_path / "w.pt")
    model = small()
    assert load_weights(tmp_path / "w.pt", model) == {}
    assert all(torch.equal(model.state_dict()[name], value) for name, value in wanted.state_dict().items())
    torch.save({"epoch": 3, "net": wanted.state_dict(), "optimizer": {}}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"no state dict\. It has a mapping under 'net', 'optimizer': save the weights alone"):
        load_weights(tmp_path / "other.pt", model)


def of_small(change: Callable[[Tensor], Any], name: str = "conv.weight") -> dict[str, Any]:
    """A state dict of `small` with one tensor changed."""
    state = dict(small().state_dict())
    return state | {name: change(state[name])}


def told(**entries: Any) -> dict[str, Any]:
    """A file as hwflow writes it, with other entries."""
    return {"kind": "weights", "about": "{}", "model": dict(small().state_dict())} | entries


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    # tensors that are no weights
    "NaN": (lambda: of_small(lambda t: t * float("nan")), "conv.weight holds 54 of 54 values that are not finite"),
    "infinite": (lambda: of_small(lambda t: t + float("inf"), "fc.bias"), "fc.bias holds 2 of 2 values that are not finite"),
    "too large": (lambda: of_small(lambda t: t.double() + 1e300), "conv.weight holds 54 of 54 values that are not finite"),
    "NaN in a buffer": (lambda: of_small(lambda t: t / 0 * 0, "bn.running_mean"), "bn.running_mean holds 6 of 6 values"),
    "complex": (lambda: of_small(lambda t: t.to(torch.complex64)), r"conv.weight is complex \(torch.complex64\)"),
    "sparse": (lambda: of_small(lambda t: t.to_sparse()), r"conv.weight is not dense \(torch.sparse_coo\)"),
    "meta": (lambda: of_small(lambda t: t.to("meta")), r"conv.weight has no data \(it is on the meta device\)"),
    "int8": (lambda: of_small(lambda t: t.to(torch.int8)), r"conv.weight is of whole numbers \(torch.int8\), the network's is"),
    "quantised": (
        lambda: of_small(lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)),
        r"conv.weight is quantised \(torch.qint8\); dequantise it first",
    ),
    "nested": (
        lambda: of_small(lambda t: torch.nested.nested_tensor([t.view(6, -1)])),
        "conv.weight is a nested tensor",
    ),
    # metadata of the wrong form
    "no metadata": (lambda: {"kind": "weights", "model": dict(small().state_dict())}, "what is known of them cannot be read"),
    "metadata that is no text": (lambda: told(about=3), "what is known of them cannot be read"),
    "metadata that is no JSON": (lambda: told(about="{"), "what is known of them cannot be read"),
    "metadata that is a list": (lambda: told(about="[1]"), "what is known of them is"),
    "deep metadata": (lambda: told(about="[" * 100000), "what is known of them cannot be read"),
    "no tensors": (lambda: {"kind": "weights", "about": "{}"}, "holds no state dict"),
    "a list of tensors": (lambda: told(model=[torch.zeros(3)]), "holds no state dict"),
    "numbers for names": (lambda: {0: torch.zeros(3)}, "the file calls a tensor 0; in a state dict names are text"),
    "metadata that does not say of what": (lambda: told(model={"fc.bias": torch.zeros(2)}), "conv.weight is missing"),
    # code
    "a module": (small, r"the file holds the Python object tests.training.nets.Small, and to read that is to run code"),
    "a function": (lambda: {"a": len}, "hwflow reads tensors and plain data only; write the file with torch.save"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", WRONG)
def test_files_that_are_no_weights_for_the_network_are_refused(case: str, tmp_path: Path) -> None:
    build, message = WRONG[case]
    torch.save(build(), tmp_path / "w.pt")
    model = small()
    before = values(model)
    with pytest.raises(InputError, match=message) as caught:
        load_weights(tmp_path / "w.pt", model)
    assert "weights_only" not in str(caught.value)
    assert values(model) == before


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_is_no_weights(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(3, 2), torch.zeros(1, 3)).save(str(tmp_path / "w.pt"))
    with pytest.raises(InputError, match="is a TorchScript program, which is code") as caught:
        load_weights(tmp_path / "w.pt", small())
    assert "weights_only" not in str(caught.value)


def test_half_precision_and_masks_of_infinities_are_weights(tmp_path: Path) -> None:
    torch.save(of_small(lambda t: t.half()), tmp_path / "w.pt")
    assert load_weights(tmp_path / "w.pt", small()) == {}
    masked = nn.Sequential(nn.Linear(3, 2))
    masked.register_buffer("mask", torch.full((2, 2), float("-inf")))
    torch.save(masked.state_dict(), tmp_path / "w.pt")
    assert load_weights(tmp_path / "w.pt", masked) == {}


# hwflow.train --------------------------------------------------------------------------------------------------------


def test_a_module_is_trained_and_judged_on_the_test_set(tmp_path: Path) -> None:
    data, model = stripes(320), small()
    trained, history = hwflow.train(model, data, epochs=10, batch_size=16, learning_rate=0.05, output=tmp_path / "w.pt")
    assert trained is model
    assert history.test == score(model, data.test)
    assert history.test is not None
    assert history.test.accuracy > 0.85
    about = load_weights(tmp_path / "w.pt", small())
    assert (about["network"], about["data"], about["classes"], about["input_shape"]) == ("Small", "stripes", 2, [1, 8, 8])
    assert about["accuracy"] == history.test.accuracy
    assert about["held_accuracy"] == history.epochs[-1].accuracy
    assert about["data_identity"] == data.identity
    assert Recipe(**about["recipe"]).epochs == 10
    assert [p.name for p in tmp_path.iterdir()] == ["w.pt"]


def test_equal_calls_write_equal_bytes(tmp_path: Path, here: Path) -> None:
    for name in ("a.pt", "b.pt"):
        torch.manual_seed(len(name))
        train("tiny_nets:net", "digits", epochs=1, seed=3, output=tmp_path / name)
    train("tiny_nets:net", "digits", epochs=1, seed=4, output=tmp_path / "c.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    assert (tmp_path / "a.pt").read_bytes() != (tmp_path / "c.pt").read_bytes()


def test_the_held_out_part_is_never_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the held-out and test images blackened, the same weights come out."""
    data = stripes()
    _, held = data.hold_out()
    known = values(train(small(), data, epochs=2, learning_rate=0.05)[0])
    data.train.source.images[held.indices] = 0  # type: ignore[attr-defined]
    data.test.source.images[:] = 0  # type: ignore[attr-defined]
    assert values(train(small(), data, epochs=2, learning_rate=0.05)[0]) == known


def test_training_starts_from_given_weights(tmp_path: Path) -> None:
    data = stripes(320)
    first, _ = train(small(), data, epochs=10, batch_size=16, learning_rate=0.05)
    save_weights(tmp_path / "w.pt", first, {})
    _, history = train(small(1), data, epochs=1, learning_rate=1e-6, weights=tmp_path / "w.pt")
    assert history.test is not None
    assert history.test.accuracy > 0.85


def test_a_zoo_network_fits_the_data_set() -> None:
    data = load_data("digits")
    model, history = train("resnet20", data, recipe=Recipe(epochs=1, batch_size=256), precision="float32")
    assert model.conv1.in_channels == 1
    assert model.fc.out_features == 10
    assert history.test is not None
    assert history.test.samples == 360


def test_what_cannot_be_trained_is_said_before_it_is_tried(here: Path) -> None:
    with pytest.raises(InputError, match=r"alexnet cannot take the images of digits, which are 1x8x8: "):
        train("alexnet", "digits")
    with pytest.raises(InputError, match=r"\(2, 3\) for a batch whose labels are \(2,\); .* it must give \(2, 10\)"):
        train("tiny_nets:narrow", "digits")
    with pytest.raises(InputError, match=r"unknown network 'resnet2'\. Did you mean 'resnet20'\?"):
        train("resnet2", "digits")
    with pytest.raises(InputError, match=r"net\.onnx can be costed, not trained or pruned: that needs a torch.nn.Module"):
        load_module("net.onnx", num_classes=10, in_channels=3)
    with pytest.raises(InputError, match=r"is a folder; name the file of weights to write"):
        train(small(), stripes(), output=here)
    with pytest.raises(InputError, match=r"unknown field of the recipe 'epoch'\. Did you mean 'epochs'\?"):
        train(small(), stripes(), epoch=3)


# The command ---------------------------------------------------------------------------------------------------------


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", *arguments])
    out, err = capsys.readouterr()
    told = [line for line in err.splitlines(keepends=True) if not line.startswith("hwflow: PyTorch computes with ")]
    return int(ended.value.code or 0), out, "".join(told)


def test_the_command_trains_writes_and_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = command(capsys, "tiny_nets:net", "--data", "digits", "--epochs", "12", "--seed", "1", "-o", "w.pt")
    assert (code, err) == (0, "hwflow: wrote w.pt\n")
    assert out.startswith("tiny_nets:net on digits\n\nepoch  training loss  held-out loss  held-out accuracy (%)\n")
    assert "% on 360 images, used this once." in out
    rows = out.split("\n\n")[1].splitlines()[2:]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "5", "6", "7", "8", "10", "11", "12"]
    model = load_module("tiny_nets:net", num_classes=10, in_channels=1)
    about = load_weights("w.pt", model)
    assert about["network"] == "tiny_nets:net"
    found = score(model, load_data("digits").test)
    assert found.accuracy == about["accuracy"] > 0.85
    assert f"Test accuracy {100 * found.accuracy:.2f} %" in out


def test_the_command_says_what_is_wrong_in_one_paragraph(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, text in (
        (("resnet20", "--data", "mnist", "-o", "w.pt"), "unknown data set 'mnist'."),
        (("resnet20", "--data", "digits", "--epochs", "0", "-o", "w.pt"), "epochs is 0;"),
        (("resnet20", "--data", "digits", "--precision", "int8", "-o", "w.pt"), "precision is 'int8'; allowed: auto,"),
        (("resnet20", "--data", "digits", "--weights", "none.pt", "-o", "w.pt"), "none.pt: there is no such file"),
    ):
        code, out, err = command(capsys, *arguments)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert text in err
    assert not Path("w.pt").exists()


def test_a_training_that_diverged_exits_1(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("tiny_nets:net", "--data", "digits", "--epochs", "2", "--learning-rate", "1e30", "-o", "w.pt")
    code, _, err = command(capsys, *arguments)
    assert code == 1
    assert "the training diverged: the loss is no finite number in epoch 1 of 2." in err
    code, _, err = command(capsys, *arguments[:-4], "--learning-rate", "0.1", "-o", "w.pt")  # nothing stands in its way
    assert (code, err) == (0, "hwflow: wrote w.pt\n")


@pytest.mark.slow
def test_an_interrupted_command_goes_on_when_it_is_given_again(here: Path) -> None:
    def started(file: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "hwflow", "train", "tiny_nets:net", "--data", "digits", "--epochs", "60", "-o", file]
        return subprocess.Popen(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ))

    running = started("w.pt")
    state = Path("w.pt.checkpoint")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (state.exists() and "number" in torch.load(state, weights_only=True)["epochs"]):
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate()
    assert (running.returncode, out) == (1, "")
    assert "interrupted. The same command goes on after the last whole epoch" in err
    again = started("w.pt")
    out, err = again.communicate()
    assert (again.returncode, err) == (0, "hwflow: wrote w.pt\n")
    assert "Continued after epoch" in out
    assert not state.exists()
    whole = started("whole.pt")
    whole.communicate()
    assert whole.returncode == 0
    assert Path("w.pt").read_bytes() == Path("whole.pt").read_bytes()


WITHOUT_TORCH = """
import sys, importlib.abc
class Without(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Without())
"""


@pytest.mark.parametrize(
    ("program", "error", "purpose"),
    [
        ("import hwflow; hwflow.train", "hwflow.errors.MissingDependency", "training"),
        ("import hwflow; hwflow.load_data('digits')", "hwflow.errors.MissingDependency", "the data set digits"),
        ("from hwflow import cli; cli.main(['train', 'resnet20', '--data', 'digits', '-o', 'w.pt'])", "hwflow", "training"),
    ],
)
def test_without_torch_a_sentence_says_what_to_install(program: str, error: str, purpose: str) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH + program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == f'{error}: {purpose} needs PyTorch, which is not installed here: pip install "hwflow[prune]"'


def test_names_are_public() -> None:
    assert hwflow.train is train
    assert issubclass(Small, nn.Module)
