"""Trains SetFit on one sample and answers the test texts. Runs in a virtual environment of its own, never in ours.

Reads {"encoder", "train", "test", "iterations", "batch", "epochs", "seed"} as JSON from standard input; prints
{"accuracy", "seconds", "steps", "versions"} as the last line. Seconds are processor seconds of the training alone.
"""

import json
import logging
import sys
import time
from importlib.metadata import version


def main() -> None:
    job = json.load(sys.stdin)
    logging.disable(logging.WARNING)
    from datasets import Dataset  # type: ignore[import-not-found]  # only in the environment of this script
    from setfit import SetFitModel, Trainer, TrainingArguments  # type: ignore[import-not-found]

    labels = sorted({label for _, label in job["train"]})
    number = {label: index for index, label in enumerate(labels)}
    model = SetFitModel.from_pretrained(job["encoder"], local_files_only=True)
    arguments = TrainingArguments(
        batch_size=job["batch"],
        num_epochs=job["epochs"],
        num_iterations=job["iterations"],
        seed=job["seed"],
        report_to="none",
        save_strategy="no",
    )
    rows = Dataset.from_dict(
        {"text": [text for text, _ in job["train"]], "label": [number[label] for _, label in job["train"]]}
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows)
    started = time.process_time()
    trainer.train()
    seconds = time.process_time() - started
    answers = [int(answer) for answer in model.predict([text for text, _ in job["test"]])]
    right = sum(answer == number[label] for answer, (_, label) in zip(answers, job["test"], strict=True))
    steps = trainer.st_trainer.state.global_step
    names = ("setfit", "sentence-transformers", "torch", "transformers")
    print(
        json.dumps(
            {
                "accuracy": right / len(answers),
                "seconds": seconds,
                "steps": steps,
                "versions": {name: version(name) for name in names},
            }
        )
    )


if __name__ == "__main__":
    main()
