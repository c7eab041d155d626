"""A run directory: ``run.json``, weights and checksums; published at once, read with suspicion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from featcache import FeatureStore, Selection
from heads.data.features import Features
from heads.data.fusion import check_columns, check_fusion
from heads.data.loading import load_features
from heads.data.tasks import Task, joint_tasks
from heads.errors import HeadsError
from heads.files.folder import hash_file, new_folder, prepare_out
from heads.head.kinds import head_class
from heads.head.protocol import FloatArray, Head, Prediction
from heads.head.threads import blas_on_one_thread
from heads.runs.likeness import Likeness, load_likeness
from heads.runs.record import Producer, RunRecord, format_record
from heads.runs.run_files import (
    HEAD_FOLDER,
    MAX_FILE,
    RECORD_FILE,
    check_files,
    known_files,
    open_contents,
    read_record,
)
from heads.verdicts.judging import Judgement, judge
from heads.verdicts.points import BALANCED, OperatingPoint

__all__ = ["Run", "load_run", "load_run_features", "prepare_run_out", "producers_of", "save_run"]


@dataclass(frozen=True)
class Run:
    """A fitted head with all that is needed to use it on other rows.

    Attributes
    ----------
    path : Path
        The run's folder.
    record : RunRecord
        The contents of ``run.json``.
    head : Head
    likeness : Likeness or None
        Tells what is unlike the training pictures; None of early runs.
    """

    path: Path
    record: RunRecord
    head: Head
    likeness: Likeness | None = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the head predicts."""
        return self.head.tasks

    @property
    def fusion(self) -> str:
        """How the modalities meet."""
        return self.record.config.fusion

    @property
    def threshold(self) -> float:
        """The threshold on raw P(AI): that of the operating point that is used where none is named."""
        return self.record.threshold

    @property
    def points(self) -> dict[str, OperatingPoint]:
        """The operating points by name: the threshold of the run, and those that were calibrated."""
        views = {s.view for modality, s in self.selections.items() if modality != "text"} or {"clean"}
        rules = self.record.verdicts
        threshold = self.threshold if rules.balanced is None else rules.balanced
        balanced = OperatingPoint(BALANCED, min(views), threshold, threshold)
        return {point.name: point for point in (balanced, *rules.points)}

    def point(self, name: str | None = None) -> OperatingPoint:
        """Return an operating point by its name; the default is the run's own choice."""
        points = self.points
        chosen = self.record.verdicts.point if name is None else name
        if chosen not in points:
            raise HeadsError(
                f"run {self.path} has no operating point {chosen!r:.80}, expected one of {', '.join(points)}: "
                f"heads calibrate makes others"
            )
        return points[chosen]

    @property
    def knows_generators(self) -> bool:
        """Whether the head tells generators apart."""
        return joint_tasks(self.tasks)[1] is not None

    def check_prior(self, prior: float | None) -> float | None:
        """Return the share of AI at which probabilities are given: the one asked for, or that of the fitted rows.

        Raises
        ------
        HeadsError
            If another is asked for than can be.
        """
        maps = self.record.verdicts.maps
        maps.p_ai(0.5, prior=prior)
        return maps.prior if prior is None else prior

    @property
    def selections(self) -> dict[str, Selection]:
        """The vectors that the head takes, by modality."""
        return {modality: producer.selection for modality, producer in self.record.producers.items()}

    def predict(self, features: Features) -> Prediction:
        """Return the class probabilities of rows that all have the modalities of the fusion."""
        X = features.matrix(self.fusion)
        widths = {modality: sum(selection.widths) for modality, selection in self.selections.items()}
        check_columns(X, self.fusion, widths=widths)
        return self.score(X)

    @blas_on_one_thread()
    def score(self, X: FloatArray) -> Prediction:
        """Return the class probabilities of a matrix of the fusion (n, d)."""
        return self.head.predict_proba(X)

    @blas_on_one_thread()
    def judge(
        self,
        prediction: Prediction,
        *,
        vectors: FloatArray | None = None,
        point: str | None = None,
        prior: float | None = None,
        abstain_novel: bool = False,
    ) -> Judgement:
        """Return verdicts on what `predict` returned, at an operating point; and probabilities at a prior.

        With the rows' ``vectors`` (n, d) it is said how novel they are; ``abstain_novel``: the novel ones are unsure.
        """
        rules = self.record.verdicts
        found = judge(prediction, self.tasks, point=self.point(point), maps=rules.maps, prior=prior, sets=rules.sets)
        p_value = None if vectors is None or self.likeness is None else self.likeness.novelty.p_value(vectors)
        return found.with_novelty(p_value, abstains=abstain_novel)

    def in_view(self, view: str) -> Run:
        """Return the same head and threshold for pictures' vectors of another view; captions have no views.

        Raises
        ------
        HeadsError
            If the head takes nothing that is made of pictures.
        """
        producers = dict(self.record.producers)
        if set(producers) == {"text"}:
            raise HeadsError(f"view {view!r}: the head of {self.path} takes captions alone, and those have no views")
        for modality, producer in producers.items():
            if modality != "text":
                producers[modality] = replace(producer, selection=replace(producer.selection, view=view))
        return replace(self, record=replace(self.record, producers=producers))


