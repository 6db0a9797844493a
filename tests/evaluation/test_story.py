"""What the report tells of the flights."""

from types import SimpleNamespace

import numpy as np

from gaelp.evaluation.judge import Judgement
from gaelp.evaluation.story import refusals


def test_refused_controls_are_told_of_policies_that_had_any():
    def flights(*counts):
        return [SimpleNamespace(denied=np.array([count])) for count in counts]

    judged = Judgement(results={}, flights={"pacing": flights(0, 0), "mine": flights(1_200, 3)})
    assert refusals(judged) == ["The gate refused 1,203 of the controls that mine proposed."]
