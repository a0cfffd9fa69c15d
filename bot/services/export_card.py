"""README.md of an exported version: what the folder is, how to call it, how near it comes. Counts, never texts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """What the page tells; see `export.Exported` and `trainer.model.head.Head` for the numbers."""

    name: str
    artifact: str
    base: str
    pooling: str
    max_tokens: int
    labels: int
    abstain_below: float
    temperature: float
    obstacle: str | None
    difference: float | None
    served_difference: float | None
    texts: int


def write(facts: Facts) -> str:
    """The whole page."""
    middle = _classifier(facts) if facts.obstacle is None else _parts(facts)
    return f"""---
library_name: transformers
pipeline_tag: text-classification
---

# {_line(facts.name)}

A text classifier with {facts.labels} labels, trained by Pupil. Exported from the artifact `{facts.artifact[:12]}`.
Its base encoder is `{_line(facts.base)}`, whose licence goes on to hold.

{middle}
## What differs from the bot

- This is float32. The bot serves an int8 copy of the encoder{_served(facts)}.
- Labels that were given after this version was trained are not in it. The bot has them in its answers at once
  (a version like `v3+7`), this folder has what `v3` learned.
- Where the best probability is below {facts.abstain_below:.3f} the bot says "not sure", unless its lead has chosen
  how many of its answers should be right. That is left to you here.
- It knows only its labels. For other texts, and for languages other than the base encoder's, its answers mean little.
"""


def _classifier(facts: Facts) -> str:
    return f"""## Use

```python
from transformers import pipeline

classify = pipeline("text-classification", model="path/to/this/folder")
print(classify(["some text", "another"], truncation=True, top_k=None))
```

`truncation=True` cuts a text after {facts.max_tokens} tokens, as it was in training; without it the end of a long text
takes part, or the text is too long for the model. `AutoModelForSequenceClassification` and `AutoTokenizer` load it too.
The probabilities are calibrated: the temperature is in the weights. Keep it in float32: float16 overflows.

## What it is

A stock classifier of the transformers library; no code of ours runs. Pooling ({facts.pooling}), L2 norm and head of the
version are written as one more layer with hand-made weights, so the configuration has one layer more than the base. It
is made to answer, not to be trained on: for that take the artifact's own `model.safetensors`.

On {facts.texts} texts, the artifact's check texts and names of labels, its probabilities differ from those of the
version's float32 encoder and head by {facts.difference:.1e} at most. That was measured in NumPy when the folder was
written, and the layer was made with these texts in view: others may be a little further off.
"""


def _parts(facts: Facts) -> str:
    pooled = "state[:, 0]" if facts.pooling == "cls" else "(state * mask).sum(1) / mask.sum(1)"
    return f"""## What it is

An encoder and a head, not one stock classifier:
{_line(facts.obstacle or "")}.
`AutoModel` and `AutoTokenizer` load the encoder, a `pipeline` cannot answer with it. The labels are in
`head.safetensors`, which these lines read.

## Use

```python
import json
import torch
from safetensors import safe_open
from transformers import AutoModel, AutoTokenizer

folder = "path/to/this/folder"
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
with safe_open(folder + "/head.safetensors", "pt") as file:
    about, weight, bias = json.loads(file.metadata()["head"]), file.get_tensor("weight"), file.get_tensor("bias")
inputs = tokenizer(["some text", "another"], truncation=True, padding=True, return_tensors="pt")
with torch.no_grad():
    state, mask = model(**inputs).last_hidden_state, inputs["attention_mask"].unsqueeze(-1)
vectors = torch.nn.functional.normalize({pooled}, dim=-1)
probabilities = torch.softmax((vectors @ weight.T + bias) / about["temperature"], dim=-1)
print([about["labels"][best] for best in probabilities.argmax(-1).tolist()], probabilities)
```

The tokenizer cuts a text after {facts.max_tokens} tokens, as it was in training. The temperature,
{facts.temperature:.3f}, makes the probabilities calibrated.
"""


def _served(facts: Facts) -> str:
    if facts.served_difference is None:
        return ""
    return (
        f"; on the check texts that lie in the artifact its probabilities are up to {facts.served_difference:.3f} away"
    )


def _line(text: str) -> str:
    """A name inside a line of Markdown."""
    return " ".join(text.replace("`", "'").split())
