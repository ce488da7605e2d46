"""AlexNet and ZFNet: eight layers, ReLU, dropout, and a graphics card."""

from __future__ import annotations

from export.catalogue.family import Family, crop

_2012 = Family("AlexNet", "ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky, 2012)", 2012)
_2014 = Family("AlexNet", "One weird trick for parallelizing convolutional neural networks (arXiv:1404.5997)", 2014)
_ZFNET = Family("ZFNet", "Visualizing and Understanding Convolutional Networks (arXiv:1311.2901)", 2013)

ROWS = (
    _2012.own(
        "alexnet_2012",
        "alexnet_2012",
        (60.965, 60),
        head="classifier.6",
        paper_top1=59.3,
        note="the paper says 60 million; its layers, counted, have 60.97",
    ),
    _2012.pytorchcv("alexnet_one_tower", "alexnet", (62.378, None), head="output.fc3"),
    _2014.torchvision("alexnet", "classifier.6", crop(224, 256), (61.101, 61.1), 56.522),
    _ZFNET.pytorchcv("zfnet", "zfnet", (62.358, None), head="output.fc3", paper_top1=61.6),
)
