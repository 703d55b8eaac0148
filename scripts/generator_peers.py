"""What a person would otherwise train on the same pictures: PyTorch's DCGAN example and Pythae's VAE, unchanged, and
stopped after the same minutes.

`dcgan-example` runs `dcgan/main.py` of github.com/pytorch/examples as its README has it (64 px, batches of 64): it
enlarges the pictures, and what it makes is averaged back to the side of the set. `pythae` is the VAE of Pythae 0.1.2
with the convolutional networks of its benchmarks and a rate of 1e-3 in batches of 200, as in its README, and the
mixture of ten Gaussians over its latents; `pythae-mlp` the same with the network that it has where none is named.
lightweight-gan 1.2.1 stops with an assertion where there is no CUDA. A peer runs in a process of its own, in an
environment that borrows this one's torch.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
from PIL import Image

from curator.training.pictures import Bytes, Pictures

PEERS = ("dcgan-example", "pythae", "pythae-mlp")

_STOPPED = """
import json, signal, sys, time
import numpy as np, torch

class TimeIsUp(Exception):
    pass

def stop(*_):
    raise TimeIsUp

def within(seconds, work):
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        work()
    except TimeIsUp:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
"""

_DCGAN = f"""{_STOPPED}
script, pictures, out, seconds, seed, n = sys.argv[1:]
names = {{"__name__": "__main__"}}
sys.argv = [script, "--dataset", "folder", "--dataroot", pictures, "--niter", "1000000", "--manualSeed", seed,
            "--outf", out]
within(float(seconds), lambda: exec(compile(open(script).read(), script, "exec"), names))
network, parts = names["netG"], []
with torch.no_grad():  # batches of 64 in training mode, as it draws its own samples
    while sum(map(len, parts)) < int(n):
        parts.append(network(torch.randn(64, 100, 1, 1)).numpy())
made = ((np.concatenate(parts)[: int(n)] + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
np.save(out + "/made.npy", made)
print(json.dumps(64 * (names["epoch"] * len(names["dataloader"]) + names["i"] + 1)))
"""

_PYTHAE = f"""{_STOPPED}
from pythae.models import VAE, VAEConfig
from pythae.models.nn.benchmarks import celeba, cifar
from pythae.samplers import GaussianMixtureSampler, GaussianMixtureSamplerConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.data.datasets import BaseDataset
nets, pictures, out, seconds, seed, n = sys.argv[1:]
x = torch.from_numpy(np.load(pictures)).float() / 255
torch.manual_seed(int(seed))
side = x.shape[-1]
config = VAEConfig(input_dim=tuple(x.shape[1:]), latent_dim=64 if side == 64 else 16)
if nets == "conv":
    pair = {{32: (cifar.Encoder_Conv_VAE_CIFAR, cifar.Decoder_Conv_AE_CIFAR),
            64: (celeba.Encoder_Conv_VAE_CELEBA, celeba.Decoder_Conv_AE_CELEBA)}}[side]
    model = VAE(config, encoder=pair[0](config), decoder=pair[1](config))
else:
    model = VAE(config)
data = BaseDataset(x, torch.ones(len(x)))
settings = BaseTrainerConfig(output_dir=out, learning_rate=1e-3, per_device_train_batch_size=200, num_epochs=1000000,
                             seed=int(seed), no_cuda=True)
trainer = BaseTrainer(model=model, train_dataset=data, training_config=settings)
seen, forward = [0], model.forward
def counted(batch, **kwargs):
    seen[0] += len(batch["data"])
    return forward(batch, **kwargs)
model.forward = counted
within(float(seconds), trainer.train)
model.forward = forward
model.eval()
sampler = GaussianMixtureSampler(model=model, sampler_config=GaussianMixtureSamplerConfig(n_components=10))
sampler.fit(x)
made = sampler.sample(num_samples=int(n), batch_size=200, output_dir=None, return_gen=True).numpy()
np.save(out + "/made.npy", (made * 255).round().clip(0, 255).astype(np.uint8))
print(json.dumps(seen[0]))
"""


def peer_pictures(
    row: str, train: Pictures, folder: Path, *, n: int, seed: int, minutes: float, example: Path | None
) -> tuple[Bytes, int]:
    """(n, C, H, W) that a peer makes, like `train.inner`, and how many images it had seen; kept in `folder`."""
    target = folder / f"peer-{row}-{seed}"
    shown = target / "seen.txt"
    if not shown.is_file():
        target.mkdir(parents=True, exist_ok=True)
        python = _python_of(folder.parent / "peers")
        if row == "dcgan-example":
            if example is None:
                raise SystemExit("dcgan-example needs --example, the dcgan/main.py of github.com/pytorch/examples")
            words = ["-c", _DCGAN, str(example.absolute()), str(_as_folder(train, folder / "peer-pictures"))]
        else:
            np.save(target / "pictures.npy", _in_colour(train.pixels))
            words = ["-c", _PYTHAE, "conv" if row == "pythae" else "mlp", str(target / "pictures.npy")]
        words += [str(target), str(60 * minutes), str(seed), str(n)]
        said = subprocess.run([python, *words], stdout=subprocess.PIPE, text=True, check=True).stdout
        shown.write_text(said.splitlines()[-1])
    made = np.load(target / "made.npy")
    border = train.border if made.shape[-1] == train.pixels.shape[-1] else 0
    inner = made[..., border : made.shape[-2] - border, border : made.shape[-1] - border]
    return _like(inner, train.inner), int(shown.read_text())


def _python_of(folder: Path) -> str:
    """The interpreter of an environment with the peers, which takes the rest from this one."""
    if not folder.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        site = next(folder.glob("lib/python*/site-packages"))
        (site / "ours.pth").write_text(sysconfig.get_paths()["purelib"])
        pip = [folder / "bin/python", "-m", "pip", "install", "-q", "--no-deps"]
        subprocess.run([*pip, "pythae==0.1.2", "imageio", "cloudpickle", "pydantic==2.11.10", "pydantic-core==2.33.2",
                        "annotated-types", "typing-inspection"], check=True)  # fmt: skip
    return str(folder / "bin/python")


def _as_folder(train: Pictures, folder: Path) -> Path:
    """The pictures as PNGs in a folder of one class."""
    home = folder / "pictures"
    if not home.is_dir():
        home.mkdir(parents=True)
        for i, picture in enumerate(_in_colour(train.inner)):
            Image.fromarray(picture.transpose(1, 2, 0)).save(home / f"{i:06d}.png")
    return folder


def _in_colour(pixels: Bytes) -> Bytes:
    return np.repeat(pixels, 3, 1) if pixels.shape[1] == 1 else pixels


def _like(made: Bytes, wanted: Bytes) -> Bytes:
    """Of the size and the channels of others: means over pixels and channels."""
    if made.shape[1] > wanted.shape[1]:
        made = made.mean(1, keepdims=True).round().astype(np.uint8)
    side = wanted.shape[-1]
    if made.shape[-1] != side:
        resized = [np.asarray(Image.fromarray(p).resize((side, side), Image.Resampling.BOX)) for p in made[:, 0]]
        made = np.stack(resized)[:, None]
    return made
