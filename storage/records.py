"""Every noun of the glossary as a frozen dataclass or an enum.

These are the only types that cross a border between packages. They hold data and say nothing about where it is
stored, how it is drawn or who asked for it. Times are Unix seconds (float, UTC); ids of Discord objects are strings.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum

MAX_TEXT = 4000
"""Characters in one text: what a Discord modal can carry. A longer one is refused, never cut."""

MAX_LABEL = 60
"""Characters in a label's name: fits a Discord button (80) with room for a confidence."""


class Source(StrEnum):
    """How a text reached us (Discord's policy treats them differently, so every example keeps its own)."""

    COMMAND = "command"
    MODAL = "modal"
    FILE = "file"
    API = "api"
    LESSON = "lesson"
    MESSAGE = "message"


class Split(StrEnum):
    """Given once, with the first label, and never changed. Golden rows are never trained on."""

    TRAIN = "train"
    GOLDEN = "golden"


class EventKind(StrEnum):
    """What a label event says. The current label of an example is computed from its events, never stored."""

    VOTE = "vote"
    """An annotator gives a label; their latest vote counts."""
    RULING = "ruling"
    """A lead settles the label; outranks votes."""
    RETRACTION = "retraction"
    """An annotator takes their own vote or ruling back (undo): it counts as if they had not labelled."""


class JobState(StrEnum):
    QUEUED = "queued"
    LEASED = "leased"
    RUNNING = "running"
    UPLOADING = "uploading"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATES


FINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.ABANDONED})

LEGAL_CHANGES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.LEASED, JobState.CANCELLED, JobState.FAILED, JobState.ABANDONED}),
    JobState.LEASED: frozenset(
        {JobState.RUNNING, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED, JobState.ABANDONED}
    ),
    JobState.RUNNING: frozenset(
        {JobState.UPLOADING, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED, JobState.ABANDONED}
    ),
    JobState.UPLOADING: frozenset(
        {JobState.SUCCEEDED, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED, JobState.ABANDONED}
    ),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.ABANDONED: frozenset(),
}
"""The state machine of a job. Going back to QUEUED is a retry: the next claim raises the attempt number."""


@dataclass(frozen=True, slots=True)
class Classifier:
    """A named task of one guild, with its labels and settings."""

    id: int
    guild: str
    name: str
    created_at: float
    created_by: str
    base: str
    """The base encoder its versions start from, as configured when it was created."""
    settings: ClassifierSettings = field(default_factory=lambda: ClassifierSettings())
    archived: bool = False
    based_on: Origin | None = None
    """Where its trainings start instead of at the pretrained encoder."""


@dataclass(frozen=True, slots=True)
class Origin:
    """One version of another classifier of the same guild, of which the weights of the encoder are carried over."""

    classifier_id: int
    classifier: str
    number: int
    artifact: str

    @property
    def name(self) -> str:
        """ "support v3"."""
        return f"{self.classifier} {version_name(self.number)}"


@dataclass(frozen=True, slots=True)
class ClassifierSettings:
    """What a lead may change about one classifier. Stored as JSON; unknown keys are ignored, missing ones default."""

    precision: float | None = None
    """Share in (0, 1) of the given answers that should be right, the others being "not sure"; None: the threshold that
    came with the head decides."""
    team_channel: str | None = None
    """Channel id for team events (training progress, results); None: where the training was asked for."""
    learn_from_questions: bool = False
    """Whether texts asked through /ask enter the pool of unlabelled texts."""


@dataclass(frozen=True, slots=True)
class GuildSettings:
    """What the leads of one guild chose for all its classifiers. Roles are ids of Discord."""

    lead_role: str | None = None
    """Whoever has it is a lead, as is whoever manages the server."""
    member_role: str | None = None
    """Who may label and teach; None: everyone."""
    setup_step: int = 1
    """Where `/setup` goes on: the number of its step, from 1."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is stored about one person in one guild, in counts."""

    texts: int
    """Submitted by them, with or without a label."""
    label_events: int
    """Labels given and taken back."""
    questions: int
    feedback: int
    decisions: int
    """Classifiers created, trainings asked for, versions promoted."""
    name: str | None
    """The display name kept for histories."""
    since: float | None
    """Of the oldest of all these; None: there are none."""
    rounds: int = 0
    """Rounds of questions."""
    imports: int = 0
    """Records and previews of imports."""

    @property
    def anything(self) -> bool:
        """Whether there is something that can be forgotten."""
        counts = (self.texts, self.label_events, self.questions, self.feedback, self.rounds, self.imports)
        return any(counts) or bool(self.name)


