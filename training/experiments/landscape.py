"""`landscape`: what BN does to the loss around the weights, and to activations by depth.

Santurkar et al. 2018: the range of the loss and the change of the gradient along the gradient, and
internal covariate shift as the change of a layer's gradient when the layers below are updated.
Bjorck et al. 2018: activations and gradients by depth at initialization.
"""

import copy
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.experiments.digits import Digits
from training.experiments.experiment import Experiment, Results
from training.experiments.lab import Lab, Part
from training.experiments.landscape_section import section
from training.experiments.networks import KINDS, Mlp
from training.experiments.optimize import Plan, descend


@dataclass(frozen=True, slots=True)
class Config:
    """Probes every `every` steps; `reaches` are step sizes downhill, in learning rates."""

    seed: int = 0
    depth: int = 5
    std: float = 0.14
    learning_rate: float = 0.1
    steps: int = 2_000
    every: int = 25
    batch: int = 128
    reaches: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
    blocks: int = 20
    rates: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)


class Residual(nn.Module):
    """`blocks` residual blocks h + ReLU(norm(Wh)) of 100 units, He's initialization."""

    def __init__(self, kind: str, blocks: int) -> None:
        super().__init__()
        self.first = nn.Linear(28 * 28, 100)
        norm = nn.BatchNorm1d if kind == "batch" else nn.Identity
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(100, 100), norm(100), nn.ReLU()) for _ in range(blocks)
        )
        self.last = nn.Linear(100, 10)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def features(self, image: Tensor) -> list[Tensor]:
        """The input of every block and of the last layer, each [N, 100]."""
        hidden = [self.first(image.flatten(1))]
        for block in self.blocks:
            hidden.append(hidden[-1] + block(hidden[-1]))
        return hidden

    def forward(self, image: Tensor) -> Tensor:
        """Images [N, 1, 28, 28] to logits [N, 10]."""
        logits: Tensor = self.last(self.features(image)[-1])
        return logits


def run(lab: Lab, config: Config) -> Results:
    """The bands along a training, and the depth profile before one."""
    results: Results = {"bands": {}, "depth": {}}
    for kind in KINDS:

        def bands(part: Part, kind: str = kind) -> Results:
            return _bands(part, config, lab.digits, kind)

        def depth(part: Part, kind: str = kind) -> Results:
            return _depth(config, lab.digits, kind)

        results["bands"][kind] = lab.part(f"bands-{kind}", bands, seed=config.seed)
        results["depth"][kind] = lab.part(f"depth-{kind}", depth, seed=config.seed)
    return results


def _bands(part: Part, config: Config, data: Digits, kind: str) -> Results:
    norm = None if kind == "plain" else nn.BatchNorm1d
    network = Mlp(norm, depth=config.depth, activation="relu", std=config.std)

    def observe(step: int, chosen: Tensor) -> dict[str, float]:
        images, labels = data.images[chosen], data.labels[chosen]
        probe = _along_gradient(network, images, labels, config)
        return probe | _covariate_shift(network, images, labels, config.learning_rate)

    plan = Plan(config.steps, config.batch, config.learning_rate, config.every, config.seed)
    return {"history": descend(part, network, data, plan, observe)}


def _gradient(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, list[Tensor]]:
    """Loss and gradient by the batch, as in training."""
    parameters = list(network.parameters())
    loss = F.cross_entropy(network(images), labels)
    return loss.item(), list(torch.autograd.grad(loss, parameters))


def _along_gradient(
    network: Mlp, images: Tensor, labels: Tensor, config: Config
) -> dict[str, float]:
    """Loss range and largest change of the gradient, at steps of `reaches` rates downhill."""
    probe = copy.deepcopy(network).train()
    start = [p.detach().clone() for p in probe.parameters()]
    loss, gradient = _gradient(probe, images, labels)
    losses, changes = [], []
    for reach in config.reaches:
        with torch.no_grad():
            for p, at, g in zip(probe.parameters(), start, gradient, strict=True):
                p.copy_(at - reach * config.learning_rate * g)
        there, its_gradient = _gradient(probe, images, labels)
        losses.append(there)
        changes.append(_norm([a - b for a, b in zip(its_gradient, gradient, strict=True)]))
    changes = [change / _norm(gradient) for change in changes]
    return {
        "band_low": min(losses),
        "band_high": max(losses),
        "band": max(losses) - min(losses),
        "band_relative": (max(losses) - min(losses)) / loss,
        "gradient_low": min(changes),
        "gradient_high": max(changes),
    }


def _covariate_shift(network: Mlp, images: Tensor, labels: Tensor, rate: float) -> dict[str, float]:
    """‖G - G'‖/‖G‖ and cos(G, G'), averaged over the hidden layers but the first.

    G is the gradient of a layer's weights; G' the same after the layers below took their step.
    """
    original = copy.deepcopy(network).train()
    _, before = _gradient(original, images, labels)
    names = [name for name, _ in original.named_parameters()]
    gradient = dict(zip(names, before, strict=True))
    weights = [name for name in names if name.startswith("hidden") and gradient[name].ndim == 2]
    moved = copy.deepcopy(original)
    own = dict(moved.named_parameters())
    differences, cosines, taken = [], [], 0
    for weight in weights[1:]:
        with torch.no_grad():
            for name in names[taken : names.index(weight)]:
                own[name].sub_(rate * gradient[name])
        taken = names.index(weight)
        loss = F.cross_entropy(moved(images), labels)
        (after,) = torch.autograd.grad(loss, own[weight])
        size = gradient[weight].norm()
        differences.append(float((after - gradient[weight]).norm() / size))
        cosines.append(float(F.cosine_similarity(after.flatten(), gradient[weight].flatten(), 0)))
    return {"shift": fmean(differences), "shift_cosine": fmean(cosines)}


def _norm(tensors: list[Tensor]) -> float:
    return float(torch.stack([tensor.norm() for tensor in tensors]).norm())


def _depth(config: Config, data: Digits, kind: str) -> Results:
    """Root mean square of activations and of their gradients by block; a step at each rate."""
    network = Residual(kind, config.blocks)
    images, labels = data.images[: config.batch], data.labels[: config.batch]
    hidden = network.features(images)
    loss = F.cross_entropy(network.last(hidden[-1]), labels)
    gradients = torch.autograd.grad(loss, hidden)
    steps = []
    start, gradient = _gradient(copy.deepcopy(network), images, labels)
    for rate in config.rates:
        moved = copy.deepcopy(network)
        with torch.no_grad():
            for p, g in zip(moved.parameters(), gradient, strict=True):
                p.sub_(rate * g)
        steps.append([rate, _gradient(moved, images, labels)[0] / start])
    return {
        "activations": [float(h.detach().square().mean().sqrt()) for h in hidden],
        "gradients": [float(g.square().mean().sqrt()) for g in gradients],
        "loss_after_step": steps,
    }


EXPERIMENT = Experiment(
    name="landscape",
    title="The loss around the weights (Santurkar et al., Bjorck et al.)",
    setup=(
        "784–(100)×5–10 with ReLU, weights from N(0, 0.14²) (He's width), MNIST from 0 to 1, plain "
        "SGD at 0.1, batches of 128. Every few steps, on the last batch: the loss and the gradient "
        "at 0.5 to 4 learning rates along the gradient, and each layer's gradient before and after "
        "the layers below it took their step. Then, untrained, 20 residual blocks of 100."
    ),
    full=Config(),
    quick=Config(steps=200, every=20),
    run=run,
    section=section,
)
