"""Networks that others trained, from files that the user has; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genfuse.errors import CheckpointError, UnsupportedError

INCEPTION_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"


class Inception(nn.Module):
    """The Inception v3 of TensorFlow's FID, by torch-fidelity.

    (N, 1 or 3, H, W) in [-1, 1] → features (N, 2048) float32, of pictures rounded to 8 bits, as FID is defined;
    ``logits`` goes on to (N, 1008), without the bias, as the Inception score is.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        pixels = (images * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
        features: Tensor = self.network(pixels.expand(-1, 3, -1, -1))[0]
        return features

    def logits(self, features: Tensor) -> Tensor:
        logits: Tensor = features @ self.network.fc.weight.mT
        return logits


def inception(path: str | Path | None = None) -> Inception:
    """The network with its standard weights.

    Args:
        path: the weights' file; None: where torch-fidelity and torchmetrics keep it, PyTorch's hub directory.

    Raises:
        CheckpointError: no such file, or it holds other things.
        ModuleNotFoundError: torch-fidelity is not installed.
        UnsupportedError: it does not load here.
    """
    place = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_URL.rsplit("/", 1)[1]
    file = place if path is None else Path(path)
    if not file.is_file():
        raise CheckpointError(
            f"there are no Inception weights at {file}: fetch {INCEPTION_URL} and put it there, or give its path"
        )
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}: pip install 'genfuse[pretrained]'") from error
    except (ImportError, RuntimeError, OSError) as error:
        raise UnsupportedError(
            f"torch-fidelity does not load here ({error}): install the torchvision of your PyTorch, from the package "
            "index that PyTorch came from"
        ) from error
    try:
        # torch-fidelity reads files as pickles that may run anything: first see that this one is nothing but tensors.
        torch.load(file, map_location="cpu", weights_only=True)
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(file)
        )
    except Exception as error:
        raise CheckpointError(
            f"{file} holds no Inception weights ({_first_line(error)}): fetch {INCEPTION_URL} anew"
        ) from error
    return Inception(network.eval().requires_grad_(False)).eval()


class Clip(nn.Module):
    """CLIP as torchmetrics calls it: features are tensors, which transformers 5 returns inside of an output."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def get_image_features(self, *arguments: Any, **named: Any) -> Tensor:
        return _features(self.model.get_image_features(*arguments, **named))

    def get_text_features(self, *arguments: Any, **named: Any) -> Tensor:
        return _features(self.model.get_text_features(*arguments, **named))


def _features(output: Any) -> Tensor:
    features: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return features


def clip(name: str | Path = "openai/clip-vit-base-patch16") -> tuple[Any, Any]:
    """A CLIP model and its processor, for `clip_score`, from a folder or from Hugging Face's cache.

    Raises:
        CheckpointError: it is not there.
        ModuleNotFoundError: transformers is not installed.
    """
    try:
        from transformers import CLIPModel, CLIPProcessor
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}: pip install 'genfuse[pretrained]'") from error
    try:
        model = CLIPModel.from_pretrained(str(name), local_files_only=True, use_safetensors=True)
        processor = CLIPProcessor.from_pretrained(str(name), local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"CLIP {name} is neither a folder nor in Hugging Face's cache ({_first_line(error)}): fetch it with "
            f"`hf download {name}`, or give the folder that it is in"
        ) from error
    return Clip(model).eval().requires_grad_(False), processor


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