def producers_of(store: FeatureStore, selections: Mapping[str, Selection]) -> dict[str, Producer]:
    """Pair each selection with the fingerprint document of its producer."""
    return {m: Producer(selection, store.document(selection.fingerprint)) for m, selection in selections.items()}


def load_run_features(run: Run, store: FeatureStore, *, splits: Sequence[str] | None = None) -> Features:
    """Read the rows that a run is to be applied to; vectors of another producer are refused.

    Raises
    ------
    FingerprintMismatch
        If the store has no vectors of the producer, view and outputs that the head was fitted on.
    HeadsError
        If there are no rows.
    """
    check_fusion(run.fusion, store.modalities, where=f"cache {store.path}", is_fitted=True)
    for producer in run.record.producers.values():
        store.check(producer.selection, producer.document)
    features = load_features(store, run.selections, splits=splits, tasks=run.tasks)
    if len(features) == 0:
        raise HeadsError(f"cache {store.path} has no rows in split {', '.join(splits or ('any',))!r}")
    return features


def prepare_run_out(out: Path, *, overwrite: bool = False) -> None:
    """Undo what a killed command left at ``out``, and raise if a run must not be written there: before the work."""
    prepare_out(out, marker=RECORD_FILE, known=known_files, overwrite=overwrite)


def save_run(
    record: RunRecord,
    head: Head,
    *,
    out: Path,
    likeness: Likeness | None = None,
    attachments: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> Run:
    """Write a run directory and publish it by renaming: a run folder that exists is complete.

    Parameters
    ----------
    record : RunRecord
        Its ``files`` are filled in here.
    head : Head
    out : Path
        The folder to be made.
    likeness : Likeness, optional
    attachments : mapping of file name to bytes, optional
        Further files beside ``run.json``; a run with others than known ones is not overwritten later.
    overwrite : bool
        Replace the run that is there; a folder with other files in it is refused.
    """
    with new_folder(out, marker=RECORD_FILE, known=known_files, overwrite=overwrite) as draft:
        (draft / HEAD_FOLDER).mkdir()
        head.save(draft / HEAD_FOLDER)
        more = likeness.to_files() if likeness else {}
        for name, data in (more | dict(attachments or {})).items():
            (draft / name).write_bytes(data)
        paths = [path for path in sorted(draft.rglob("*")) if path.is_file()]
        files = {path.relative_to(draft).as_posix(): hash_file(path, MAX_FILE) for path in paths}
        record = replace(record, files=files)
        (draft / RECORD_FILE).write_bytes(format_record(record))
    return Run(out, record, head, likeness)


def load_run(path: str | Path) -> Run:
    """Open a run directory; the folder is untrusted: whatever is wrong with it raises `HeadsError`."""
    path = Path(path)
    record = read_record(path)
    check_files(path, record.files, record=RECORD_FILE)
    check_fusion(record.config.fusion, record.producers, where=f"run {path}")
    of_head, beside = open_contents(path, record.files)
    widths = [sum(producer.selection.widths) for producer in record.producers.values()]
    likeness = load_likeness(beside, record.files, n_columns=sum(widths), points=record.verdicts.points)
    head = head_class(record.config.head).load(of_head)
    for contents in (of_head, beside):
        contents.check_unread(limit=MAX_FILE)
    sets, b = record.verdicts.sets, joint_tasks(head.tasks)[1]
    if sets is not None and (b is None or len(b.classes) != len(sets.cuts)):
        raise HeadsError(f"{path / RECORD_FILE} has sets of {len(sets.cuts)} generators, the head tells others apart")
    if [task.to_json() for task in head.tasks] != list(record.tasks):
        raise HeadsError(f"{path / RECORD_FILE} and the head in {path / HEAD_FOLDER} name different tasks or classes")
    return Run(path, record, head, likeness)
