"use strict";

// The charts: what each shows is a row of the table, and how is the same for all.
//
// A canvas says nothing to who cannot see it, so each chart has a sentence with its present figures, and a table
// of the same curves behind a switch.

const CHARTS = [
	{
		title: "Requests", unit: "per second",
		curves: [{ label: "answered", color: "a", fill: true, of: (s) => s.rate("requests") }],
	},
	{
		title: "Latency", unit: "ms", fractions: true,
		curves: [
			{ label: "p50", color: "a", of: (s) => s.gauge("p50Us", 0.001) },
			{ label: "p99", color: "b", of: (s) => s.gauge("p99Us", 0.001) },
		],
	},
	{
		title: "Cache hits", unit: "%", max: 100,
		curves: [
			{ label: "L1, memory", color: "a", of: (s) => s.percent("l1Hits", "l1Misses") },
			{ label: "L2, Redis", color: "b", of: (s) => s.percent("l2Hits", "l2Misses") },
		],
	},
	{
		title: "Refused and failed", unit: "per second",
		curves: [
			{ label: "limited 429", color: "a", of: (s) => s.rate("limited") },
			{ label: "shed 503", color: "b", of: (s) => s.rate("shed") },
			{ label: "errors 5xx", color: "c", of: (s) => s.rate("errors") },
		],
	},
	{
		title: "Lanes", unit: "threads, and requests that wait",
		curves: [
			{ label: "busy", color: "a", fill: true, of: (s) => s.gauge("lanesBusy") },
			{ label: "waiting", color: "b", of: (s) => s.gauge("lanesWaiting") },
		],
	},
	{
		title: "Writes", unit: "per second, and waiting",
		curves: [
			{ label: "accepted", color: "a", of: (s) => s.rate("writes") },
			{ label: "in the spool", color: "b", of: (s) => s.gauge("spool") },
			{ label: "Kafka lag", color: "c", of: (s) => s.gauge("lag") },
		],
	},
];

const CHART_HEIGHT = 168;
const LEAST_SPAN_S = 60;
const LEAST_TOP = 4;
const WHOLE_STEPS = [1, 2, 5].flatMap((n) => Array.from({ length: 12 }, (_, i) => n * 10 ** i)).sort((a, b) => a - b);
const TABLE_STEP_S = 10;

function cssColor(name) {
	return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/* Where a value has no neighbour, there is no line to show it: a dot does. */
function lonely(values) {
	return [...values.keys()].filter((i) => values[i] != null && values[i - 1] == null && values[i + 1] == null);
}

class Chart {
	constructor(spec) {
		this.spec = spec;
		this.values = spec.curves.map(() => el("b", { className: "value" }, UNKNOWN));
		this.labels = spec.curves.map((curve, i) =>
			el("li", { className: `curve-${curve.color}` }, curve.label, " ", this.values[i]));
		this.plot = el("div", { className: "plot", role: "img" });
		this.body = el("tbody");
		this.box = el("figure", { className: "chart" },
			el("figcaption", {},
				el("h2", {}, spec.title, " ", el("small", {}, spec.unit)),
				el("ul", { className: "legend" }, ...this.labels)),
			this.plot,
			this.makeTable());
		this.data = null;
	}

	makeTable() {
		const heads = ["Time", ...this.spec.curves.map((curve) => curve.label)];
		this.table = el("details", { className: "table" },
			el("summary", {}, "Table", el("span", { className: "unseen" }, ` of ${this.spec.title}`)),
			el("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: `${this.spec.title}, as a table` },
				el("table", {},
					el("thead", {}, el("tr", {}, ...heads.map((head, i) =>
						el("th", { scope: "col", className: i ? "number" : "" }, head)))),
					this.body)));
		this.table.addEventListener("toggle", () => this.fillTable());
		return this.table;
	}

	/* Makes the drawing anew: colours and width are the page's of this moment. */
	redraw() {
		this.drawing?.destroy();
		this.drawing = new uPlot(this.options(), this.data ?? [[], ...this.spec.curves.map(() => [])], this.plot);
	}

	options() {
		const axis = {
			stroke: cssColor("quiet"), font: "11px system-ui, sans-serif",
			grid: { stroke: cssColor("line"), width: 1 }, ticks: { show: false },
		};
		const top = this.spec.max;

		return {
			width: this.plot.clientWidth, height: CHART_HEIGHT,
			legend: { show: false },
			cursor: { y: false, points: { size: 6 }, drag: { x: false }, sync: { key: "weir" } },
			padding: [8, 4, 0, 0],
			scales: {
				x: { range: (_, least, most) => [Math.min(least, most - LEAST_SPAN_S), most] },
				y: { range: (_, least, most) => [0, top ?? Math.max(this.spec.fractions ? 1 : LEAST_TOP, (most ?? 0) * 1.1)] },
			},
			axes: [
				{ ...axis, grid: { show: false }, size: 24, space: 60,
					// A label that would be cut at the right edge is left out.
					values: (u, ticks) => ticks.map((t) => (u.valToPos(t, "x") > u.over.clientWidth - 26
						? "" : formatClock(t).slice(0, ticks[1] - ticks[0] < 60 ? 8 : 5))) },
				{ ...axis, size: 44, space: 32, ...(this.spec.fractions ? {} : { incrs: WHOLE_STEPS }),
					values: (_, ticks) => ticks.map((t) => formatAmount(t)) },
			],
			series: [{}, ...this.spec.curves.map((curve) => ({
				label: curve.label, stroke: cssColor(`curve-${curve.color}`), width: 1.5,
				fill: curve.fill ? cssColor(`fill-${curve.color}`) : undefined,
				points: { show: true, size: 4, fill: cssColor(`curve-${curve.color}`), filter: (u, n) => lonely(u.data[n]) },
			}))],
			hooks: { setCursor: [(u) => this.showValues(u.cursor.idx)] },
		};
	}

	update(series) {
		this.data = [series.times, ...this.spec.curves.map((curve) => curve.of(series))];
		if (!this.drawing) this.redraw();
		else this.drawing.setData(this.data);
		// A level or a server that this host does not have is not spoken of.
		this.labels.forEach((label, n) => { label.hidden = this.data[n + 1].every((v) => v == null); });
		this.showValues(this.drawing.cursor.idx);
		this.plot.ariaLabel = `${this.spec.title}, ${this.spec.unit}: ${this.sentence()}`;
		if (this.table.open) this.fillTable();
	}

	/* Under the cursor, else the newest. */
	showValues(at) {
		const i = at ?? (this.data?.[0].length ?? 0) - 1;

		this.values.forEach((value, n) => setText(value, formatAmount(this.data?.[n + 1][i])));
	}

	sentence() {
		return this.spec.curves.flatMap((curve, n) => {
			const known = this.data[n + 1].filter((v) => v != null);
			return known.length === 0 ? []
				: `${curve.label} now ${formatAmount(known.at(-1))}, at most ${formatAmount(Math.max(...known))}`;
		}).join("; ") || "not known yet";
	}

	fillTable() {
		const rows = [];

		for (let i = this.data[0].length - 1, next = Infinity; i >= 0; i--) {
			if (this.data[0][i] > next) continue;
			next = this.data[0][i] - TABLE_STEP_S + 0.5;
			rows.push(el("tr", {}, el("th", { scope: "row" }, formatClock(this.data[0][i])),
				...this.spec.curves.map((_, n) => el("td", { className: "number" }, formatAmount(this.data[n + 1][i])))));
		}
		this.body.replaceChildren(...rows);
	}
}
