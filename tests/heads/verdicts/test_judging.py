"""Laws of verdicts: raw scores decide, whatever the probabilities are printed at."""

from __future__ import annotations

import numpy as np

from heads.data.tasks import default_tasks
from heads.head.protocol import Prediction
from heads.verdicts.judging import judge, no_judgement
from heads.verdicts.maps import LogisticMap, ProbabilityMaps
from heads.verdicts.points import OperatingPoint

TASKS = default_tasks(["sdxl", "dalle3"])
POINT = OperatingPoint("both", "clean", 0.6, 0.4)
MAPS = ProbabilityMaps(0.5, LogisticMap(0.5, -3.0), 3.0)
SAID = Prediction(
    {
        "a": np.array([0.1, 0.5, 0.6, 0.9], dtype=np.float32),
        "b": np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], dtype=np.float32),
    }
)


def test_raw_scores_decide() -> None:
    for maps, prior in ((ProbabilityMaps(), None), (MAPS, None), (MAPS, 0.999)):
        found = judge(SAID, TASKS, point=POINT, maps=maps, prior=prior)
        assert found.verdict.tolist() == [0, -1, 2, 1]
        assert found.words == ["real", "unsure", "ai", "ai"]
        assert found.names == ["real", "unsure", "dalle3", "sdxl"]
        assert found.raw is SAID.proba["a"]


def test_probabilities_are_of_the_map_and_add_up() -> None:
    found = judge(SAID, TASKS, point=POINT, maps=MAPS, prior=0.3)
    mapped = MAPS.apply(SAID, TASKS, prior=0.3)
    assert (found.p_ai == mapped.proba["a"]).all()
    assert np.allclose(found.proba[:, 1:], mapped.proba["a"][:, None] * mapped.proba["b"])
    assert np.allclose(found.proba.sum(axis=1), 1)


def test_without_generators_there_are_two_classes() -> None:
    (a,) = default_tasks(["sdxl"])
    found = judge(Prediction({"a": SAID.proba["a"]}), (a,), point=POINT, maps=MAPS)
    assert found.names == ["real", "unsure", "ai", "ai"] and found.proba.shape == (4, 2)


def test_of_no_rows_nothing_is_said() -> None:
    found = no_judgement(TASKS)
    assert (len(found), found.words, found.proba.shape) == (0, [], (0, 3))
    assert found.classes == ("real", "sdxl", "dalle3")
