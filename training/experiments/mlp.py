"""`mlp`: Ioffe & Szegedy 2015, section 4.1, and the headline of their section 4.2 at its scale.

Three sigmoid layers of 100, batches of 60, 50,000 steps. The paper gives neither the learning rate
nor the width of the initial weights; here each network's rate is chosen by a sweep of its own.
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from training.experiments.digits import Digits
from training.experiments.experiment import Experiment, Results
from training.experiments.lab import Lab, Part
from training.experiments.mlp_section import score, section
from training.experiments.networks import Mlp
from training.experiments.optimize import History, Plan, descend

PERCENTILES = (0.15, 0.50, 0.85)
OBSERVED = 1000  # test images that the percentiles are taken over


@dataclass(frozen=True, slots=True)
class Config:
    """`rates` are swept for `sweep_steps` with a seed of their own, the best taken for the runs."""

    seed: int = 0
    seeds: int = 3
    steps: int = 50_000
    every: int = 100
    batch: int = 60
    std: float = 0.1
    sweep_steps: int = 10_000
    rates: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)


def run(lab: Lab, config: Config) -> Results:
    """The sweeps, then each network with its best rate and BN also with the plain one's."""
    best: dict[str, tuple[float, float]] = {}
    sweeps: Results = {}
    for kind, rate in product(("plain", "batch"), config.rates):
        name = f"sweep-{kind}-rate{rate:g}"
        sweeps[name] = _trained(lab, config, name, kind, rate, seed=config.seed + 1000)
        best[kind] = max(best.get(kind, (0.0, rate)), (score(sweeps[name]["history"]), rate))
    rates = {"plain": best["plain"][1], "same": best["plain"][1], "tuned": best["batch"][1]}
    runs: Results = {}
    for role, seed in product(rates, range(config.seed, config.seed + config.seeds)):
        kind = "plain" if role == "plain" else "batch"
        name = f"{kind}-rate{rates[role]:g}-seed{seed}"
        runs.setdefault(role, {})[str(seed)] = _trained(
            lab, config, name, kind, rates[role], seed=seed
        )
    return {"sweeps": sweeps, "rates": rates, "runs": runs}


def _trained(lab: Lab, config: Config, name: str, kind: str, rate: float, *, seed: int) -> Results:
    steps = config.sweep_steps if name.startswith("sweep") else config.steps

    def work(part: Part) -> Results:
        network = Mlp(None if kind == "plain" else nn.BatchNorm1d, std=config.std)
        plan = Plan(steps, config.batch, rate, config.every, seed)
        return {"rate": rate, "history": _observed(part, network, lab.digits, plan)}

    return lab.part(name, work, seed=seed)


def _observed(part: Part, network: Mlp, data: Digits, plan: Plan) -> History:
    """Trains, and takes the percentiles of the first unit's input in the last hidden layer."""
    images, shares = data.test_images[:OBSERVED], torch.tensor(PERCENTILES)
    last = int(network.pre_activations[-1].rpartition(".")[2]) + 1

    def observe(step: int, chosen: Tensor) -> dict[str, float]:
        network.eval()
        with torch.no_grad():
            values = network.hidden[:last](images)[:, 0]
        network.train()
        names = [f"p{100 * share:.0f}" for share in PERCENTILES]
        return dict(zip(names, values.quantile(shares).tolist(), strict=True))

    return descend(part, network, data, plan, observe)


EXPERIMENT = Experiment(
    name="mlp",
    title="Three sigmoid layers of 100 (Ioffe & Szegedy, section 4.1)",
    setup=(
        "784–100–100–100–10, sigmoid; with batch normalization z = g(BN(Wu)), without z = g(Wu + "
        "b). MNIST from 0 to 1, cross-entropy, plain SGD at a constant rate, weights from N(0, "
        "std²), batches of 60. The paper does not give rate and std: the rate of each network is "
        "the best of a sweep with another seed, judged by its last test accuracies. Test accuracy "
        "is taken every 100 steps with moving averages, the percentiles over 1,000 test images."
    ),
    full=Config(),
    quick=Config(seeds=1, steps=1500, every=50, sweep_steps=200, rates=(0.5,)),
    run=run,
    section=section,
)
