"""Heads of other kinds on the same rows; what they say is averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

from heads.data.columns import Columns
from heads.data.fusion import fusion_modalities
from heads.data.row_source import RowSource
from heads.data.tasks import IntArray, Targets, Task
from heads.ensemble.config import EnsembleConfig, MemberSpec
from heads.ensemble.member import Member, Ranges, first_unused
from heads.ensemble.pooling import pool
from heads.ensemble.saved import describe_members, load_members, save_members
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.head.checks import check_fit_rows
from heads.head.kinds import find_kind, make_head
from heads.head.protocol import Device, FloatArray, Noting, Prediction, Progress
from heads.head.saved import Description, read_description, write_description
from heads.head.scaling import check_features

__all__ = ["EnsembleConfig", "EnsembleHead"]


class EnsembleHead:
    """Members that are fitted one after another, each as if it were alone; `heads.ensemble.pooling` averages them.

    Parameters
    ----------
    tasks : sequence of Task
    config : EnsembleConfig, optional
    columns : Columns, optional
        What the columns of X are; members that take some of them have to know.
    device, memory
        Of members that are networks; others take no notice.
    members : sequence of Member, optional
        Default: those of the config, to be fitted. Where the config names runs, `fit` leaves them as they are.

    Attributes
    ----------
    history_ : tuple of mapping
        The records of all members, with ``member``, its place from 0, before each.
    """

    kind: ClassVar[str] = "ensemble"

    def __init__(
        self,
        tasks: Sequence[Task],
        config: EnsembleConfig | None = None,
        *,
        columns: Columns | None = None,
        device: Device = "cpu",
        memory: int | str | None = None,
        members: Sequence[Member] = (),
    ) -> None:
        self.tasks = tuple(tasks)
        self.config = config or EnsembleConfig()
        self._n_features = columns.width if columns else 0
        if self.config.are_runs and not members:
            named = ", ".join(self.config.members)
            raise HeadsError(
                f"members are {named}, fitted runs, which cannot be fitted anew: name kinds, e.g. --members lda,mlp"
            )
        options = {"columns": columns, "device": device, "memory": memory}
        self.members = tuple(members) or tuple(self._build(spec, options) for spec in self.config.specs)
        taken = [member.ranges for member in self.members if member.ranges is not None]
        if columns is not None and len(taken) == len(self.members):
            _check_all_used(taken, columns)

    def _build(self, spec: MemberSpec, options: Mapping[str, Any]) -> Member:
        """Return a member that is to be fitted."""
        columns, ranges = options["columns"], None
        if spec.fusion is not None:
            if columns is None:
                raise HeadsError(
                    f"member {spec.kind}:{spec.fusion} takes some of the columns of X, of which nothing is known: "
                    f"expected {spec.kind}"
                )
            modalities = fusion_modalities(spec.fusion)
            span, columns = columns.span(modalities), columns.of(modalities)
            ranges = ((span.start, span.stop),)
        own = {**options, "columns": columns} if find_kind(spec.kind).is_network else {}
        return Member(make_head(spec.kind, self.tasks, self.config.of(spec), **own), ranges)

    @property
    def history_(self) -> Sequence[Mapping[str, Any]]:
        """The records of all members; see the class."""
        return tuple(
            {"member": place, **record} for place, member in enumerate(self.members) for record in member.head.history_
        )

    @property
    def notes_(self) -> Sequence[str]:
        """What members say to whoever fitted them, each thing once."""
        told = (
            f"member {member.head.kind}: {note}".replace("--set ", f"--set {member.head.kind}.")
            for member in self.members
            if isinstance(member.head, Noting)
            for note in member.head.notes_
        )
        return tuple(dict.fromkeys(told))

    @property
    def n_parameters(self) -> int | None:
        """Those of all members; None where one has none that could be counted."""
        counts = [member.head.n_parameters for member in self.members]
        return None if None in counts else sum(count or 0 for count in counts)

    def fit(
        self,
        X: FloatArray,
        targets: Targets,
        *,
        select: tuple[FloatArray, Targets],
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Self:
        """Fit each member on ``X``; ``select`` chooses what they choose."""
        check_fit_rows(self.tasks, X, targets, select=select)
        self._n_features = X.shape[1]
        for place, member in self._to_fit():
            own = member.take(select[0]), select[1]
            its, told = self.config.specs[place].seed(seed), _tell(place, progress)
            member.head.fit(member.take(X), targets, select=own, seed=its, progress=told)
        return self

    def fit_rows(
        self,
        source: RowSource,
        targets: Targets,
        fit_rows: IntArray,
        select_rows: IntArray,
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Self:
        """Fit each member on rows of a source, as it does by itself."""
        self._n_features = source.n_columns
        for place, member in self._to_fit():
            spec, told = self.config.specs[place], _tell(place, progress)
            rows = member.take_rows(source, sees_further=self.config.sees_further(spec))
            member.head.fit_rows(rows, targets, fit_rows, select_rows, seed=spec.seed(seed), progress=told)
        return self

    def _to_fit(self) -> Sequence[tuple[int, Member]]:
        return () if self.config.are_runs else tuple(enumerate(self.members))

    def predict_proba(self, X: FloatArray) -> Prediction:
        """Return the mean of what the members say of ``X`` (n, d)."""
        check_features(X, n_features=self._n_features)
        return pool([member.predict(X) for member in self.members], self.tasks)

    def save(self, folder: Path) -> None:
        """Write ``head.json`` and the members' files, ``member-0.head.json`` …, into an existing folder."""
        save_members(self.members, folder)
        fitted = describe_members(self.members, n_features=self._n_features)
        history, config = tuple(self.history_), asdict(self.config)
        write_description(folder, Description(self.kind, self.tasks, self._n_features, config, history, fitted))

    @classmethod
    def load(cls, contents: Contents) -> Self:
        """Read what `save` wrote; the folder is untrusted."""
        found = read_description(contents, cls.kind)
        config = EnsembleConfig.from_mapping(found.config)
        members = load_members(contents, found)
        kinds, expected = [member.head.kind for member in members], [spec.kind for spec in config.specs]
        is_other = len(kinds) != len(config.members) if config.are_runs else kinds != expected
        if is_other:
            named = ", ".join(config.members)
            raise HeadsError(f"{contents.folder} has heads {', '.join(kinds)}, expected {named:.200}")
        head = cls(found.tasks, config, members=members)
        head._n_features = found.n_features
        if list(head.history_) != list(found.history):
            raise HeadsError(f"{contents.folder} has another history than its members")
        return head


def _check_all_used(taken: Sequence[Ranges], columns: Columns) -> None:
    """Refuse columns that no member takes: rows that lack them would be left out for nothing."""
    unused = first_unused(taken, columns.width)
    if unused is None:
        return
    modality = next(m for m in columns.modalities if columns.span([m]).stop > unused)
    raise HeadsError(f"no member takes the {modality} vectors: name a --fusion without them, or a member with them")


def _tell(place: int, progress: Progress | None) -> Progress | None:
    """Return what is called with the records of a member."""
    return None if progress is None else lambda record: progress({"member": place, **record})
