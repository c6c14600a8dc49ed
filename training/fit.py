"""The training loop. Each step depends on the configuration, the weights and the step's number.

Shuffling is seeded by the epoch, augmentation and dropout by the step: a run that is interrupted
and resumed anywhere reaches the same numbers as one that was not.
"""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from training.checkpoint import FILE, Checkpoint, load_checkpoint
from training.config import TrainingConfig
from training.data import Dataset
from training.data.augment import augment
from training.errors import Interrupted, UnusableInput, WorkerLost
from training.evaluation import accuracy_on_test, as_tensor, standardize
from training.interrupts import stop_on_interrupt
from training.networks import build_for_training
from training.normalization import (
    DecorrelatedBatchNorm1d,
    DecorrelatedBatchNorm2d,
    SyncBatchNorm,
    synchronize,
)
from training.processes import ALONE, Team, gathered, joined_by_torchrun

Report = Callable[[Checkpoint, int], None]


def fit(
    config: TrainingConfig,
    data: Dataset,
    folder: Path,
    *,
    resume: bool,
    report: Report,
    processes: int = 1,
) -> tuple[nn.Module, Checkpoint]:
    """Trains `config` in `folder` and returns the network, in training mode, and its checkpoint.

    With several `processes` each mini-batch is shared out among them, and batch normalization is
    synchronized: up to rounding the numbers are those of one process.

    `report` is called after every step with the checkpoint's totals and the number of steps in
    all. Raises Interrupted, with a checkpoint saved, when the user asks to stop; UnusableInput when
    `folder` has another run, or has one and `resume` was not asked for; WorkerLost, with the last
    checkpoint as it was, when another process ends.
    """
    with torch.random.fork_rng(devices=[]), stop_on_interrupt() as stop:
        try:
            with gathered(processes, _follow, (config, data, folder)) as team:
                trainer = Trainer(config, data, folder, team)
                trainer.start(resume=resume)
                team.wait()
                _lead(trainer, stop, report)
        except WorkerLost as error:
            reached = load_checkpoint(folder).step
            raise WorkerLost(
                f"{error}; the checkpoint in {folder} is of step {reached}: go on with --resume"
            ) from None
    return trainer.network, trainer.checkpoint


def _lead(trainer: "Trainer", stop: Event, report: Report) -> None:
    while trainer.checkpoint.step < trainer.steps:
        trainer.step()
        report(trainer.checkpoint, trainer.steps)
        if stop.is_set():
            trainer.save()
            raise Interrupted(
                f"stopped after step {trainer.checkpoint.step} of {trainer.steps}; "
                "go on with --resume"
            )
    trainer.save()


def follow(config: TrainingConfig, data: Dataset, folder: Path) -> None:
    """The part of a process that torchrun has started beside the leader."""
    with joined_by_torchrun() as team:
        _follow(team, config, data, folder)


def _follow(team: Team, config: TrainingConfig, data: Dataset, folder: Path) -> None:
    """All steps of a run that another process leads; whether to stop is for that one to say."""
    with torch.random.fork_rng(devices=[]), stop_on_interrupt():
        trainer = Trainer(config, data, folder, team)
        team.wait()  # until the leader has made or read the checkpoint
        trainer.start(resume=True)
        try:
            while trainer.checkpoint.step < trainer.steps:
                trainer.step()
        except RuntimeError as error:
            if "gloo" not in str(error):
                raise
            raise Interrupted("the process that led the run has ended") from None


