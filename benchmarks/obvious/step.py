"""The training step as one would first write it, after the reference implementation, with momentum once a step.

Plain about it: each contrastive term encodes its own pair, so that the first whole view passes the query encoder twice
and the second object view the key encoder twice; the teacher's parameters want gradients, and so its needless backward
pass is computed; the key encoder follows weight by weight in a loop; negatives are copied before they are scored; every
term is fetched from the device for the log; pictures lie as NCHW in memory.

Shape letters: B batch, C classes, D embedding, F feature channels, H W rows and columns, K negatives.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The numbers of the method."""

    contrastive_temperature: float = 0.27
    distillation_temperature: float = 0.02
    alpha: float = 0.5
    global_object: float = 0.1
    distillation: float = 3.2
    alignment: float = 0.016
    key_momentum: float = 0.997
    learning_rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 5e-4


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What the step runs; each is fed with normalised pictures."""

    query: nn.Module
    """To maps (B, F, H, W)."""
    query_projector: nn.Module
    """(B, F) to (B, D)."""
    key: nn.Module
    """As ``query``; follows it."""
    key_projector: nn.Module
    """As ``query_projector``; follows it."""
    attention: nn.Module
    """Maps (B, F, H, W) to (B, H, W), 0 or more."""
    teacher: nn.Module
    """To embeddings (B, D); its parameters want gradients."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Mean and standard deviation of pixels, three of each."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalize(self, pictures: Tensor, dtype: torch.dtype) -> Tensor:
        """uint8 or [0, 1] to normalised pictures."""
        pixels = pictures.to(dtype) / 255 if pictures.dtype == torch.uint8 else pictures
        mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (pixels - mean) / std


@dataclass(kw_only=True)
class ObviousStep:
    """Trains on one batch a call."""

    networks: Networks
    prototypes: Tensor
    """Unit rows, (C, D)."""
    queues: dict[str, Tensor]
    """``global`` and ``object``, unit rows, (K, D) each."""
    pixels: Statistics
    """Of the query and key encoders."""
    teacher_pixels: Statistics
    settings: Settings = field(default_factory=Settings)
    place: int = 0
    """Row of the queues that the next key overwrites."""

    def __post_init__(self) -> None:
        nets, settings = self.networks, self.settings
        learning = [*nets.query.parameters(), *nets.query_projector.parameters(), *nets.attention.parameters()]
        self.optimizer = torch.optim.SGD(
            learning, lr=settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
        )

    def __call__(self, views: Mapping[str, Tensor]) -> dict[str, float]:
        """Train on ``global_1``, ``global_2``, ``object_1``, ``object_2``, (B, 3, S, S) each; return the terms."""
        self._update_key()
        losses, entropy, feature_map, keys = self._losses(views)

        unsure = entropy.detach() ** 2
        settings = self.settings
        parts = {
            "global_global": settings.alpha * (unsure * losses["global_global"]).mean(),
            "global_object": settings.alpha * settings.global_object * (unsure * losses["global_object"]).mean(),
            "object_object": settings.alpha * (unsure * losses["object_object"]).mean(),
            "distillation": settings.distillation * ((1 - unsure) * losses["distillation"]).mean(),
        }
        parts["alignment"] = settings.alignment * self._alignment(parts["object_object"], feature_map).mean()
        loss = torch.stack(list(parts.values())).sum()

        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch types it not
        self.optimizer.step()
        self._push(keys)
        told = {name: part.item() for name, part in parts.items()}
        return told | {"loss": loss.item()}

    def _losses(self, views: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor, Tensor, dict[str, Tensor]]:
        """Score every pair and the teacher's view; one loss a sample."""
        losses, keys = {}, {}
        feature_map = torch.empty(0)
        for term, query_view, key_view, queue in (
            ("global_global", "global_1", "global_2", "global"),
            ("global_object", "global_1", "object_2", "object"),
            ("object_object", "object_1", "object_2", "object"),
        ):
            feature_map, query = self._query(views[query_view])
            keys[queue] = key = self._key(views[key_view])
            losses[term] = self._contrast(query, key, self.queues[queue].clone())

        answer = self._answer(query)
        seen = self.networks.teacher(self.teacher_pixels.normalize(views["object_1"], self.prototypes.dtype))
        taught = self._answer(F.normalize(seen, dim=1))
        losses["distillation"] = F.kl_div(answer, taught, reduction="none", log_target=True).sum(dim=1)
        entropy = -(taught.exp() * taught).sum(dim=1) / math.log(len(self.prototypes))
        return losses, entropy, feature_map, keys

    def _query(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        feature_map = self.networks.query(self.pixels.normalize(pictures, self.prototypes.dtype))
        pooled = F.adaptive_avg_pool2d(feature_map, 1).flatten(1)
        return feature_map, F.normalize(self.networks.query_projector(pooled), dim=1)

    @torch.no_grad()
    def _key(self, pictures: Tensor) -> Tensor:
        feature_map = self.networks.key(self.pixels.normalize(pictures, self.prototypes.dtype))
        pooled = F.adaptive_avg_pool2d(feature_map, 1).flatten(1)
        return F.normalize(self.networks.key_projector(pooled), dim=1)

    def _contrast(self, query: Tensor, key: Tensor, negatives: Tensor) -> Tensor:
        positive = torch.einsum("bd,bd->b", query, key).unsqueeze(1)
        logits = torch.cat([positive, query @ negatives.T], dim=1) / self.settings.contrastive_temperature
        return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device), reduction="none")

    def _answer(self, embedding: Tensor) -> Tensor:
        """Logarithms of the distribution over the prototypes, (B, C)."""
        return F.log_softmax(embedding @ self.prototypes.T / self.settings.distillation_temperature, dim=1)

    def _alignment(self, evidence: Tensor, feature_map: Tensor) -> Tensor:
        """KL of each row of Grad-CAM with that of the attention map, summed over the rows, (B,)."""
        (gradient,) = torch.autograd.grad(evidence, feature_map, retain_graph=True)
        cam = F.relu((feature_map * gradient).sum(dim=1))
        raw = self.networks.attention(feature_map)
        above = raw - raw.amin(dim=(1, 2), keepdim=True)
        scaled = above / (1e-7 + above.amax(dim=(1, 2), keepdim=True))
        target, attention = F.log_softmax(cam, dim=2), F.log_softmax(scaled, dim=2)
        return F.kl_div(attention, target, reduction="none", log_target=True).sum(dim=(1, 2))

    @torch.no_grad()
    def _update_key(self) -> None:
        nets, keep = self.networks, self.settings.key_momentum
        for query, key in ((nets.query, nets.key), (nets.query_projector, nets.key_projector)):
            for from_query, of_key in zip(query.parameters(), key.parameters(), strict=True):
                of_key.data = of_key.data * keep + from_query.data * (1 - keep)

    @torch.no_grad()
    def _push(self, keys: Mapping[str, Tensor]) -> None:
        """Overwrite the oldest keys; the batch divides the queue."""
        for name, key in keys.items():
            self.queues[name][self.place : self.place + len(key)] = key
        self.place = (self.place + len(key)) % len(self.queues["global"])
