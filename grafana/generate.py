#!/usr/bin/env python3
"""Writes grafana/dashboards/*.json: what every panel repeats is said once, here.

    grafana/generate.py            writes them
    grafana/generate.py --check    says which are not what this file makes, and changes nothing
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCHEMA_VERSION = 42
PLUGIN_VERSION = "13.2.3"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24

# One colour a reason, the same on every panel: grey and yellow for what clients do every day, blue for tokens that were meant for
# somebody else, red for what only a forger sends, violet for what is broken at home.
OUTCOMES = {
    "accepted": "#56A64B",
    "missing_token": "#8E8E8E",
    "malformed": "#B7B7B7",
    "too_large": "#6E6E6E",
    "expired": "#F2CC0C",
    "not_yet_valid": "#FFEE52",
    "revoked": "#CC9D00",
    "wrong_audience": "#3274D9",
    "unknown_issuer": "#1F60C4",
    "type_not_allowed": "#8AB8FF",
    "insufficient_scope": "#5794F2",
    "missing_claim": "#C0D8FF",
    "bad_claim": "#33A2E5",
    "bad_signature": "#C4162A",
    "unknown_key": "#FA6400",
    "alg_not_allowed": "#E02F44",
    "key_mismatch": "#FF7383",
    "ambiguous_key": "#FFA6B0",
    "critical_header": "#FF9830",
    "keys_unavailable": "#8F3BB8",
    "status_unavailable": "#CA95E5",
}
SIGN_INS = {
    "signed_in": "#56A64B",
    "invalid_credentials": "#E02F44",
    "disabled": "#8E8E8E",
    "rate_limited": "#FA6400",
    "busy": "#F2CC0C",
    "unavailable": "#8F3BB8",
}
STAGES = {"announced": "#5794F2", "signing": "#56A64B", "retired": "#8E8E8E", "gone": "#585858", "revoked": "#C4162A"}
FETCHES = {
    "modified": "#56A64B",
    "pushed": "#37872D",
    "not_modified": "#96D98D",
    "transport": "#E02F44",
    "deadline": "#FA6400",
    "status": "#FF9830",
    "too_large": "#F2CC0C",
    "bad_document": "#C4162A",
    "no_usable_keys": "#8F3BB8",
    "bad_metadata": "#CA95E5",
}
WATCHERS = {"current": "#56A64B", "behind": "#FA6400"}
HASHES = {"running": "#5794F2", "waiting": "#F2CC0C"}
CACHE = {"hit": "#56A64B", "miss": "#F2CC0C"}
AUDIT = {"written": "#56A64B", "suppressed": "#F2CC0C", "lost": "#C4162A"}
GOOD, WARN, BAD = "#56A64B", "#F2CC0C", "#C4162A"


# --- What panels are made of


def query(expr, legend="", instant=False):
    return {
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": " ".join(expr.split()),
        "instant": instant,
        "legendFormat": legend or "__auto",
        "range": not instant,
    }


def quantiles(metric, labels, by="", window="$__rate_interval"):
    """The median and the 99th percentile of a histogram."""
    keep = ", ".join(["le", *filter(None, [by])])
    suffix = f" {{{{{by}}}}}" if by else ""
    return [
        query(f"histogram_quantile({q}, sum by ({keep}) (rate({metric}_bucket{{{labels}}}[{window}])))", f"p{int(q * 100)}{suffix}")
        for q in (0.5, 0.99)
    ]


def thresholds(steps):
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in steps]}


def colours(table):
    def fixed(name, colour):
        value = {"mode": "fixed", "fixedColor": colour}
        return {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "color", "value": value}]}

    return [fixed(name, colour) for name, colour in table.items()]


def dashed(pattern, colour="#C4162A"):
    """A limit: drawn as a dashed line of its own."""
    return {
        "matcher": {"id": "byRegexp", "options": pattern},
        "properties": [
            {"id": "color", "value": {"mode": "fixed", "fixedColor": colour}},
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}},
            {"id": "custom.fillOpacity", "value": 0},
        ],
    }


def panel(kind, title, description, unit, targets, width, height, options, custom, **defaults):
    overrides = defaults.pop("overrides", [])
    targets = targets if isinstance(targets, list) else [targets]
    base = {"color": {"mode": "palette-classic"}, "mappings": [], "thresholds": thresholds([(None, GOOD)])}
    field = {key: value for key, value in {**base, "unit": unit, **defaults}.items() if value is not None}
    if custom is not None:
        field["custom"] = custom
    return {
        "type": kind,
        "title": title,
        "description": description,
        "pluginVersion": PLUGIN_VERSION,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": field, "overrides": overrides},
        "options": options,
        "targets": [{"refId": chr(ord("A") + n), **target} for n, target in enumerate(targets)],
        "size": (width, height),
    }


def graph(title, description, unit, targets, width=8, height=8, stacked=False, bars=False, steps=False, **defaults):
    custom = {
        "drawStyle": "bars" if bars else "line",
        "lineInterpolation": "stepAfter" if steps else "linear",
        "lineWidth": 1,
        "fillOpacity": 80 if bars else 35 if stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off"},
    }
    options = {
        "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True, "sortBy": "Max", "sortDesc": True},
        "tooltip": {"mode": "multi", "sort": "desc", "hideZeros": True},
    }
    return panel("timeseries", title, description, unit, targets, width, height, options, custom, **{"min": 0, **defaults})


def stat(title, description, unit, targets, steps, width=4, height=4, text="auto", sparkline=True, **defaults):
    options = {
        "colorMode": "value",
        "graphMode": "area" if sparkline else "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": text,
        "wideLayout": True,
    }
    defaults = {"color": {"mode": "thresholds"}, "thresholds": thresholds(steps), **defaults}
    return panel("stat", title, description, unit, targets, width, height, options, None, **defaults)


def timeline(title, description, targets, mapping, width=24, height=8):
    options = {
        "alignValue": "left",
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "mergeValues": True,
        "rowHeight": 0.9,
        "showValue": "auto",
        "tooltip": {"mode": "single", "sort": "none"},
    }
    values = {
        str(value): {"index": n, "text": text, "color": colour} for n, (value, (text, colour)) in enumerate(mapping.items())
    }
    return panel(
        "state-timeline", title, description, "none", targets, width, height, options, {"fillOpacity": 70, "lineWidth": 0},
        color={"mode": "thresholds"}, mappings=[{"type": "value", "options": values}],
    )


# --- What dashboards are made of


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "size": (WIDTH, 1)}


def place(panels):
    """Left to right, and below where a line is full; each a number of its own."""
    x = y = line = 0
    for number, one in enumerate(panels, 1):
        width, height = one.pop("size")
        if x + width > WIDTH:
            x, y, line = 0, y + line, 0
        one["id"] = number
        one["gridPos"] = {"x": x, "y": y, "w": width, "h": height}
        x, line = x + width, max(line, height)
    return panels


def variable(name, label, text):
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": {"query": text, "refId": "StandardVariableQuery"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "options": [],
        "regex": "",
        "hide": 0,
        "skipUrlSync": False,
    }


def annotation(name, colour, expr, title, text, tags):
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "expr": " ".join(expr.split()),
        "step": "15s",
        "titleFormat": title,
        "textFormat": text,
        "tagKeys": tags,
        "useValueForTime": False,
    }


# A change is rare and its series is born with it, so `increase` would miss the first of each kind: what is more than it was a
# minute ago, or was not there then.
TRANSITIONS = """
sum by (alg, to, cause) (
  (keywheel_transitions_total - keywheel_transitions_total offset 1m) or (keywheel_transitions_total unless keywheel_transitions_total offset 1m)
) > 0
"""
DASHBOARDS = {"keywheel-verification": "Verification", "keywheel-keys": "Keys", "keywheel-auth": "Auth service"}


def dashboard(uid, description, variables, panels, since="now-6h"):
    source = {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "multi": False,
        "includeAll": False,
        "options": [],
        "hide": 0,
        "skipUrlSync": False,
    }
    links = [
        {
            "type": "link",
            "title": title,
            "url": f"/d/{other}",
            "icon": "dashboard",
            "tooltip": f"Keywheel / {title}",
            "tags": [],
            "asDropdown": False,
            "includeVars": True,
            "keepTime": True,
            "targetBlank": False,
        }
        for other, title in DASHBOARDS.items()
        if other != uid
    ]
    return {
        "uid": uid,
        "title": f"Keywheel / {DASHBOARDS[uid]}",
        "description": description,
        "tags": ["keywheel"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": since, "to": "now"},
        "timepicker": {},
        "refresh": "30s",
        "links": links,
        "annotations": {
            "list": [
                annotation("Key transitions", "#5794F2", TRANSITIONS, "{{alg}} key: {{to}}", "{{cause}}", "alg,to,cause"),
                annotation(
                    "Alerts", "#C4162A", 'ALERTS{alertname=~"Keywheel.*", alertstate="firing"}', "{{alertname}}",
                    "{{job}} {{instance}} {{issuer}}", "severity",
                ),
            ]
        },
        "templating": {"list": [source, *variables]},
        "panels": place(panels),
    }


# --- The dashboards


def verification():
    at = 'job=~"$job", instance=~"$instance"'
    of = f'{at}, issuer=~"$issuer"'
    total = f"keywheel_verifications_total{{{of}}}"
    refused = f'keywheel_verifications_total{{{of}, outcome!="accepted"}}'
    known = f'keywheel_verifications_total{{{of}, issuer!="none"}}'
    known_refused = f'keywheel_verifications_total{{{of}, issuer!="none", outcome!="accepted"}}'
    share = f"sum(rate({refused}[$__rate_interval])) / sum(rate({total}[$__rate_interval]))"
    return dashboard(
        "keywheel-verification",
        "Who refused whom, why, and with which keys at hand: every verifier, backends and gates.",
        [
            variable("job", "Job", "label_values(keywheel_verifications_total, job)"),
            variable("instance", "Instance", 'label_values(keywheel_verifications_total{job=~"$job"}, instance)'),
            variable("issuer", "Issuer", f"label_values(keywheel_verifications_total{{{at}}}, issuer)"),
        ],
        [
            row("Verdicts"),
            stat("Verified", "Tokens verified each second, accepted or not.", "ops", query(f"sum(rate({total}[$__rate_interval]))"), [(None, "#5794F2")]),
            stat(
                "Refused", "Share of the tokens that were refused, requests without a token included.", "percentunit",
                query(share), [(None, GOOD), (0.1, WARN), (0.5, BAD)], decimals=1,
            ),
            stat(
                "Latency, p99", "99 of 100 verifications took less; waiting for a fetch is not in it.", "s",
                query(f"histogram_quantile(0.99, sum by (le) (rate(keywheel_verification_seconds_bucket{{{of}}}[$__rate_interval])))"),
                [(None, GOOD), (0.001, WARN), (0.01, BAD)],
            ),
            stat(
                "Cache hits", "Share of the accepted tokens that had been verified before. Few hits mean more tokens in use than places.",
                "percentunit",
                query(f'sum(rate(keywheel_token_cache_total{{{at}, result="hit"}}[$__rate_interval])) / sum(rate(keywheel_token_cache_total{{{at}}}[$__rate_interval]))'),
                [(None, GOOD)], decimals=1,
            ),
            stat(
                "Fewest keys", "The fewest usable keys that any verifier holds of any issuer; at 0 every token of that issuer is refused.",
                "none", query(f"min(keywheel_jwks_keys{{{of}}})"), [(None, BAD), (1, GOOD)],
            ),
            stat(
                "Oldest key set", "The oldest key set of any verifier, as a share of the age at which it is dropped.", "percentunit",
                query(f"max(keywheel_jwks_age_seconds{{{of}}} / keywheel_jwks_max_stale_seconds{{{of}}})"),
                [(None, GOOD), (0.5, WARN), (0.8, BAD)], decimals=1,
            ),
            graph(
                "Verifications by outcome", "Tokens verified each second, by verdict: `accepted`, or the reject code.", "ops",
                query(f"sum by (outcome) (rate({total}[$__rate_interval]))", "{{outcome}}"), width=12, height=9,
                overrides=colours(OUTCOMES),
            ),
            graph(
                "Failure reasons", "Refused tokens each second, by reject code, stacked. The audit log has each of them with issuer and kid, and the subject where the signature was good.",
                "ops", query(f"sum by (outcome) (rate({refused}[$__rate_interval]))", "{{outcome}}"), width=12, height=9,
                stacked=True, overrides=colours(OUTCOMES),
            ),
            graph(
                "Share refused, by issuer", "Share of each configured issuer's tokens that were refused. Tokens of any other, and requests without one, are always refused.",
                "percentunit",
                query(
                    f"sum by (issuer) (rate({known_refused}[$__rate_interval])) "
                    f"/ (sum by (issuer) (rate({known}[$__rate_interval])) > 0)",
                    "{{issuer}}",
                ),
                max=1,
            ),
            graph("Verifications, by issuer", "Tokens verified each second, by the configured issuer.", "ops",
                  query(f"sum by (issuer) (rate({total}[$__rate_interval]))", "{{issuer}}"), stacked=True),
            graph("Refused, by instance", "Which backend or gate refuses: refused tokens each second.", "ops",
                  query(f"sum by (job, instance) (rate({refused}[$__rate_interval]))", "{{job}} {{instance}}"), stacked=True),
            row("Speed"),
            graph("Latency", "Median and 99th percentile of one verification, waiting for a fetch not included.", "s",
                  quantiles("keywheel_verification_seconds", of)),
            graph(
                "Latency, p99 by instance", "99th percentile of one verification, by instance.", "s",
                query(f"histogram_quantile(0.99, sum by (le, instance) (rate(keywheel_verification_seconds_bucket{{{of}}}[$__rate_interval])))", "{{instance}}"),
            ),
            graph("Token cache", "Accepted tokens looked up in the cache each second. A miss costs a signature check.", "ops",
                  query(f"sum by (result) (rate(keywheel_token_cache_total{{{at}}}[$__rate_interval]))", "{{result}}"), stacked=True, overrides=colours(CACHE)),
            row("Keys at the verifiers"),
            graph(
                "Key set age", "Since each verifier last had its issuer's key set or had it confirmed; dashed, the age at which it is dropped and every token refused.",
                "s",
                [
                    query(f"max by (instance, issuer) (keywheel_jwks_age_seconds{{{of}}})", "{{instance}} {{issuer}}"),
                    query(f"min by (issuer) (keywheel_jwks_max_stale_seconds{{{of}}})", "limit {{issuer}}"),
                ],
                overrides=[dashed("^limit ")],
            ),
            graph("Keys in force", "Usable keys of each issuer; 0 means that every token of it is refused.", "none",
                  query(f"min by (instance, issuer) (keywheel_jwks_keys{{{of}}})", "{{instance}} {{issuer}}"), steps=True),
            graph(
                "Key set fetches", "Fetches of key sets each second: `pushed` came by a held request, `not_modified` confirmed the set; the rest are kinds of failure.",
                "ops", query(f"sum by (result) (rate(keywheel_jwks_fetches_total{{{of}}}[$__rate_interval]))", "{{result}}"),
                overrides=colours(FETCHES),
            ),
            graph("Seconds of a fetch", "Median and 99th percentile of a key set fetch; held requests are left out.", "s",
                  quantiles("keywheel_jwks_fetch_seconds", of, window="$__range"), width=12),
            graph(
                "Refreshes suppressed", "Fetches that an unknown kid asked for and did not get. With `unknown_key` it is a flood of invented kids, and it costs the issuer nothing.",
                "ops",
                [
                    query(f"sum by (issuer) (rate(keywheel_jwks_refreshes_suppressed_total{{{of}}}[$__rate_interval]))", "suppressed {{issuer}}"),
                    query(f'sum by (issuer) (rate(keywheel_verifications_total{{{of}, outcome="unknown_key"}}[$__rate_interval]))', "unknown_key {{issuer}}"),
                ],
                width=12,
            ),
            graph("Status list age", "Since each verifier last had the list of ended sessions or had it confirmed, the oldest of several. Keywheel's expire after 15 minutes; tokens that refer to an expired one are refused.",
                  "s", query(f"max by (instance, issuer) (keywheel_status_list_age_seconds{{{of}}})", "{{instance}} {{issuer}}"), width=12),
            graph("Status list fetches", "Fetches of status lists each second, by result: a session that ends anywhere is `pushed` to everyone.", "ops",
                  query(f"sum by (result) (rate(keywheel_status_list_fetches_total{{{of}}}[$__rate_interval]))", "{{result}}"), width=12, overrides=colours(FETCHES)),
            row("Audit"),
            graph("Audit lines", "Audit lines each second: `suppressed` in a flood and summed in one line, `lost` because the log could not be written.", "ops",
                  query(f"sum by (result) (rate(keywheel_audit_lines_total{{{at}}}[$__rate_interval]))", "{{result}}"), width=12, overrides=colours(AUDIT)),
            graph("Audit lines not written", "Audit lines each minute that are not in the log, by instance.", "none",
                  query(f'60 * sum by (instance, result) (rate(keywheel_audit_lines_total{{{at}, result!="written"}}[$__rate_interval]))', "{{result}} {{instance}}"), width=12),
        ],
    )


def keys():
    at = 'job=~"$job", instance=~"$instance"'
    of = 'issuer=~"$issuer"'
    stages = {n: (name, STAGES[name]) for n, name in enumerate(("announced", "signing", "retired", "revoked"), 1)}
    reached = "keywheel_revocation_propagation_seconds"
    return dashboard(
        "keywheel-keys",
        "The ring of keys at the issuer, and what of it the verifiers hold.",
        [
            variable("job", "Issuer's job", "label_values(keywheel_keys, job)"),
            variable("instance", "Issuer's instance", 'label_values(keywheel_keys{job=~"$job"}, instance)'),
            variable("issuer", "Issuer at verifiers", "label_values(keywheel_jwks_keys, issuer)"),
        ],
        [
            row("The ring"),
            stat("Signing keys", "Keys that sign, by algorithm: one each, or it is an alarm.", "none",
                 query(f'max by (alg) (keywheel_keys{{{at}, stage="signing"}})', "{{alg}}"), [(None, BAD), (1, GOOD), (2, BAD)], sparkline=False),
            stat(
                "Next step in", "Time until the next planned change of the ring. Below zero it is overdue.", "s",
                query(f"min by (alg) (keywheel_next_transition_timestamp_seconds{{{at}}} > 0) - time()", "{{alg}}"),
                [(None, BAD), (0, GOOD)], width=5, sparkline=False, decimals=0,
            ),
            stat(
                "Signer's age", "As a share of `keys.rotate_every`.", "percentunit",
                query(f"max by (alg) (keywheel_signing_key_age_seconds{{{at}}} / keywheel_rotation_period_seconds{{{at}}})", "{{alg}}"),
                [(None, GOOD), (1, WARN), (1.1, BAD)], width=5, sparkline=False, decimals=0,
            ),
            stat("Verifiers watching", "Verifiers that hold a request open and have the set in force.", "none",
                 query(f'sum(keywheel_jwks_watchers{{{at}, set="current"}})'), [(None, "#5794F2")], width=5),
            stat("Behind", "Verifiers that were told of a change and have not come back with it.", "none",
                 query(f'sum(keywheel_jwks_watchers{{{at}, set="behind"}})'), [(None, GOOD), (1, WARN)], width=5),
            timeline("Stage of each key", "Each key that is published, or was revoked within the last day: announced ahead, signing, retired until its last token has expired, revoked.",
                     query(f"max by (alg, kid) (keywheel_key_stage{{{at}}})", "{{alg}} {{kid}}"), stages, height=10),
            graph("Keys by stage", "Keys in the ring, by stage, all algorithms.", "none",
                  query(f"sum by (stage) (max by (alg, stage) (keywheel_keys{{{at}}}))", "{{stage}}"), stacked=True, steps=True, overrides=colours(STAGES)),
            graph(
                "Age of the signer", "Since the signing key began to sign; dashed, `keys.rotate_every`, at which it is rotated away.", "s",
                [
                    query(f"max by (alg) (keywheel_signing_key_age_seconds{{{at}}})", "{{alg}}"),
                    query(f"min by (alg) (keywheel_rotation_period_seconds{{{at}}})", "limit {{alg}}"),
                ],
                overrides=[dashed("^limit ")],
            ),
            graph("Time until the next step", "Until the next planned change of the ring; below zero it is overdue.", "s",
                  query(f"min by (alg) (keywheel_next_transition_timestamp_seconds{{{at}}} > 0) - time()", "{{alg}}"), min=None),
            graph(
                "Transitions", "Changes of the ring in each minute, by new stage and cause: `schedule` and `drained` are the plan's, `operator`, `forced` and `revocation` somebody's.",
                "none",
                query(
                    f"sum by (to, cause) ((keywheel_transitions_total{{{at}}} - keywheel_transitions_total{{{at}}} offset 1m) "
                    f"or (keywheel_transitions_total{{{at}}} unless keywheel_transitions_total{{{at}}} offset 1m)) > 0",
                    "{{to}} ({{cause}})",
                ),
                width=24, bars=True, stacked=True,
            ),
            row("Who has it"),
            graph("Watchers", "Verifiers that watch the key set: `current` hold the one in force, `behind` were told of a change and have not come back.", "none",
                  query(f"sum by (set) (keywheel_jwks_watchers{{{at}}})", "{{set}}"), stacked=True, steps=True, overrides=colours(WATCHERS)),
            graph(
                "Revocations reach verifiers within", "From the publication of a revocation to the watching verifiers' coming back with it, over the range shown. One second is promised.",
                "s",
                [
                    query(f"histogram_quantile({q}, sum by (le) (increase({reached}_bucket{{{at}}}[$__range])))", f"p{int(q * 100)}")
                    for q in (0.5, 0.99)
                ],
            ),
            graph("Told of revocations", "Verifiers that came back with the set after a revocation, in each minute.", "none",
                  query(f"60 * sum(rate({reached}_count{{{at}}}[$__rate_interval]))", "verifiers"), bars=True),
            graph(
                "Key set age at verifiers", "Since each verifier last had the set or had it confirmed; dashed, the age at which it is dropped.", "s",
                [
                    query(f"max by (job, instance) (keywheel_jwks_age_seconds{{{of}}})", "{{job}} {{instance}}"),
                    query(f"min(keywheel_jwks_max_stale_seconds{{{of}}})", "limit"),
                ],
                overrides=[dashed("^limit$")],
            ),
            graph("Fetches by verifiers", "Key set fetches each second at the verifiers, by result; what is neither `modified`, `not_modified` nor `pushed` failed.", "ops",
                  query(f"sum by (result) (rate(keywheel_jwks_fetches_total{{{of}}}[$__rate_interval]))", "{{result}}"), overrides=colours(FETCHES)),
            graph("Keys at verifiers", "Usable keys in force at each verifier: where the lines differ, somebody holds another set.", "none",
                  query(f"min by (job, instance) (keywheel_jwks_keys{{{of}}})", "{{job}} {{instance}}"), steps=True),
            row("Signing"),
            graph("Seconds of a signature", "Median and 99th percentile of one signature, by algorithm.", "s",
                  quantiles("keywheel_signing_seconds", at, by="alg")),
            graph("Signatures", "Signatures each second, by algorithm.", "ops",
                  query(f"sum by (alg) (rate(keywheel_signing_seconds_count{{{at}}}[$__rate_interval]))", "{{alg}}"), stacked=True),
            timeline("Key store", "Whether the store of the keys answers. While it does not, nothing is rotated, and no revocation of another process is seen.",
                     query(f'min by (instance) (keywheel_store_up{{{at}, store="keys"}})', "{{instance}}"), {0: ("down", BAD), 1: ("up", GOOD)}, width=8),
        ],
        since="now-24h",
    )


def auth():
    at = 'job=~"$job", instance=~"$instance"'
    http = f"keywheel_http_requests_total{{{at}}}"
    errors = f'keywheel_http_requests_total{{{at}, status=~"5.."}}'
    failed = f'keywheel_sign_ins_total{{{at}, outcome!="signed_in"}}'
    return dashboard(
        "keywheel-auth",
        "Signing in, tokens, sessions, and the service itself; gates show their own HTTP and audit trail.",
        [
            variable("job", "Job", "label_values(keywheel_build_info, job)"),
            variable("instance", "Instance", 'label_values(keywheel_build_info{job=~"$job"}, instance)'),
        ],
        [
            row("Signing in"),
            stat("Signed in", "Sign-ins that succeeded, each minute.", "none",
                 query(f'60 * sum(rate(keywheel_sign_ins_total{{{at}, outcome="signed_in"}}[$__rate_interval]))'), [(None, "#5794F2")], decimals=1),
            stat("Failed", "Share of the attempts to sign in that failed, for whatever reason.", "percentunit",
                 query(f"(sum(rate({failed}[$__rate_interval])) or vector(0)) / (sum(rate(keywheel_sign_ins_total{{{at}}}[$__rate_interval])) > 0)"),
                 [(None, GOOD), (0.3, WARN), (0.7, BAD)], decimals=1),
            stat("Tokens", "Tokens minted each second.", "ops", query(f"sum(rate(keywheel_tokens_issued_total{{{at}}}[$__rate_interval]))"), [(None, "#5794F2")]),
            stat("Sessions now", "Sessions that have neither ended nor expired.", "none", query(f"max(keywheel_sessions_active{{{at}}})"), [(None, "#5794F2")]),
            stat("Server errors", "Share of the requests that were answered with 5xx.", "percentunit",
                 query(f"(sum(rate({errors}[$__rate_interval])) or vector(0)) / (sum(rate({http}[$__rate_interval])) > 0)"),
                 [(None, GOOD), (0.01, WARN), (0.05, BAD)], decimals=1),
            stat("Stores now", "0 if any store of any instance does not answer.", "none", query(f"min(keywheel_store_up{{{at}}})"), [(None, BAD), (1, GOOD)],
                 mappings=[{"type": "value", "options": {"0": {"index": 0, "text": "down", "color": BAD}, "1": {"index": 1, "text": "up", "color": GOOD}}}]),
            graph("Sign-ins by outcome", "Attempts to sign in each second. `busy` were turned away because too many passwords were waiting to be hashed.", "ops",
                  query(f"sum by (outcome) (rate(keywheel_sign_ins_total{{{at}}}[$__rate_interval]))", "{{outcome}}"), stacked=True, overrides=colours(SIGN_INS)),
            graph("Passwords being hashed", "`waiting` ones at their bound (`accounts.hashes_waiting`) turn sign-ins away.", "none",
                  query(f"sum by (state) (keywheel_password_hashes{{{at}}})", "{{state}}"), stacked=True, steps=True, overrides=colours(HASHES)),
            graph("Seconds of a hash", "Median and 99th percentile of one password hash, waiting not included. A rise means too little processor or memory.", "s",
                  quantiles("keywheel_password_hash_seconds", at)),
            row("Tokens and sessions"),
            graph("Tokens issued", "Tokens minted each second, by audience and algorithm; `other` are audiences that the configuration does not name.", "ops",
                  query(f"sum by (audience, alg) (rate(keywheel_tokens_issued_total{{{at}}}[$__rate_interval]))", "{{audience}} {{alg}}"), stacked=True),
            graph("Sessions", "Sessions that have neither ended nor expired, counted every 15 s.", "none",
                  query(f"max by (instance) (keywheel_sessions_active{{{at}}} and on (job, instance) keywheel_store_up)", "{{instance}}"), steps=True),
            timeline("Stores", "Whether each store answers: without `accounts` nobody signs in, without `keys` nothing rotates.",
                     query(f"min by (instance, store) (keywheel_store_up{{{at}}})", "{{store}} {{instance}}"), {0: ("down", BAD), 1: ("up", GOOD)}, width=8),
            row("HTTP"),
            graph("Requests by route", "Requests answered each second, by the pattern of their route.", "reqps",
                  query(f"sum by (route) (rate({http}[$__rate_interval]))", "{{route}}"), stacked=True),
            graph("Requests by status", "Requests answered each second, by status.", "reqps",
                  query(f"sum by (status) (rate({http}[$__rate_interval]))", "{{status}}"), stacked=True),
            graph("Server errors by route", "Requests answered with 5xx each second; no line is good news.", "reqps",
                  query(f"sum by (route, status) (rate({errors}[$__rate_interval])) > 0", "{{status}} {{route}}"), bars=True, stacked=True),
            graph("Latency by route, p99", "99 of 100 requests of a route were answered within; held requests are left out.", "s",
                  query(f"histogram_quantile(0.99, sum by (le, route) (rate(keywheel_http_request_seconds_bucket{{{at}}}[$__rate_interval])))", "{{route}}"), width=12),
            graph("Latency", "Median and 99th percentile over all routes; held requests are left out.", "s",
                  quantiles("keywheel_http_request_seconds", at), width=12),
            row("The process"),
            graph("Connections", "Open connections, by listener and instance.", "none",
                  query(f"max by (instance, listener) (keywheel_connections{{{at}}})", "{{listener}} {{instance}}"), width=12),
            graph("Connections ended early", "Each second, by reason: `no_room` and `network` when somebody uses them up.", "ops",
                  query(f"sum by (listener, reason) (rate(keywheel_connections_ended_total{{{at}}}[$__rate_interval])) > 0", "{{listener}} {{reason}}"), width=12),
            graph("Audit events", "Audit events each second, written or not, by what happened.", "ops",
                  query(f"sum by (event) (rate(keywheel_audit_events_total{{{at}}}[$__rate_interval]))", "{{event}}"), width=12, stacked=True),
            graph("Audit lines", "`suppressed` in a flood and summed in one line; `lost` because the log could not be written.", "ops",
                  query(f"sum by (result) (rate(keywheel_audit_lines_total{{{at}}}[$__rate_interval]))", "{{result}}"), overrides=colours(AUDIT)),
            stat("Versions", "What runs where.", "none", query("sum by (version, job) (keywheel_build_info{" + at + "})", "{{job}} {{version}}"),
                 [(None, "#5794F2")], height=8, text="value_and_name", sparkline=False),
        ],
    )


def main():
    stale = []
    for name, made in [("verification", verification()), ("keys", keys()), ("auth-service", auth())]:
        path = HERE / "dashboards" / f"{name}.json"
        text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"not what grafana/generate.py makes: {', '.join(stale)}")


if __name__ == "__main__":
    main()
