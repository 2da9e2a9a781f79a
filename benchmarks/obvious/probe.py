"""Linear probe with the backbone in every epoch.

Plain: in each epoch every training photograph is read, cropped at random and sent through the frozen network again, and
after it every test photograph is, to see how far the probe is.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

BATCH = 64


def linear_probe(
    backbone: nn.Module,
    classifier: nn.Linear,
    *,
    train_view: Callable[[int, int], Tensor],
    orders: Sequence[Tensor],
    labels: Tensor,
    test_view: Callable[[int], Tensor],
    test_labels: Tensor,
    learning_rate: float,
    batch_size: int,
) -> list[float]:
    """Train a classifier on a frozen backbone; return its test accuracy after each epoch.

    Args:
        backbone: Turns uint8 pictures (B, 3, S, S) to feature maps (B, F, h, w); nothing in it changes.
        classifier: The layer that is trained.
        train_view: Reads training photograph i and returns its random view of epoch e, by (e, i).
        orders: The order of the training photographs in each epoch.
        labels: Class numbers of the training photographs, shape (N,).
        test_view: Reads test photograph i and returns its view.
        test_labels: Class numbers of the test photographs, shape (M,).
        learning_rate: Of the first epochs; a tenth after 60 % of them, a hundredth after 80 %.
        batch_size: Photographs in a step; a last short batch is dropped.
    """
    backbone.eval()
    optimizer = torch.optim.SGD(classifier.parameters(), lr=learning_rate, momentum=0.9)
    curve = []
    for epoch, order in enumerate(orders):
        drops = (epoch >= 0.6 * len(orders)) + (epoch >= 0.8 * len(orders))
        optimizer.param_groups[0]["lr"] = learning_rate * 0.1**drops
        for start in range(0, len(order) - batch_size + 1, batch_size):
            batch = order[start : start + batch_size]
            features = encode(backbone, [train_view(epoch, int(place)) for place in batch])
            loss = cross_entropy(classifier(features), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch types it not
            optimizer.step()
        right = 0
        for start in range(0, len(test_labels), BATCH):
            rows = range(start, min(start + BATCH, len(test_labels)))
            scores = classifier(encode(backbone, [test_view(place) for place in rows]))
            right += int((scores.argmax(dim=1) == test_labels[rows.start : rows.stop]).sum())
        curve.append(right / len(test_labels))
    return curve


@torch.no_grad()
def encode(backbone: nn.Module, pictures: list[Tensor]) -> Tensor:
    """Return unit features, (B, F)."""
    feature_map: Tensor = backbone(torch.stack(pictures))
    return normalize(feature_map.mean(dim=(2, 3)), dim=1)
