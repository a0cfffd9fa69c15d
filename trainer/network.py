"""The encoder as a torch network: load, run, save. What is trained, and the float32 reference of every export.

It knows pooling and lengths; it does not know labels, splits or how training goes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from storage.errors import ConfigurationError
from trainer.bases import BERT_FAMILY, EncoderSettings, is_published, read_settings
from trainer.model.quieter import SHARE, counts_less

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
BATCH = 64
ATTENTION = "eager"
"""For short texts plain products are a tenth quicker on a CPU than torch's fused attention."""


class Network(nn.Module):
    """A transformers encoder with pooling: token ids to unit vectors."""

    def __init__(self, directory: Path) -> None:
        """Load config.json, model.safetensors and tokenizer.json of `directory` in float32.

        What attention adds in the packaged encoder's upper layers counts less than published
        (`trainer.model.quieter`); what was trained or saved since has it in its weights.

        Raises:
            ConfigurationError: a file is damaged, or weights are not those that config.json describes.
        """
        super().__init__()
        self.settings: EncoderSettings = read_settings(directory)
        self.source = directory
        self.body, self.tokenizer = _load(directory)
        if is_published(directory):
            self._quieten()
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length=self.settings.max_tokens)
        self.eval()

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The transformer blocks, lowest first; empty where they cannot be run one by one."""
        return list(self.body.encoder.layer) if self.settings.model_type in BERT_FAMILY else []

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids per text, cut at max_tokens, not padded."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """int64 [b, s] ids and their mask to float32 [b, d] unit vectors."""
        return self.pool(self.body(input_ids=ids, attention_mask=mask).last_hidden_state, mask)

    def run_layers(self, hidden: Tensor, mask: Tensor, layers: Sequence[nn.Module]) -> Tensor:
        """[b, s, d] hidden states through some of the blocks."""
        bias = (1.0 - mask[:, None, None, :].to(hidden.dtype)) * torch.finfo(hidden.dtype).min
        for layer in layers:
            found = layer(hidden, bias)
            hidden = found[0] if isinstance(found, tuple) else found
        return hidden

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """[b, s, d] to [b, d], L2 norm 1, in float32."""
        hidden = hidden.float()
        if self.settings.pooling == "cls":
            return functional.normalize(hidden[:, 0], dim=-1)
        weights = mask.unsqueeze(-1).float()
        return functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)

    @torch.no_grad()
    def embed(self, texts: Sequence[str], on_batch: Callable[[], None] = lambda: None) -> NDArray[np.float32]:
        """Float32 vectors [n, d] of the texts, in batches of similar length; `on_batch` is called after each."""
        tokens = self.tokenize(texts)
        order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
        vectors = np.zeros((len(texts), self.settings.dimensions), np.float32)
        device = next(self.parameters()).device
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            ids, mask = pad([tokens[index] for index in chosen], self.padding)
            vectors[chosen] = self(ids.to(device), mask.to(device)).cpu().numpy()
            on_batch()
        return vectors

    @torch.no_grad()
    def peaks(self, texts: Sequence[str]) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        """The largest absolute input of every linear layer over the tokens of `texts`: [inputs] by the layer's name.

        And the texts' vectors [n, d], which come along.
        """
        found: dict[str, NDArray[np.float32]] = {}

        def note(name: str, inputs: Tensor) -> None:
            peak = inputs.detach().flatten(0, -2).abs().amax(0).float().cpu().numpy()
            found[name] = np.maximum(found[name], peak) if name in found else peak

        hooks = [
            module.register_forward_pre_hook(lambda _, inputs, name=name: note(name, inputs[0]))
            for name, module in self.body.named_modules()
            if isinstance(module, nn.Linear)
        ]
        try:
            # One by one: padding has inputs, too. Two threads would wait for each other most of the time.
            with one_thread():
                vectors = np.concatenate([self.embed([text]) for text in texts])
        finally:
            for hook in hooks:
                hook.remove()
        return found, vectors

    def as_loaded(self) -> Network:
        """The same network where and how one is that was read from its files, whatever it was trained on."""
        self.to("cpu").eval()
        if self.body.config._attn_implementation != ATTENTION:
            self.body.set_attn_implementation(ATTENTION)
        return self

    @torch.no_grad()
    def _quieten(self) -> None:
        for name, parameter in self.body.named_parameters():
            if counts_less(name):
                parameter.mul_(SHARE)

    @property
    def padding(self) -> int:
        return int(self.body.config.pad_token_id or 0)

    def save(self, directory: Path) -> None:
        """Write weights, configuration, tokenizer, pooling and length, so that `Network(directory)` is the same."""
        directory.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.body.state_dict().items()}
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        for name in ("config.json", *TOKENIZER_FILES):
            if (self.source / name).is_file():
                shutil.copyfile(self.source / name, directory / name)
        (directory / "encoder.json").write_text(json.dumps(self.settings.described()), encoding="utf-8")


def _load(directory: Path) -> tuple[Any, Tokenizer]:
    try:
        with _Quiet():
            body, report = transformers.AutoModel.from_pretrained(
                directory,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation=ATTENTION,
                output_loading_info=True,
            )
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the libraries raise bare Exception subclasses of their own
        if "memory" in str(error):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigurationError(f"The encoder in {directory} cannot be loaded: {first}") from error
    # The library fills what is missing with random numbers; only the pooler is not used.
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if missing:
        others = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ConfigurationError(
            f"The weights in {directory} lack {', '.join(missing[:3])}{others}, which its config.json promises."
        )
    return body, tokenizer


def pad(sequences: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Token lists to int64 ids [b, longest] and their int64 mask."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), padding, dtype=torch.long)
    mask = torch.zeros((len(sequences), longest), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    return ids, mask


@contextmanager
def one_thread() -> Iterator[None]:
    """For many small products in a row: they come out the same, in less than half of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Quiet:
    """Silences the library's load report and progress bar: unused pooler weights are no news."""

    def __enter__(self) -> None:
        self._level = transformers.logging.get_verbosity()
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        transformers.logging.set_verbosity(self._level)
