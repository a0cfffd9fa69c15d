"""The training loop: a generator that yields each step and leaves a trained network behind.

Head first, then the body (LP-FT): the head starts as class means plus label names over the pretrained encoder, so the
first gradients already come from a good classifier. The caller decides about progress and stopping, and gives the stage
of a checkpoint to go on from and to keep. It does not know snapshots, jobs or versions. Sources of the numbers:
trainer/LOG.md.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from storage.errors import TrainingFailed
from trainer.checkpoint import Saved, Stage, random_state, restore_random_state
from trainer.collectives import same_tensors, seed_step, slice_of, sum_gradients
from trainer.network import Network, pad

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

SORTED = 64
"""Batches that are drawn at random together and then sorted by length."""
FREQUENCY_REMOVED = 1.5
"""How much of the log frequency of a label's rows is taken out of its logit. Six neighbouring labels of BANKING77,
three with 2 rows and three with 150: recall of the rare ones 40 % without, 66 % with 1, 80 % with 1.5, 88 % with 2; of
the others 98, 98, 95 and 94 %. More than 1, because few rows are learned by heart and then look sure.
"""
SHORT_OF_MEMORY = (
    *("can't allocate memory", "not enough memory", "out of memory"),
    "can't start new thread",  # Python, where there is no room for a stack
    "could not create a primitive",  # oneDNN
)
AT_LEAST = {
    "epochs": 1,
    "continue_epochs": 1,
    "batch": 1,
    "least_steps": 1,
    "most_steps": 1,
    "scale": 1e-3,
    "workers": 1,
}
"""What a number of a recipe must reach, where 0 is not enough."""
AT_MOST = {"dropout": 0.9, "warm_up": 1.0, "fp32": 1, "workers": 64}


@dataclass(frozen=True)
class Recipe:
    """Every number of a training. A job may override any of them."""

    epochs: int = 10
    body_rate: float = 1e-4
    head_rate: float = 1e-3
    continue_epochs: int = 3
    """Epochs, and the body's rate below, when training goes on from a champion."""
    continue_rate: float = 5e-5
    continue_from: int = 2000
    """Train rows from which training goes on from the champion instead of from the base ..."""
    least_newer: int = 200
    """... if at least this many of them are newer than it: half of those are the evidence."""
    weight_decay: float = 0.01
    """On matrices; biases and norms have none."""
    batch: int = 32
    warm_up: float = 0.1
    """Share of the steps in which the rates rise from 0; afterwards they fall to 0 in a line."""
    clip: float = 1.0
    dropout: float = 0.1
    frozen_layers: int = 3
    """Lowest layers that stay as they are, with the embedding table: the same accuracy for 40 % less time. On a GPU
    everything is trained."""
    scale: float = 20.0
    """The cosine head's scale at the start."""
    name_weight: float = 8.0
    """How much a label's name counts in the head's first rows, in texts."""
    least_steps: int = 60
    most_steps: int = 3000
    """Bounds the time for large classifiers: about five minutes on two cores."""
    evidence: int = 600
    """Rows that shadows should answer for the candidate, if there are so many: with 200 a gain of 1.5 points is seen
    in one case of two, with 600 in three of four."""
    fp32: int = 0
    """1: encoders are exported in float32 instead of int8. Three times the time of an answer, four times the memory."""
    cache_bytes: int = 512 * 2**20
    """Hidden states of the frozen layers kept in memory at most; above it they are computed anew in every step."""
    checkpoint_seconds: float = 30.0
    """Between two checkpoints of the training loop: at most so much is done again after a crash."""
    workers: int = 1
    """Processes that share every batch, each on a GPU of its own where there are GPUs. Worth it for encoders of
    hundreds of millions of weights, with a larger batch; the result depends on the number."""

    @property
    def precision(self) -> str:
        """Of what is exported: "int8" or "fp32"."""
        return "fp32" if self.fp32 else "int8"

    @classmethod
    def of(cls, changes: dict[str, Any]) -> Recipe:
        """The defaults with `changes`.

        Raises:
            TrainingFailed: a field that does not exist, or a value of another type or out of bounds.
        """
        known = {field.name: field.type for field in fields(cls)}
        for name, value in changes.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if name not in known or not number or not AT_LEAST.get(name, 0) <= value <= AT_MOST.get(name, math.inf):
                raise TrainingFailed(f"The recipe cannot have {name} = {value!r}.")
        typed: dict[str, Any] = {name: int(v) if known[name] == "int" else float(v) for name, v in changes.items()}
        return cls(**typed)


