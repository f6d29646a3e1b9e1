"""Samples out of a text for Prometheus, by the shape that weir writes; tests of the shape itself use real parsers."""

import re

SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


def parse(text):
    """[(name, {label: value}, number)] in order."""
    found = []
    for line in text.splitlines():
        match = SAMPLE.match(line)
        if match:
            found.append((match[1], dict(LABEL.findall(match[2] or "")), float(match[3])))
    return found


def total(samples, name, **labels):
    """The sum of the samples of that name with at least these labels; 0 when there is none."""
    return sum(value for n, got, value in samples if n == name and labels.items() <= got.items())
