"""A reply of the retraining loop as it came: the first check of docs/reference/retraining.md."""

from typing import Any

REPLY: dict[str, Any] = {
    "status": "retrained",
    "reasons": [
        {"code": "no_champion", "value": 0.0, "limit": 1.0, "days": 0, "p_value": None, "level": None},
        {
            "code": "better",
            "value": 0.010186194774403834,
            "limit": 0.0,
            "days": 0,
            "p_value": None,
            "level": None,
        },
    ],
    "figures": {
        "accuracy": {
            "rows": 420,
            "trials": 168000,
            "events": 7825,
            "mae_per_row": {
                "value": 0.015863095238095235,
                "floor": 0.00823196147349223,
                "noise": 0.0003073400098655267,
            },
            "r2_per_row": {"value": -0.007262785631216184, "floor": -0.0023866348448686736, "noise": None},
            "mae": {
                "value": 0.015863095238095235,
                "floor": 0.00823196147349223,
                "noise": 0.0003073400098655267,
            },
            "r2": {"value": -0.007262785631216184, "floor": -0.0023866348448686736, "noise": None},
            "logloss": {
                "value": 0.18834011264907918,
                "floor": 0.18352113678337528,
                "noise": 0.0015451528984343934,
            },
            "normalised_entropy": {"value": 1.000152045017521, "floor": 1.0, "noise": 0.0},
            "ece": {"value": 0.004053571428571429, "floor": 0.0018047138909736992, "noise": None},
            "calibration_ratio": {"value": 1.0350529100529102, "floor": 1.0, "noise": 0.011239339452243237},
            "calibration_slope": {"value": None, "floor": 1.0, "noise": None},
        },
        "training": {
            "training_s": 8.816653456990025,
            "rows": 1020,
            "trials": 408000,
            "events": 18647,
            "first_day": 20759,
            "last_day": 20775,
        },
        "gate": {
            "status": "promoted",
            "reasons": [{"code": "better", "value": 0.010186194774403834, "limit": 0.0}],
            "figures": {
                "clusters": 60,
                "champion": {
                    "rows": 180,
                    "trials": 72000,
                    "events": 3183,
                    "mae_per_row": {
                        "value": 0.015377641612200435,
                        "floor": 0.008341599654842002,
                        "noise": 0.0004681778183770278,
                    },
                    "r2_per_row": {
                        "value": -0.006921568509642206,
                        "floor": -0.005586592178770999,
                        "noise": None,
                    },
                    "mae": {
                        "value": 0.015377641612200435,
                        "floor": 0.008341599654842002,
                        "noise": 0.0004681778183770278,
                    },
                    "r2": {"value": -0.006921568509642206, "floor": -0.005586592178770999, "noise": None},
                    "logloss": {
                        "value": 0.18112111974986456,
                        "floor": 0.18566442533383415,
                        "noise": 0.0023651141882098854,
                    },
                    "normalised_entropy": {
                        "value": 1.0001429981637668,
                        "floor": 1.0000000000000002,
                        "noise": 3.7232427787908545e-18,
                    },
                    "ece": {"value": 0.005321241830065358, "floor": 0.0027771855447299588, "noise": None},
                    "calibration_ratio": {
                        "value": 0.9672869630503568,
                        "floor": 1.0,
                        "noise": 0.01702946596901281,
                    },
                    "calibration_slope": {"value": None, "floor": 1.0, "noise": None},
                },
                "challenger": {
                    "rows": 180,
                    "trials": 72000,
                    "events": 3183,
                    "mae_per_row": {
                        "value": 0.008965875285779313,
                        "floor": 0.00816568701773617,
                        "noise": 0.0004657759313519138,
                    },
                    "r2_per_row": {"value": 0.6376468676587078, "floor": 0.6801881431443575, "noise": None},
                    "mae": {
                        "value": 0.008965875285779313,
                        "floor": 0.00816568701773617,
                        "noise": 0.0004657759313519138,
                    },
                    "r2": {"value": 0.6376468676587078, "floor": 0.6801881431443575, "noise": None},
                    "logloss": {
                        "value": 0.17862466828193807,
                        "floor": 0.18170786352397644,
                        "noise": 0.0023273227083620424,
                    },
                    "normalised_entropy": {
                        "value": 0.9863577010137132,
                        "floor": 0.9854457037034395,
                        "noise": 0.001444128948330147,
                    },
                    "ece": {"value": 0.002955825763766165, "floor": 0.0027221683090141256, "noise": None},
                    "calibration_ratio": {
                        "value": 0.9762199116018122,
                        "floor": 1.0,
                        "noise": 0.01706623810295191,
                    },
                    "calibration_slope": {
                        "value": 0.972316686445395,
                        "floor": 1.0,
                        "noise": 0.052655507944074004,
                    },
                },
                "gain": 0.013783326159721998,
                "gain_low": 0.010186194774403834,
            },
        },
        "ceiling": {"r2": 0.6745924881336064},
    },
    "improvement": {
        "r2": {"before": -0.006921568509642206, "after": 0.6376468676587078, "delta": 0.64456843616835},
        "mae": {
            "before": 0.015377641612200435,
            "after": 0.008965875285779313,
            "delta": -0.006411766326421122,
        },
        "logloss": {
            "before": 0.18112111974986456,
            "after": 0.17862466828193807,
            "delta": -0.002496451467926486,
        },
        "normalised_entropy": {
            "before": 1.0001429981637668,
            "after": 0.9863577010137132,
            "delta": -0.01378529715005361,
        },
    },
    "champion": "v000001",
    "challenger": "v000001",
    "trigger": "manual",
    "run_id": "20261122T072347-b96ba5b7ed15",
    "started": "2026-11-22T07:23:47.069548+00:00",
    "wall_s": 9.477635,
    "message": "v000001 is champion.",
}
"""Of `gaelp retrain check`, by `prediction.runs.RetrainReply.as_dict`."""