class Trainer:
    """One run: the network, its optimizer and its schedule, moved on step by step."""

    def __init__(
        self, config: TrainingConfig, data: Dataset, folder: Path, team: Team = ALONE
    ) -> None:
        self.config, self.data, self.folder, self.team = config, data, folder, team
        torch.manual_seed(config.seed)
        self.network = build_for_training(config.network, config.norm).train()
        channels_last(self.network)
        if team.size > 1:
            self._synchronize()
        limit = config.train_images or len(data.train_images)
        self.images = as_tensor(data.train_images[:limit])
        self.labels = torch.from_numpy(data.train_labels[:limit].astype("int64"))
        self.steps_per_epoch = len(self.images) // config.batch_size  # the last, short one is left
        if not self.steps_per_epoch:
            raise UnusableInput(
                f"expected at least {config.batch_size} training images for one batch, got {limit}"
            )
        self.steps = config.epochs * self.steps_per_epoch
        self.optimizer = torch.optim.SGD(
            _decayed(self.network, config.weight_decay),
            lr=config.learning_rate,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
        )
        self.schedule = _schedule(self.optimizer, config, self.steps)
        self.order = torch.empty(0, dtype=torch.int64)
        self.checkpoint = Checkpoint(config, 0, {}, {}, {}, _no_totals())

    def _synchronize(self) -> None:
        """Batch normalization by the whole mini-batch; UnusableInput where a layer cannot."""
        size, rows = self.team.size, self.config.batch_size
        if rows < size:
            raise UnusableInput(f"expected batches of at least {size} for {size} processes: {rows}")
        synchronize(self.network)
        for name, layer in self.network.named_modules():
            own = isinstance(layer, _BatchNorm) and not isinstance(layer, SyncBatchNorm)
            if own or isinstance(layer, DecorrelatedBatchNorm1d | DecorrelatedBatchNorm2d):
                raise UnusableInput(
                    f"norm {self.config.norm} cannot be synchronized between {size} processes "
                    f"(layer '{name}'): expected torch-batch, own-batch, or one of each sample"
                )

    def start(self, *, resume: bool) -> None:
        """Begins anew, or goes on from the checkpoint in the folder."""
        if not (self.folder / FILE).exists():
            self.save()
            return
        if not resume:
            raise UnusableInput(f"{self.folder}: there is a run already; go on with --resume")
        found = load_checkpoint(self.folder)
        if found.config != self.config:
            raise UnusableInput(f"{self.folder}: the run there has another configuration")
        self.network.load_state_dict(found.model)
        self.optimizer.load_state_dict(found.optimizer)
        self.schedule.load_state_dict(found.schedule)
        self.checkpoint = found

    def step(self) -> None:
        """One optimizer step; at the end of an epoch also the test figures and a checkpoint."""
        started = time.monotonic()
        state, config = self.checkpoint, self.config
        epoch, position = divmod(state.step, self.steps_per_epoch)
        if position == 0 or not len(self.order):
            torch.manual_seed(_seed(config.seed, epoch, stream=1))
            self.order = torch.randperm(len(self.images))
        torch.manual_seed(_seed(config.seed, state.step, stream=2))
        chosen = self.order[position * config.batch_size :][: config.batch_size]
        images = augment(self.images[chosen].float() / 255, config.augmentation)
        labels = self.labels[chosen]
        mine = self.team.share(len(chosen))
        images, labels = images[mine], labels[mine]
        logits = self.network(standardize(images, self.data.source))
        loss = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        loss = loss * (len(labels) / len(chosen))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        right = (logits.argmax(1) == labels).sum()
        figures = self.team.add_up(self.network, torch.stack([loss.detach(), right]))
        self.optimizer.step()
        self.schedule.step()
        state.step += 1
        state.totals["loss"] += figures[0].item() * len(chosen)
        state.totals["correct"] += figures[1].item()
        state.totals["images"] += len(chosen)
        state.totals["seconds"] += time.monotonic() - started
        if position + 1 == self.steps_per_epoch:
            self._end_epoch(epoch + 1)

    def _end_epoch(self, epoch: int) -> None:
        totals = self.checkpoint.totals
        self.checkpoint.totals = _no_totals()
        if self.team.rank:
            return
        accuracy = accuracy_on_test(self.network, self.data)
        row = {
            "epoch": epoch,
            "loss": totals["loss"] / totals["images"],
            "train_accuracy": totals["correct"] / totals["images"],
            "test_accuracy": accuracy,
            "seconds": totals["seconds"],
        }
        self.checkpoint.history.append(row)
        self.save()

    def save(self) -> None:
        """Writes the checkpoint of the state as it is."""
        # Copies: the checkpoint must not follow the network when that is changed afterwards.
        self.checkpoint.model = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.checkpoint.optimizer = self.optimizer.state_dict()
        self.checkpoint.schedule = self.schedule.state_dict()
        self.checkpoint.save(self.folder)


def channels_last(network: nn.Module) -> None:
    """Lays convolution weights out as [O, H, W, I]: twice as fast on a CPU with these networks."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _decayed(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weights decay; biases and the scale and shift of normalization do not."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _schedule(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if config.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=config.learning_rate, total_steps=steps + 1, cycle_momentum=False
    )


def _seed(seed: int, number: int, stream: int) -> int:
    """Distinct, unrelated seeds for the streams of a run (O'Neill's seed_seq, as NumPy has it)."""
    return int(np.random.SeedSequence((seed, stream, number)).generate_state(1, np.uint64)[0] >> 1)


def _no_totals() -> dict[str, float]:
    return {"loss": 0.0, "correct": 0.0, "images": 0.0, "seconds": 0.0}