@dataclass(frozen=True)
class Step:
    """One optimizer step that was done. Counts from 1."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


class CosineHead(nn.Module):
    """logits = scale * cosine(vector, row). Over unit vectors it is a linear head without bias."""

    def __init__(self, rows: Floats, scale: float) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.tensor(rows))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, vectors: Tensor) -> Tensor:
        return self.log_scale.exp() * vectors @ functional.normalize(self.rows, dim=-1).T

    @torch.no_grad()
    def weight(self) -> Floats:
        """[K, d] of the linear head that gives the same logits."""
        folded: Floats = (self.log_scale.exp() * functional.normalize(self.rows, dim=-1)).cpu().numpy()
        return folded


def first_rows(vectors: Floats, targets: NDArray[np.int64], names: Floats, name_weight: float) -> Floats:
    """Class means plus label names, [K, d] unit rows: where the head starts."""
    rows = np.float32(name_weight) * names
    np.add.at(rows, targets, vectors)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def count_steps(rows: int, recipe: Recipe, epochs: int) -> int:
    """Optimizer steps of a training."""
    return min(recipe.most_steps, max(recipe.least_steps, math.ceil(rows / recipe.batch) * epochs))


def finetune(
    network: Network,
    head: CosineHead,
    texts: Sequence[str],
    targets: NDArray[np.int64],
    recipe: Recipe,
    *,
    seed: int,
    continuing: bool = False,
    stage: Stage | None = None,
    on_batch: Callable[[], None] = lambda: None,
) -> Iterator[Step]:
    """Train `network` and `head` in place; yields after each step. Both end in evaluation mode.

    `on_batch` is called now and then before the first step, which large trainings take long to reach.

    Deterministic on a CPU for a seed and a number of threads, also when it goes on from what `stage` has kept. In a
    process group every rank calls it with the same arguments, rank 0 alone with a `stage`, and has the same in the end.

    Raises:
        TrainingFailed: the loss is not a finite number.
    """
    torch.manual_seed(seed)
    device = next(network.parameters()).device
    frozen = _freeze(network, recipe, device)
    if device.type != "cpu":
        network.body.set_attn_implementation("sdpa")
    lower = _Lower(network, network.tokenize(texts), frozen, recipe.cache_bytes, device, on_batch)
    epochs = recipe.continue_epochs if continuing else recipe.epochs
    steps = count_steps(len(texts), recipe, epochs)
    epochs = math.ceil(steps / math.ceil(len(texts) / recipe.batch))
    optimizer, schedule = _optimizer(network, head, recipe, steps, recipe.continue_rate if continuing else None)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    classes = torch.tensor(targets)
    frequency = _log_frequency(targets, len(head.rows)).to(device)
    _set_training(network, head, recipe.dropout)

    def add_gradients(chosen: NDArray[np.int64], share: float) -> Tensor:
        """Those of the rows at these positions, which are `share` of the batch; their part of its mean loss."""
        with _autocast(device):
            hidden, mask = lower.batch(chosen)
            hidden = network.run_layers(hidden, mask, network.layers[frozen:]) if frozen else hidden
        logits = head(network.pool(hidden, mask))
        loss = functional.cross_entropy(logits + frequency, classes[torch.as_tensor(chosen)].to(device)) * share
        loss.backward()
        return loss.detach()

    done = _restore(_agreed(stage), trained, optimizer, schedule)
    batches, pieces = _batches(lower.lengths, recipe.batch, steps, seed), Pieces(optimizer)
    for step, chosen in enumerate(islice(batches, done, None), start=done + 1):
        seed_step(seed, step)
        loss = sum_gradients(trained, pieces.add_up(slice_of(chosen), len(chosen), add_gradients).to(device))
        _clip(trained, recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        value = float(loss)  # only now: a GPU goes on computing until somebody wants to know
        if not math.isfinite(value):
            raise TrainingFailed(f"The loss became {value} in step {step} of {steps}; lower body_rate in the recipe.")
        if stage is not None:
            stage.offer(step, lambda: _state(trained, optimizer))
        yield Step(math.ceil(step / math.ceil(len(texts) / recipe.batch)), epochs, step, steps, value)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in trained):
        raise TrainingFailed(f"Weights are not finite after {steps} steps; lower body_rate in the recipe.")
    network.eval()
    head.eval()


class Pieces:
    """A batch in as many pieces as memory asks for: their gradients add up to those of the whole.

    Found by trying: where a piece does not fit, the batch and all after it are cut into twice as many.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self.count = 1

    def add_up(
        self, chosen: NDArray[np.int64], whole: int, add: Callable[[NDArray[np.int64], float], Tensor]
    ) -> Tensor:
        """What the rows `chosen`, of a batch of `whole`, give to its mean loss.

        Their gradients are added by `add(positions, share of the batch)`.

        Raises:
            MemoryError, RuntimeError: even single rows do not fit; and whatever else `add` raises.
        """
        while True:
            try:
                parts = [part for part in np.array_split(chosen, self.count) if len(part)]
                losses = [add(part, len(part) / whole) for part in parts]
                return torch.stack(losses).sum() if losses else torch.zeros(())
            except (MemoryError, RuntimeError) as error:
                if not is_short_of_memory(error) or self.count >= len(chosen):
                    raise
            self._optimizer.zero_grad()
            torch.cuda.empty_cache()
            self.count *= 2
            log.warning("batch.cut", extra={"pieces": self.count})


