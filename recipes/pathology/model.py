"""The classifier of tiles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as L
import torch
from torch.nn import functional

from dicom_ml.errors import EncodingError

__all__ = ["TileClassifier", "restained", "turned"]

#: Of ImageNet, which pretrained networks were trained with.
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TileClassifier(L.LightningModule):
    """A network that tells the class of a tile.

    Parameters
    ----------
    network : torch.nn.Module
        Takes ``(B, 3, rows, columns)`` and gives ``(B, C)``: MONAI's DenseNet or ResNet, or any other.
    classes : sequence of str
        Names of the C classes.
    optimizer : {"adamw", "rmsprop"}
    learning_rate, weight_decay : float
    schedule : {"constant", "cosine"}
        Over the epochs of the trainer.
    label_smoothing : float
        What is said of a slide does not hold for each of its tiles.
    augment : bool
        Turn and flip training tiles, by a draw that depends on the step alone: training that goes on is as one that
        was never stopped.
    stain : float
        Of training tiles, change the optical density of each channel by about this share (in logarithms), by such a
        draw: laboratories stain differently.
    mean, spread : sequence of float
        Of the channels, 0 to 1, to normalise with.
    weights : str, optional
        A file of weights to begin with, of the same network or of torchvision's DenseNet; the last layer, which does
        not fit where the classes are others, is left as it is.
    seed : int
        Of the draws.

    Raises
    ------
    EncodingError
        If an option is unknown, or the weights are of another network.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        classes: Sequence[str] = ("normal", "luad", "lscc"),
        optimizer: str = "adamw",
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        schedule: str = "constant",
        label_smoothing: float = 0.0,
        augment: bool = True,
        stain: float = 0.0,
        mean: Sequence[float] = _MEAN,
        spread: Sequence[float] = _SPREAD,
        weights: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        from torchmetrics.classification import MulticlassAUROC

        if optimizer not in ("adamw", "rmsprop") or schedule not in ("constant", "cosine"):
            raise EncodingError("optimizer is 'adamw' or 'rmsprop', schedule 'constant' or 'cosine'")
        self.save_hyperparameters(ignore=["network"])
        self.network = network
        self.register_buffer("mean", torch.tensor(list(mean)).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(list(spread)).reshape(1, -1, 1, 1), persistent=False)
        self.areas = MulticlassAUROC(len(classes), average="macro", validate_args=False)
        if weights is not None:
            self._begin_with(weights)

    def _begin_with(self, path: str) -> None:
        held = torch.load(path, map_location="cpu", weights_only=True)
        # torchvision's names of the layers of a DenseNet, as MONAI has them
        held = {
            re.sub(r"(denselayer\d+)\.(norm|relu|conv)(?=\d)", r"\1.layers.\2", name): value
            for name, value in held.get("state_dict", held).items()
        }
        own = self.network.state_dict()
        fitting = {k: v for k, v in held.items() if k in own and v.shape == own[k].shape}
        if 2 * len(fitting) < len(own):
            raise EncodingError(
                f"{path} fits {len(fitting)} of the network's {len(own)} tensors: it is of another network"
            )
        self.network.load_state_dict(fitting, strict=False)

    # ------------------------------------------------------------------ steps
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, C)`` of tiles ``(B, 3, rows, columns)``, uint8, or float from 0 to 1."""
        values = image.float() / 255 if image.dtype == torch.uint8 else image
        return self.network((values - self.mean) / self.spread)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        """Loss of a batch."""
        image, draw = batch["image"], self._draw()
        if self.hparams["augment"]:
            image = turned(image, torch.randint(0, 8, (len(image),), generator=draw))
        if self.hparams["stain"]:
            image = restained(image, self.hparams["stain"] * torch.randn((len(image), 3), generator=draw))
        loss = functional.cross_entropy(
            self(image), batch["label"].long(), label_smoothing=self.hparams["label_smoothing"]
        )
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(image))
        return loss

    def _draw(self) -> torch.Generator:
        place = (self.hparams["seed"] * 1_000_003 + self.global_step) * 8191 + self.global_rank
        return torch.Generator().manual_seed(place)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Loss, and area under the ROC curve over all tiles."""
        self._judge(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The same of the test part."""
        self._judge(batch, "test")

    def _judge(self, batch: dict[str, Any], part: str) -> None:
        logits, label = self(batch["image"]), batch["label"].long()
        self.areas.update(logits.float().softmax(dim=1), label)
        self.log(f"{part}_loss", functional.cross_entropy(logits, label), batch_size=len(label), sync_dist=True)
        self.log(f"{part}_auc", self.areas, batch_size=len(label))

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, torch.Tensor]:
        """Logits ``(B, C)``, and the number of the class ``(B, 1)``, from 1 on as segments are."""
        logits = self(batch["image"])
        return {"pred": logits, "label": logits.argmax(dim=1, keepdim=True) + 1}

    # ------------------------------------------------------------------ optimizer
    def configure_optimizers(self) -> Any:
        """AdamW or RMSprop."""
        kinds = {"adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}
        optimizer = kinds[self.hparams["optimizer"]](
            self.parameters(), lr=self.hparams["learning_rate"], weight_decay=self.hparams["weight_decay"]
        )
        if self.hparams["schedule"] == "constant":
            return optimizer
        epochs = max(1, int(self.trainer.max_epochs or 1))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def turned(image: torch.Tensor, choice: torch.Tensor) -> torch.Tensor:
    """Tiles turned by right angles, and flipped.

    Parameters
    ----------
    image : Tensor of shape (B, C, n, n)
    choice : Tensor of shape (B,)
        0 to 7: the quarter turns, and from 4 on a flip before them.
    """
    out = image.clone()
    for one in range(1, 8):
        where = (choice == one).nonzero().flatten().to(image.device)
        if len(where):
            part = image[where].flip(-1) if one >= 4 else image[where]
            out[where] = torch.rot90(part, one % 4, (2, 3))
    return out


def restained(image: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """Tiles with other optical densities.

    Parameters
    ----------
    image : Tensor of shape (B, 3, rows, columns)
        uint8, or float from 0 to 1.
    change : Tensor of shape (B, 3)
        Logarithm of the factor of each channel's optical density.

    Returns
    -------
    Tensor of float from 0 to 1
    """
    values = image.float() / 255 if image.dtype == torch.uint8 else image
    factor = change.exp()[:, :, None, None].to(values)
    # transmission to a power is optical density times a factor
    return values.clamp(min=1 / 255).pow(factor)
