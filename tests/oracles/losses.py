"""The terms of the objective as the paper writes them: plain Python, one number at a time."""

import math

Row = list[float]
Map = list[list[float]]


def dot(first: Row, second: Row) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


def unit(row: Row) -> Row:
    length = math.sqrt(dot(row, row))
    return [value / length for value in row]


def softmax(row: Row) -> Row:
    largest = max(row)
    powers = [math.exp(value - largest) for value in row]
    return [power / math.fsum(powers) for power in powers]


def info_nce(query: Row, key: Row, negatives: list[Row], temperature: float) -> float:
    """Minus the log of the positive's share among all candidates."""
    scores = [dot(query, key) / temperature, *(dot(query, negative) / temperature for negative in negatives)]
    largest = max(scores)
    return largest + math.log(math.fsum(math.exp(score - largest) for score in scores)) - scores[0]


def distribution(embedding: Row, prototypes: list[Row], temperature: float) -> Row:
    return softmax([dot(embedding, prototype) / temperature for prototype in prototypes])


def normalized_entropy(probs: Row) -> float:
    return -math.fsum(p * math.log(p) for p in probs if p > 0) / math.log(len(probs))


def kl_divergence(target: Row, approximation: Row) -> float:
    return math.fsum(t * math.log(t / a) for t, a in zip(target, approximation, strict=True) if t > 0)


def grad_cam(channels: list[Map], gradients: list[Map]) -> Map:
    """Grad-CAM of one image: channels weighed by gradients, position by position, negative sums cut."""
    rows, columns = len(channels[0]), len(channels[0][0])
    return [
        [
            max(0.0, math.fsum(c[y][x] * g[y][x] for c, g in zip(channels, gradients, strict=True)))
            for x in range(columns)
        ]
        for y in range(rows)
    ]


def scale(raw: Map, low: float, high: float) -> Map:
    """Min-max scaling between given extremes, with the reference's guard against division by zero."""
    return [[(value - low) / (1e-7 + (high - low)) for value in row] for row in raw]


def attention_pool(channels: list[Map], attention: Map) -> Row:
    positions = len(attention) * len(attention[0])
    return unit(
        [
            math.fsum(
                value * weight
                for values, weights in zip(channel, attention, strict=True)
                for value, weight in zip(values, weights, strict=True)
            )
            / positions
            for channel in channels
        ]
    )


def alignment(cam: Map, attention: Map) -> float:
    """KL between the softmaxes of each row of the two maps, summed over rows."""
    return math.fsum(kl_divergence(softmax(target), softmax(seen)) for target, seen in zip(cam, attention, strict=True))


def structure(features: list[Row], first: list[Row], temperature: float) -> list[float]:
    """For each row, KL between its likeness to every other row at first and now."""

    def neighbours(rows: list[Row], asked: int) -> Row:
        me = unit(rows[asked])
        return softmax([dot(me, unit(row)) / temperature for place, row in enumerate(rows) if place != asked])

    return [kl_divergence(neighbours(first, i), neighbours(features, i)) for i in range(len(features))]


def effective_rank(singular_values: Row) -> float:
    """RankMe from singular values, with the 1e-7 of its paper."""
    shares = [value / math.fsum(singular_values) + 1e-7 for value in singular_values]
    return math.exp(-math.fsum(share * math.log(share) for share in shares))