def is_short_of_memory(error: BaseException) -> bool:
    """Whether memory, of the machine or of the GPU, was not enough: torch says so in words of its own."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in SHORT_OF_MEMORY)


def _state(trained: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All that the next step depends on, but what a seed gives."""
    tensors = {f"weight.{index}": parameter.detach() for index, parameter in enumerate(trained)}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
    return tensors | random_state()


def _agreed(stage: Stage | None) -> Saved | None:
    """What rank 0 has kept, on every rank."""
    saved = None if stage is None else stage.read()
    tensors = same_tensors(None if saved is None else {**saved.tensors, "step": torch.tensor(saved.step)})
    return None if tensors is None else Saved(int(tensors.pop("step")), tensors)


def _restore(
    saved: Saved | None,
    trained: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
) -> int:
    """Bring everything to where it was kept; the steps that were done by then."""
    if saved is None:
        return 0
    with torch.no_grad():
        for index, parameter in enumerate(trained):
            parameter.copy_(saved.tensors[f"weight.{index}"])
    states: dict[int, dict[str, Tensor]] = {index: {} for index in range(len(trained))}
    for name, value in saved.tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            states[int(number)][key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
    schedule.load_state_dict(schedule.state_dict() | {"last_epoch": saved.step, "_step_count": saved.step + 1})
    for group, rate, factor in zip(optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True):
        group["lr"] = rate * factor(saved.step)
    restore_random_state(saved.tensors)
    log.info("training.resumed", extra={"step": saved.step})
    return saved.step


def _log_frequency(targets: NDArray[np.int64], classes: int) -> Tensor:
    """[K], added to the logits in training only: what is learned then answers as if all labels were equally frequent.

    Logit adjustment (Menon et al. 2021); 0 where all labels have as many rows. Rows come in the proportions in which
    somebody taught, not in those in which it will be asked.
    """
    counts = np.maximum(np.bincount(targets, minlength=classes), 1)
    return torch.tensor(FREQUENCY_REMOVED * np.log(counts / counts.mean()), dtype=torch.float32)


def _clip(parameters: Sequence[nn.Parameter], most: float) -> None:
    """`nn.utils.clip_grad_norm_`, which multiplies also by 1: 3 % of a step on a CPU."""
    norm = nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
    if not float(norm) + 1e-6 <= most:  # its own bound; also where it is no number
        nn.utils.clip_grads_with_norm_(parameters, most, norm)


class _Lower:
    """The part of the network that is not trained, run once per text where its output fits into memory."""

    def __init__(
        self,
        network: Network,
        tokens: list[list[int]],
        frozen: int,
        limit: int,
        device: torch.device,
        on_batch: Callable[[], None],
    ) -> None:
        self._network, self._tokens, self._frozen, self._device = network, tokens, frozen, device
        self.lengths = np.array([len(ids) for ids in tokens])
        size = int(self.lengths.sum()) * network.settings.dimensions * 2
        self._cache = self._run_all(on_batch) if frozen and size <= limit else None

    def batch(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Hidden states [b, s, d] of the texts at these positions, and their mask [b, s]."""
        ids, mask = pad([self._tokens[index] for index in chosen], self._network.padding)
        ids, mask = ids.to(self._device), mask.to(self._device)
        if self._cache is not None:
            states = nn.utils.rnn.pad_sequence([self._cache[index] for index in chosen], batch_first=True)
            return states.float(), mask
        if self._frozen:
            return self._run(ids, mask).float(), mask
        return self._network.body(input_ids=ids, attention_mask=mask).last_hidden_state, mask

    def _run_all(self, on_batch: Callable[[], None]) -> list[Tensor]:
        """Each text's states [tokens, d] in bfloat16, computed in batches of similar length."""
        order = sorted(range(len(self._tokens)), key=lambda index: len(self._tokens[index]))
        states: list[Tensor] = [torch.empty(0)] * len(order)
        for start in range(0, len(order), 64):
            chosen = order[start : start + 64]
            ids, mask = pad([self._tokens[index] for index in chosen], self._network.padding)
            with _autocast(self._device):
                hidden = self._run(ids.to(self._device), mask.to(self._device))
            for row, index in enumerate(chosen):
                states[index] = hidden[row, : len(self._tokens[index])].to(torch.bfloat16).clone()
            on_batch()
        return states

    @torch.no_grad()
    def _run(self, ids: Tensor, mask: Tensor) -> Tensor:
        # Without dropout, whether cached or not: a frozen part has nothing to regularise.
        layers = self._network.layers[: self._frozen]
        for module in (self._network.body.embeddings, *layers):
            module.eval()
        return self._network.run_layers(self._network.body.embeddings(input_ids=ids), mask, layers)


def _freeze(network: Network, recipe: Recipe, device: torch.device) -> int:
    """Freeze what the recipe freezes; the number of frozen layers (0: everything from the embeddings up is trained)."""
    network.requires_grad_(True)
    if device.type != "cpu" or not network.layers:
        return 0
    frozen = min(recipe.frozen_layers, len(network.layers) - 1)
    if frozen > 0:
        network.body.embeddings.requires_grad_(False)
        for layer in network.layers[:frozen]:
            layer.requires_grad_(False)
    return frozen


def _optimizer(
    network: Network, head: CosineHead, recipe: Recipe, steps: int, body_rate: float | None
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    body = [parameter for name, parameter in network.body.named_parameters() if "pooler" not in name]
    body = [parameter for parameter in body if parameter.requires_grad]
    rate = recipe.body_rate if body_rate is None else body_rate
    groups = [
        {"params": [p for p in body if p.ndim > 1], "lr": rate, "weight_decay": recipe.weight_decay},
        {"params": [p for p in body if p.ndim <= 1], "lr": rate, "weight_decay": 0.0},
        {"params": list(head.parameters()), "lr": recipe.head_rate, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, fused=True)
    rising = max(1, int(steps * recipe.warm_up))

    def factor(step: int) -> float:
        return (step + 1) / rising if step < rising else (steps - step) / max(1, steps - rising)

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _set_training(network: Network, head: CosineHead, dropout: float) -> None:
    network.train()
    head.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout


def _batches(lengths: NDArray[np.int64], size: int, steps: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """`steps` batches of positions; every row once per epoch, in a new order each time.

    Texts of similar length share a batch, because the longest decides what all of them cost: half the time of batches
    drawn at random (15 tokens a text on average, 42 in the longest of 32), and the same accuracy.
    """
    shuffle = np.random.default_rng(seed)
    done = 0
    while True:
        order = shuffle.permutation(len(lengths))
        groups = [order[start : start + size * SORTED] for start in range(0, len(order), size * SORTED)]
        ordered = [group[np.argsort(lengths[group], kind="stable")] for group in groups]
        batches = [group[start : start + size] for group in ordered for start in range(0, len(group), size)]
        for index in shuffle.permutation(len(batches)):
            if done == steps:
                return
            done += 1
            yield batches[index]


def _autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the hardware multiplies it: any recent GPU, CPUs with AVX-512 BF16 or AMX; else float32."""
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16, enabled=torch.cuda.is_bf16_supported())
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(torch.cpu.get_capabilities().get("avx512_bf16")))
