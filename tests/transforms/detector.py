"""A real detector of MONAI's, small and not trained."""

from __future__ import annotations

from collections import OrderedDict

import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.networks.retinanet_network import RetinaNet
from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork
from monai.networks.nets.resnet import ResNet


class Pyramid(torch.nn.Module):
    """Features of the first stage of a ResNet, through a feature pyramid (MONAI's own wants torchvision)."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.out_channels = 8
        self.body = ResNet(
            "basic", [1, 1, 1, 1], [4, 4, 8, 8], dimensions, 1, conv1_t_size=3, conv1_t_stride=2, no_max_pool=True
        )
        self.fpn = FeaturePyramidNetwork(dimensions, [4], self.out_channels)

    def forward(self, x):
        x = self.body.act(self.body.bn1(self.body.conv1(x)))
        return self.fpn(OrderedDict({"0": self.body.layer1(x)}))


def retinanet(classes: int = 2, dimensions: int = 3, seed: int = 0) -> RetinaNetDetector:
    """ResNet, feature pyramid, RetinaNet heads; finds boxes everywhere, since it knows nothing."""
    torch.manual_seed(seed)
    anchors = AnchorGeneratorWithAnchorShape(feature_map_scales=(1,), base_anchor_shapes=((4,) * dimensions,))
    net = RetinaNet(dimensions, classes, 1, Pyramid(dimensions), size_divisible=(4,) * dimensions)
    detector = RetinaNetDetector(net, anchors, size_divisible=4)
    detector.set_box_selector_parameters(0.0, 60, 0.2, 6)
    detector.set_target_keys(box_key="box", label_key="label")
    return detector.eval()
