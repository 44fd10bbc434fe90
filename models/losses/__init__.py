"""Losses, one a file. Import them from here."""

from models.losses.adasp import AdaptiveSparsePairwiseLoss
from models.losses.alignment import AlignmentLoss
from models.losses.arcface import ArcFaceLoss
from models.losses.attention_distillation import AttentionDistillationLoss
from models.losses.centre_contrast import CrossModalCentreContrastLoss
from models.losses.circle import CircleLoss
from models.losses.contrastive import ContrastiveLoss
from models.losses.cosface import CosFaceLoss
from models.losses.cross_entropy import CrossEntropyLoss
from models.losses.ctc import CtcLoss
from models.losses.distance_distillation import DistanceDistillationLoss
from models.losses.distillation import BidirectionalDistillationLoss
from models.losses.feature_distillation import FeatureDistillationLoss
from models.losses.focal import FocalLoss
from models.losses.perceptual_edge import PerceptualEdgeLoss
from models.losses.position import PositionLoss
from models.losses.quadruplet import QuadrupletLoss
from models.losses.registry import NoMetricLoss, build_classification_loss, build_metric_loss
from models.losses.triplet import BatchHardTripletLoss
from models.losses.weighted_triplet import WeightedRegularisedTripletLoss

__all__ = [
    "AdaptiveSparsePairwiseLoss",
    "AlignmentLoss",
    "ArcFaceLoss",
    "AttentionDistillationLoss",
    "BatchHardTripletLoss",
    "BidirectionalDistillationLoss",
    "CircleLoss",
    "ContrastiveLoss",
    "CosFaceLoss",
    "CrossEntropyLoss",
    "CrossModalCentreContrastLoss",
    "CtcLoss",
    "DistanceDistillationLoss",
    "FeatureDistillationLoss",
    "FocalLoss",
    "NoMetricLoss",
    "PerceptualEdgeLoss",
    "PositionLoss",
    "QuadrupletLoss",
    "WeightedRegularisedTripletLoss",
    "build_classification_loss",
    "build_metric_loss",
]
