"""The network of the detector: MONAI's RetinaNet on a feature pyramid over one of MONAI's ResNets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.networks.retinanet_network import RetinaNet
from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool
from monai.networks.nets.resnet import ResNet
from torch import nn

__all__ = ["Detector", "PyramidFeatures", "make_detector", "make_network"]


class PyramidFeatures(nn.Module):
    """Feature maps of several resolutions, from the layers of a ResNet.

    Parameters
    ----------
    block : {"basic", "bottleneck"}
    layers : sequence of 4 int
        Blocks in each layer of the ResNet.
    channels : sequence of 4 int
        Of each layer.
    levels : int
        How many layers give a map, from the first on; one more comes from pooling the last.
    out_channels : int
        Of all maps.
    first_size, first_stride : sequence of int
        Of the first convolution.
    pool : bool
        Whether the first layer looks at a pooled image.
    """

    def __init__(
        self,
        block: str = "basic",
        layers: Sequence[int] = (1, 1, 1, 1),
        channels: Sequence[int] = (16, 32, 64, 64),
        levels: int = 2,
        out_channels: int = 32,
        first_size: Sequence[int] = (3, 3, 3),
        first_stride: Sequence[int] = (2, 2, 2),
        pool: bool = False,
    ) -> None:
        super().__init__()
        resnet = ResNet(
            block,
            list(layers),
            list(channels),
            spatial_dims=3,
            n_input_channels=1,
            conv1_t_size=tuple(first_size),
            conv1_t_stride=tuple(first_stride),
            no_max_pool=not pool,
            feed_forward=False,
        )
        stem: list[nn.Module] = [resnet.conv1, resnet.bn1, resnet.act]
        self.stem = nn.Sequential(*stem, *([resnet.maxpool] if pool else []))
        self.layers = nn.ModuleList([getattr(resnet, f"layer{number}") for number in range(1, levels + 1)])
        expansion = 4 if block == "bottleneck" else 1
        widths = [width * expansion for width in channels[:levels]]
        self.pyramid = FeaturePyramidNetwork(3, widths, out_channels, LastLevelMaxPool(3))
        self.out_channels = out_channels

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Maps of ``(B, 1, W, H, D)``, the finest first."""
        x = self.stem(image)
        maps = {}
        for number, layer in enumerate(self.layers):
            x = layer(x)
            maps[str(number)] = x
        found: dict[str, torch.Tensor] = self.pyramid(maps)
        return found


class Detector(RetinaNetDetector):
    """MONAI's detector with its ATSS matcher; MONAI's own way to that asks for a matcher of torchvision first."""

    def compute_anchor_matched_idxs(
        self,
        anchors: list[torch.Tensor],
        targets: list[dict[str, torch.Tensor]],
        num_anchor_locs_per_level: Sequence[int],
    ) -> list[torch.Tensor]:
        """Number of the box that each anchor of each image is matched with; negative where there is none."""
        found = []
        for own, target in zip(anchors, targets, strict=True):
            boxes = target[self.target_box_key].to(own.device)
            if len(boxes):
                found.append(self.proposal_matcher(boxes, own, num_anchor_locs_per_level, self.num_anchors_per_loc)[1])
            else:
                found.append(torch.full((len(own),), -1, dtype=torch.int64, device=own.device))
        return found


def make_network(anchors: int, **settings: Any) -> RetinaNet:
    """A RetinaNet of one class; settings are those of :class:`PyramidFeatures`."""
    features = PyramidFeatures(**settings)
    strides = [int(s) * (2 if settings.get("pool") else 1) for s in settings.get("first_stride", (2, 2, 2))]
    coarsest = 2 ** int(settings.get("levels", 2))
    divisible = [s * coarsest for s in strides]
    return RetinaNet(3, 1, anchors, features, divisible)


def make_detector(
    network: dict[str, Any] | None = None,
    anchors: Sequence[Sequence[float]] = ((2, 2, 2), (4, 4, 4)),
    window: Sequence[int] = (48, 48, 48),
    overlap: float = 0.25,
    min_score: float = 0.02,
    nms: float = 0.22,
    most: int = 100,
    samples: int = 64,
    positives: float = 0.3,
    pool_size: float = 20,
    min_negatives: int = 16,
) -> Detector:
    """A detector with an ATSS matcher, hard negative mining, sliding-window inference and suppression of doubles.

    Parameters
    ----------
    network : dict
        Of :class:`PyramidFeatures`.
    anchors : sequence of sequence of float
        Shapes on the finest map, in voxels along (w, h, d); each coarser map has them twice as large. Even numbers:
        MONAI rounds their halves.
    window, overlap
        Of the sliding window at inference.
    min_score, nms, most
        Which boxes are kept: their score, the intersection over union from which two are one, and how many a scan.
    samples, positives, pool_size, min_negatives
        Anchors that count in training: how many a patch, the share of positive ones, and among how many times more of
        the highest scoring negative ones the others are drawn.
    """
    settings = dict(network or {})
    scales = [2**level for level in range(int(settings.get("levels", 2)) + 1)]
    generator = AnchorGeneratorWithAnchorShape(scales, [list(shape) for shape in anchors])
    detector = Detector(make_network(len(anchors), **settings), generator)
    detector.set_atss_matcher(num_candidates=4, center_in_gt=False)
    detector.set_hard_negative_sampler(samples, positives, min_negatives, pool_size)
    detector.set_box_selector_parameters(min_score, 1000, nms, most)
    detector.set_sliding_window_inferer(list(window), sw_batch_size=1, overlap=overlap, mode="constant")
    detector.set_target_keys("box", "label")
    return detector