@dataclass(frozen=True, slots=True)
class Erasure:
    """What forgetting one person deletes or has deleted."""

    texts: int
    """Deleted: nobody else has labelled them."""
    kept_texts: int
    """Submitted by this person and labelled by others too: they stay, without saying who submitted them."""
    label_events: int
    questions: int
    feedback: int
    name: bool = False
    """Whether a display name is kept."""
    pins: int = 0
    proposals: int = 0
    """Texts typed with a label that did not exist."""
    imports: int = 0
    """Records and previews of imports."""
    rounds: int = 0
    """Rounds of questions."""
    classifiers: frozenset[int] = frozenset()
    """Ids of those whose labels changed."""
    hashes: frozenset[str] = frozenset()
    """Of the deleted texts."""
    snapshots: frozenset[str] = frozenset()
    """Those that hold a deleted text, or one whose label from this person was deleted."""
    doomed: frozenset[str] = frozenset()
    """Those of them that hold a deleted text."""


@dataclass(frozen=True, slots=True)
class Label:
    """A class name of a classifier. The id outlives renames."""

    id: int
    guild: str
    classifier_id: int
    name: str
    description: str = ""
    position: int = 0
    """Order of creation within the classifier, from 0."""
    archived: bool = False
    merged_into: int | None = None
    """Id of the label that speaks for this one, which is then archived."""


@dataclass(frozen=True, slots=True)
class Example:
    """A text someone submitted, unique per classifier by its normalised form."""

    id: int
    guild: str
    classifier_id: int
    text: str
    source: Source
    split: Split | None
    """None until the first label."""
    submitted_by: str
    created_at: float


@dataclass(frozen=True, slots=True)
class PoolText:
    """A text that waits for its first label."""

    example_id: int
    text: str
    hash: str


@dataclass(frozen=True, slots=True)
class Round:
    """One person's sitting of `/teach`: so many questions, one after the other."""

    id: str
    """Random hex: buttons carry it, so a guess must not find another person's."""
    guild: str
    classifier_id: int
    annotator: str
    wanted: int
    """Questions at most."""
    created_at: float


class Outcome(StrEnum):
    """What became of a question."""

    LABELLED = "labelled"
    UNSURE = "unsure"
    """This person cannot tell. Others are asked; after two of them nobody is."""
    SKIPPED = "skipped"
    """This person does not want to; others are asked."""


@dataclass(frozen=True, slots=True)
class Question:
    """One text of a round."""

    round: str
    position: int
    """In the round, from 1."""
    example_id: int
    text: str
    picked_by_model: bool
    """A text that the model picked never becomes golden."""
    outcome: Outcome | None
    """None: not answered yet."""
    event_id: int | None
    """The label event it became."""


@dataclass(frozen=True, slots=True)
class LabelEvent:
    """Who gave which label when. Append-only."""

    id: int
    guild: str
    classifier_id: int
    example_id: int
    annotator: str
    kind: EventKind
    label_id: int | None
    """None exactly for a retraction."""
    undoes: int | None
    """The event a retraction answers; undoing an undo is a new vote."""
    source: Source
    batch: str | None
    """Groups the events of one import, so that it can be undone as a whole."""
    created_at: float


@dataclass(frozen=True, slots=True)
class LabelledText:
    """An example with its current label: one row of a snapshot."""

    example_id: int
    text: str
    label: str
    split: Split
    source: Source


@dataclass(frozen=True, slots=True)
class LabelCount:
    """How many current labels a label has. `conflicts` (ties) are counted under no label."""

    label: Label
    train: int
    golden: int

    @property
    def total(self) -> int:
        return self.train + self.golden


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Frozen labels. Immutable; the id is the sha256 of its file."""

    sha256: str
    guild: str
    classifier_id: int
    rows: int
    labels: tuple[str, ...]
    """Label names in order of position, also those that have no row yet: they are the rows of the head."""
    last_event_id: int
    """The newest label event it contains; later ones are "new since"."""
    created_at: float


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One training run, and what became of it."""

    id: str
    guild: str
    classifier_id: int
    key: str
    """sha256 over what is trained (snapshot, base, champion, recipe): unique among active and succeeded jobs."""
    snapshot: str
    champion: int
    """Version number that was serving when the job was made (0: no version yet)."""
    state: JobState
    attempt: int
    """Fencing token: grows with every claim; a write that carries an older one is refused."""
    requested_by: str
    reason: str
    created_at: float
    updated_at: float
    not_before: float = 0.0
    """Unix time before which the job is not claimed (back-off)."""
    channel_id: str | None = None
    """Where progress is shown."""
    message_id: str | None = None
    """The one progress message, so that it goes on after a restart."""
    last_event: int = 0
    """Sequence number of the newest trainer event that was applied."""
    progress: str | None = None
    """JSON of the newest `trainer.protocol.Progress`, for /train status after a restart."""
    error: str | None = None
    """One sentence for the person who asked, when the job failed or was abandoned."""
    artifact: str | None = None
    version: int | None = None
    """The model version it became, promoted or not."""


