"""Settings of what is made of a trained student: figures, the report, and names of photographs."""

from dataclasses import dataclass
from typing import Literal

from leadpp.config.requirement import require


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """How features are made and measured."""

    encoders: tuple[Literal["student", "frozen", "teacher"], ...] = ("student", "frozen", "teacher")
    """Rows of the table: the trained encoder, the network it began as, and the teacher (where there is one)."""
    sets: tuple[Literal["whole", "crop"], ...] = ("whole", "crop")
    """Whole photographs, object crops, or both."""
    view: Literal["center-crop", "squeeze"] = "center-crop"
    """The test view: resized to 8/7 of the size and centre-cropped (paper), or squeezed to the size."""
    batch_size: int = 64
    """Photographs in one forward pass."""
    probe_epochs: int = 100
    """Epochs of the linear probe; its rate falls by 10 at 60 % and 80 %."""
    probe_rates: tuple[float, ...] = (30.0,)
    """Rates of the probe's SGD to try, all in one fit; the one is taken that is best on the held-out photographs."""
    probe_decays: tuple[float, ...] = (0.0,)
    """Weight decays of the probe to try, each with each rate."""
    probe_batch_size: int = 256
    """Batch of the probe; a smaller training set is one batch."""
    probe_views: int = 8
    """Random-crop views of each training photograph, reused in turn by the probe's epochs; 100 is the paper's
    protocol (a new view in every epoch); eight come out about a point below (docs/decisions/0042)."""
    heldout: float = 0.2
    """Share of the training photographs on which the probe's epoch, and rate and decay of several, are chosen."""
    chunk: int = 512
    """Most queries compared at a time, fewer in large sets; bounds memory."""
    kmeans_restarts: int = 5
    """Starts of each k-means; the best inertia is kept."""

    def __post_init__(self) -> None:
        require(bool(self.encoders), "evaluate.encoders must name at least one encoder")
        require(bool(self.sets), "evaluate.sets must name whole, crop or both")
        require(self.probe_epochs >= 1, f"evaluate.probe_epochs must be at least 1, got {self.probe_epochs}")
        require(self.probe_views >= 1, f"evaluate.probe_views must be at least 1, got {self.probe_views}")
        require(self.probe_batch_size >= 1, "evaluate.probe_batch_size must be at least 1")
        require(
            bool(self.probe_rates) and min(self.probe_rates) > 0,
            f"evaluate.probe_rates must name rates above 0, got {self.probe_rates}",
        )
        require(
            bool(self.probe_decays) and min(self.probe_decays) >= 0,
            f"evaluate.probe_decays must name decays of 0 or more, got {self.probe_decays}",
        )
        require(0 < self.heldout < 1, f"evaluate.heldout must be between 0 and 1, got {self.heldout}")
        require(self.batch_size >= 1, f"evaluate.batch_size must be at least 1, got {self.batch_size}")
        require(self.chunk >= 1, f"evaluate.chunk must be at least 1, got {self.chunk}")
        require(self.kmeans_restarts >= 1, "evaluate.kmeans_restarts must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """What the report shows."""

    samples: int = 12
    """Photographs in each contact sheet."""
    queries: int = 8
    """Rows of retrieval examples."""
    worst_classes: int = 12
    """Classes in the confusion matrix."""
    projection: Literal["tsne", "pca"] = "tsne"
    """How the 2-D map of the embedding is made."""
    title: str = ""
    """Heading; empty takes the name of the data folder."""

    def __post_init__(self) -> None:
        for name in ("samples", "queries", "worst_classes"):
            require(getattr(self, name) >= 1, f"report.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class NameConfig:
    """How photographs are named."""

    set: Literal["crop", "whole"] = "crop"
    """What is looked at: the object, where the run can find it, or the whole photograph."""
    by: Literal["student", "teacher", "both"] = "student"
    """Who names; the teacher must be there to do so, and is not needed otherwise once a temperature is fitted."""
    top: int = 5
    """How many names each photograph is given, the best first."""
    unsure: float = 0.5
    """Below this probability the best name is marked as unsure."""
    temperature: float = 0.0
    """Divides the student's cosines. 0: fitted without labels, so that its mean confidence on training photographs is
    the teacher's; that says nothing of a single photograph, and where the teacher is too sure, so is the student."""
    fit_images: int = 2000
    """Most training photographs, drawn by the seed, on which the temperature is fitted."""
    thumbnails: int = 2000
    """Most photographs that are shown small on the page of names; the others have their rows without a picture."""

    def __post_init__(self) -> None:
        require(self.top >= 1, f"name.top must be at least 1, got {self.top}")
        require(0 <= self.unsure <= 1, f"name.unsure must be from 0 to 1, got {self.unsure}")
        require(self.temperature >= 0, f"name.temperature must be 0 (fitted) or above, got {self.temperature}")
        require(self.fit_images >= 1, f"name.fit_images must be at least 1, got {self.fit_images}")
        require(self.thumbnails >= 0, f"name.thumbnails must be 0 or more, got {self.thumbnails}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscoverConfig:
    """How clusters are found for which no name fits."""

    clusters: int = 0
    """How many clusters of all photographs; 0: one and a half times as many as names, and at most a tenth as many as
    photographs."""
    below: float = 0.75
    """No name fits a cluster whose best name has less than this share of what the best names of clusters usually have:
    the mean probability over the cluster's photographs, beside the median over clusters."""
    typical: int = 8
    """Photographs of each such cluster that are shown, those nearest to its middle."""
    pictures: int = 4
    """How many of them a language model is shown with --ask."""

    def __post_init__(self) -> None:
        require(self.clusters >= 0, f"discover.clusters must be 0 or more, got {self.clusters}")
        require(self.below >= 0, f"discover.below must be 0 or more, got {self.below}")
        for name in ("typical", "pictures"):
            require(getattr(self, name) >= 1, f"discover.{name} must be at least 1, got {getattr(self, name)}")
