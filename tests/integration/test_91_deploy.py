"""Goal: what is given for Prometheus and KEDA fits the metrics that weir has, and fires when it should and only then."""

import os
import re
import subprocess

import pytest
import weir as house
import yaml

DEPLOY = os.path.join(house.ROOT, "app", "deploy")
RULES = os.path.join(DEPLOY, "prometheus-rules.yaml")

# series, then what is to be told after 20 minutes: (alert, labels) or none
CASES = {
    "a healthy host wakes nobody": (
        {
            'weir_workers{instance="a",state="silent"}': "0x30",
            'weir_spool_oldest_seconds{instance="a"}': "1x30",
            'weir_desired_capacity_ratio{instance="a",reason="lanes"}': "0.6x30",
            'weir_requests_total{instance="a",endpoint="country",code="200"}': "0+6000x30",
            'weir_requests_total{instance="a",endpoint="country",code="503"}': "0+6x30",
            'weir_breaker_state{instance="a",target="primary",state="closed"}': "1x30",
            'weir_breaker_state{instance="a",target="primary",state="open"}': "0x30",
        },
        [],
    ),
    "who wants capacity for ten minutes is told of": (
        {'weir_desired_capacity_ratio{instance="a",reason="lanes"}': "1.5x30"},
        [("WeirWantsCapacity", {"severity": "ticket", "instance": "a", "reason": "lanes"})],
    ),
    "an open breaker is told of by its name": (
        {
            'weir_breaker_state{instance="a",target="redis-1",state="suspended"}': "1x30",
            'weir_breaker_state{instance="a",target="redis-1",state="closed"}': "0x30",
        },
        [("WeirBreakerOpen", {"severity": "page", "instance": "a", "target": "redis-1"})],
    ),
    "one request in twenty that fails wakes somebody": (
        {
            'weir_requests_total{instance="a",endpoint="country",code="200"}': "0+5700x30",
            'weir_requests_total{instance="a",endpoint="country",code="500"}': "0+300x30",
        },
        [("WeirErrors", {"severity": "page"})],
    ),
    "a spool that fills does": (
        {
            'weir_spool_bytes{instance="a"}': "900x30",
            'weir_spool_max_bytes{instance="a"}': "1000x30",
        },
        [("WeirSpoolFills", {"severity": "page", "instance": "a"})],
    ),
}


def load(name):
    with open(os.path.join(DEPLOY, name)) as f:
        return yaml.safe_load(f)


def alerts():
    return [r["alert"] for g in load("prometheus-rules.yaml")["groups"] for r in g["rules"] if "alert" in r]


def test_promtool_takes_the_rules():
    run = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True)
    assert run.returncode == 0 and "SUCCESS" in run.stdout, run


@pytest.mark.parametrize("case", CASES)
def test_alerts_fire_when_they_should_and_only_then(tmp_path, case):
    series, expected = CASES[case]
    wanted = dict(expected)
    checks = [
        {
            "eval_time": "20m",
            "alertname": name,
            "exp_alerts": [{"exp_labels": wanted[name]}] if name in wanted else [],
        }
        for name in alerts()
    ]
    group = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [c for c in checks if not c["exp_alerts"]],
        # Annotations are for people: that the alert fires with its labels is seen by the series that Prometheus makes of it.
        "promql_expr_test": [
            {
                "expr": "count by (alertname, severity, instance, reason, target) (ALERTS{alertstate='firing'})",
                "eval_time": "20m",
                "exp_samples": [
                    {"labels": "{" + ",".join(f'{k}="{v}"' for k, v in {"alertname": a, **labels}.items()) + "}", "value": 1}
                    for a, labels in expected
                ],
            }
        ],
    }
    path = tmp_path / "rules-test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [RULES], "evaluation_interval": "1m", "tests": [group]}))
    run = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_scaler_asks_for_the_number_that_is_made_for_it():
    scaler = load("keda.yaml")
    assert (scaler["apiVersion"], scaler["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    queries = [t["metadata"]["query"] for t in scaler["spec"]["triggers"]]
    assert queries[0] == "sum(weir_desired_capacity_ratio)"
    assert scaler["spec"]["minReplicaCount"] < scaler["spec"]["maxReplicaCount"]


def test_every_metric_that_they_name_is_one_of_the_table():
    with open(os.path.join(house.ROOT, "app", "telemetry", "metrics_keys.inc")) as f:
        known = set(re.findall(r'"((?:weir|process)_[a-z0-9_]+)"', f.read()))
    known |= {name + suffix for name in known for suffix in ("_bucket", "_count", "_sum")}
    named = set()
    for file in ("prometheus-rules.yaml", "keda.yaml"):
        with open(os.path.join(DEPLOY, file)) as f:
            text = "\n".join(line for line in f if not line.lstrip().startswith("#"))
        named |= set(re.findall(r"\bweir_[a-z0-9_]+", text))
    assert len(named) > 12 and named <= known, named - known