class VersionState(StrEnum):
    CANDIDATE = "candidate"
    """Trained, not live: the gate kept the champion, or a lead has yet to decide."""
    CHAMPION = "champion"
    RETIRED = "retired"
    """Was live once; its files are kept for rollback."""
    DAMAGED = "damaged"
    """Failed verification on load; never served."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One trained model of a classifier. Version 0 is not stored: it is the base encoder with the instant head."""

    guild: str
    classifier_id: int
    number: int
    artifact: str
    """sha256 of its manifest."""
    job_id: str | None
    snapshot: str
    last_event_id: int
    """Newest label event it was trained on."""
    labels: tuple[str, ...]
    decision: str
    """The gate's reason in words."""
    report: str
    """JSON of the `EvaluationReport`."""
    created_at: float
    state: VersionState = VersionState.CANDIDATE
    files_deleted_at: float | None = None
    """When its files were given up; it cannot answer any more."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A pinned test: a text whose answer must never be anything else than a label. Nothing is trained on it."""

    id: int
    guild: str
    classifier_id: int
    text: str
    label: str
    """The label's name now; a merged label's is that of the one it was merged into."""
    label_gone: bool
    """Whether that label is archived: then there is nothing to hold the answer to."""
    pinned_by: str
    """Annotator id."""
    name: str
    """Theirs."""
    at: float
    removed: bool = False


@dataclass(frozen=True, slots=True)
class PinOutcome:
    """What one version said to one pinned test."""

    pin_id: int
    said: str | None
    """Its best label, however sure; None: it was not asked, because the pin's label is archived."""
    confidence: float
    holds: bool
    held: bool
    """Whether the version that answered at that time had it right."""

    @property
    def newly_broken(self) -> bool:
        return self.said is not None and self.held and not self.holds


@dataclass(frozen=True, slots=True)
class ChangedAnswer:
    """A question somebody had asked, to which a version on trial says something else. The text stays where it is."""

    prediction_id: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What a version said when it was loaded aside, before it might go live, beside what answered then."""

    guild: str
    classifier_id: int
    number: int
    against: str
    """What answered: "v12+7"."""
    pins: tuple[PinOutcome, ...]
    questions: int
    """Recent questions that both were asked."""
    changed: tuple[ChangedAnswer, ...]
    """Those that they answer differently, the newest first."""
    at: float

    @property
    def broken(self) -> int:
        """How many pinned tests it breaks that held."""
        return sum(outcome.newly_broken for outcome in self.pins)


FALLBACK = "bot"
"""Who moved the pointer when files were damaged: nobody decided it."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """One change of a classifier's champion pointer."""

    id: int
    guild: str
    classifier_id: int
    number: int
    previous: int
    by: str
    """Annotator id, or "gate" for an automatic one."""
    reason: str
    created_at: float


@dataclass(frozen=True, slots=True)
class LabelScore:
    label: str
    confidence: float
    """Calibrated probability in [0, 1]; the scores of one answer sum to 1 over all labels."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer to one query, from exactly one model version."""

    id: str
    """Random hex: buttons carry it, so a guess must not find another guild's row."""
    guild: str
    classifier_id: int
    classifier: str
    scores: tuple[LabelScore, ...]
    """Best first, all labels of the version that answered."""
    abstained: bool
    version: str
    """Version and revision: "v12+7" (seven newer labels took part), "v12", or "v0+3" before any training."""
    milliseconds: float
    asked_by: str
    created_at: float
    text: str | None = None
    """Kept only for commands, so that Right and Wrong can become labels; None for captured messages."""
    taught: LabelledText | None = None
    """The example with exactly this text, when a person has labelled one; never used by evaluation."""
    cut: bool = False
    """Whether the text is longer than the encoder reads, so that its end did not count."""
    outside: bool = False
    """Whether the text looks like nothing that was taught: then the scores say only what lies nearest."""

    @property
    def is_guess(self) -> bool:
        """Whether no answer is given, only what comes nearest to one."""
        return self.abstained or self.outside

    @property
    def label(self) -> str:
        return self.scores[0].label

    @property
    def confidence(self) -> float:
        return self.scores[0].confidence

    @property
    def told(self) -> str:
        """The label that stands first in the reply: what the text was taught as, else the model's."""
        return self.label if self.taught is None else self.taught.label


@dataclass(frozen=True, slots=True)
class PairedOutcome:
    """One evaluated row: what the champion and the candidate answered, each without having trained on it."""

    example_id: int
    label: str
    split: Split
    champion: str
    candidate: str
    surer: float | None = None
    """The candidate's probability of the right label minus the champion's, both as served; in [-1, 1].

    None: not known. Twins answer for the two on train rows, and each of these is sure in its own way.
    """

    def __post_init__(self) -> None:
        # A report comes from another process, and a single boundless number would outvote every row.
        if self.surer is not None and not -1 <= self.surer <= 1:
            raise ValueError(f"a gain in probability lies between -1 and 1, and {self.surer} does not")


