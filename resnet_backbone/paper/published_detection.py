"""The paper's detection results (He et al. 2016, appendices A and B, tables 7 to 12)."""

from __future__ import annotations

from resnet_backbone.paper.published import Published, PublishedTable


def _precisions(
    label: str, ap50: float, ap: float, network: str | None = None
) -> tuple[Published, ...]:
    return (Published(label, ap50, "AP50", network), Published(label, ap, "AP", network))


# Faster R-CNN with res5 applied to each region (C4) and frozen batch normalisation (appendix A).
TABLE_7 = PublishedTable(
    "table7",
    "PASCAL VOC test, mAP in %, Faster R-CNN",
    "detection",
    None,
    (
        Published("VGG-16, VOC 07+12 to 07", 73.2, "mAP"),
        Published("ResNet-101, VOC 07+12 to 07", 76.4, "mAP", "resnet101"),
        Published("VGG-16, VOC 07++12 to 12", 70.4, "mAP"),
        Published("ResNet-101, VOC 07++12 to 12", 73.8, "mAP", "resnet101"),
    ),
)
TABLE_8 = PublishedTable(
    "table8",
    "COCO validation, AP in %, Faster R-CNN",
    "detection",
    None,
    (
        *_precisions("VGG-16", 41.5, 21.2),
        *_precisions("ResNet-101", 48.4, 27.2, "resnet101"),
    ),
)
# The additions of tables 9 to 12 (box refinement, context, multi-scale testing) are not part of
# this package.
TABLE_9 = PublishedTable(
    "table9",
    "COCO, AP in %, ResNet-101; each row adds to the one before",
    "detection",
    None,
    (
        *_precisions("box refinement, validation", 49.9, 29.9),
        *_precisions("context, validation", 51.1, 30.0),
        *_precisions("multi-scale, validation", 53.8, 32.5),
        *_precisions("context, test-dev", 53.3, 32.2),
        *_precisions("multi-scale, test-dev", 55.7, 34.9),
        *_precisions("ensemble of 3, test-dev", 59.0, 37.4),
    ),
)
TABLE_10_11 = PublishedTable(
    "table10",
    "PASCAL VOC test, mAP in %, the system of table 9 trained on COCO and fine-tuned",
    "detection",
    None,
    (
        Published("baseline+++, VOC 2007 (table 10)", 85.6, "mAP"),
        Published("baseline+++, VOC 2012 (table 11)", 83.8, "mAP"),
    ),
)
TABLE_12 = PublishedTable(
    "table12",
    "ImageNet detection, mAP in %",
    "detection",
    None,
    (
        Published("GoogLeNet (ILSVRC'14), test", 43.9, "mAP"),
        Published("single model, val2", 60.5, "mAP"),
        Published("single model, test", 58.8, "mAP"),
        Published("ensemble, val2", 63.6, "mAP"),
        Published("ensemble, test", 62.1, "mAP"),
    ),
)

# Section B, "8-GPU implementation": the RPN step and the Fast R-CNN step have this length each.
COCO_ITERATIONS = 240_000 + 80_000
DETECTION_TABLES = (TABLE_7, TABLE_8)
BEYOND = (TABLE_9, TABLE_10_11, TABLE_12)