@dataclass(frozen=True, slots=True)
class LabelReport:
    label: str
    rows: int
    precision: float
    recall: float
    champion_recall: float


class CandidateKind(StrEnum):
    """How a candidate came about."""

    DEEP = "deep"
    """Fine-tuned: encoder and head."""
    INSTANT = "instant"
    """The head alone, over the base encoder."""


@dataclass(frozen=True, slots=True)
class Certainty:
    """How far the candidate's confidence can be trusted, over the rows of the report. Shares in [0, 1]."""

    calibration_error_before: float
    """What the calibration error was with the temperature 1."""
    coverage: float
    """Share of the rows that can be answered if `precision` of the answers have to be right; 0: too few to tell."""
    coverage_from: float | None
    """The confidence from which that holds."""
    precision: float
    turned_away: float
    """Share of the rows that were taken for texts without any label, although they have one."""
    strangers_caught: float
    """Share of some everyday texts about other things that are recognised as such."""


@dataclass(frozen=True, slots=True)
class Sureness:
    """From which confidence on a classifier answers, and what that meant where it was checked. Shares in [0, 1].

    Checked are labelled texts that the model was asked without having learned them.
    """

    precision: float | None
    """The share of right answers that a lead wants; None: nobody chose one."""
    threshold: float
    promised: bool
    """Whether the threshold keeps `precision`; if not, it is the one that came with the model."""
    checked: int
    answered: float
    """Share of the checked texts that reach the threshold."""
    right: float
    """Share of those whose answer was right."""


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Candidate and champion on the same rows, as served."""

    outcomes: tuple[PairedOutcome, ...]
    candidate_accuracy: float
    champion_accuracy: float
    candidate_macro_f1: float
    champion_macro_f1: float
    labels: tuple[LabelReport, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Candidate's counts, [true, predicted] in the order of `labels`."""
    calibration_error: float
    """Expected calibration error of the candidate over the outcomes, 15 equal-width bins."""
    champion: str
    """What the champion was: "v12+7"."""
    train_rows: int
    golden_rows: int
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall seconds by phase, time for shadow training included."""
    encoder_bytes: int = 0
    kind: CandidateKind = CandidateKind.DEEP
    other_accuracy: float | None = None
    """What a candidate of the other kind would have reached on the same train rows."""
    started_from: str = "base"
    """Where training began: the base encoder, the champion ("v12"), or a version of another classifier ("support v3").

    "base, because …" when it should have been another's version and could not.
    """
    certainty: Certainty | None = None
    milliseconds: float = 0.0
    """Median wall time of one text through the encoder, as served, one thread of the trainer's machine."""


@dataclass(frozen=True, slots=True)
class PromotionPolicy:
    """The gate's numbers. The defaults were chosen by simulation (see `bot.services.promotion`)."""

    minimum_gain: int = 3
    """At least this many more rows right than the champion ..."""
    sigma: float = 0.75
    """... and at least this many standard deviations of the gain."""
    golden_weight: int = 3
    """What a golden row counts, by how much surer of the right label the candidate is: it is answered by the very
    models, a train row by twins that have seen fewer texts, and a wrong label that both were taught."""
    class_loss: int = 3
    class_loss_share: float = 0.30
    """A class may not lose this many rows net if that is also this share of its evaluated rows ..."""
    many_classes: int = 20
    """... and one more row where more classes than this are evaluated: among many, one loses three by chance."""
    golden_loss: int = 2
    """On the golden set the candidate may lose at most this many rows net."""


@dataclass(frozen=True, slots=True)
class PromotionDecision:
    promote: bool
    reason: str
    """One sentence with its numbers, for people."""
    better: int
    """b: rows only the candidate has right."""
    worse: int
    """c: rows only the champion has right."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a classifier retrains by itself. `cron` and `after_labels` may both be set."""

    guild: str
    classifier_id: int
    cron: str | None
    """Five-field crontab, read in `timezone`."""
    after_labels: int | None
    """Retrain when at least this many labels are new since the last training."""
    timezone: str
    enabled: bool
    last_slot: str | None
    """The newest slot that was turned into a job: local nominal time, "2026-11-24T03:00"."""
    quiet: str | None = None
    """Hours of the day in `timezone` in which nothing starts by itself: "22:00-07:00"."""


def normalise(text: str) -> str:
    """The identity of a text: NFKC, case-folded, white space collapsed. Two texts that agree here are one example."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_hash(text: str) -> str:
    """sha256 hex of the normalised text."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()


def version_name(number: int, revision: int = 0) -> str:
    """("v12", 7 newer labels) → "v12+7"."""
    return f"v{number}+{revision}" if revision else f"v{number}"
