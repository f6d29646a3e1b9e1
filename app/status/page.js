"use strict";

// The page: asks for ?json once a second, and shows it.  All that is shown is set as text, so nothing that a
// server says is ever taken for markup.

const POLL_MS = 1000;
const PATIENCE_MS = 5000;

const byId = (id) => document.getElementById(id);

function el(tag, props = {}, ...children) {
	const made = Object.assign(document.createElement(tag), props);
	made.append(...children);
	return made;
}

/* Only what has changed is touched, so that a selection stays and nothing is read aloud twice. */
function setText(node, text) {
	if (node.textContent !== text) node.textContent = text;
}

/*
 * Pieces.
 */
const GOOD = new Set(["closed", "forced-closed", "applying", "going", "working"]);
const CALM = new Set(["idle", "watching"]);
const GRAVE = new Set(["open", "forced-open", "stopped", "silent", "full", "cannot be read"]);

function pill(word) {
	const how = GOOD.has(word) ? "good" : CALM.has(word) ? "" : GRAVE.has(word) ? "bad" : "warn";
	return el("span", { className: `pill ${how}` }, word);
}

function meter(used, limit, text) {
	const bar = el("meter", { min: 0, max: limit || 1, high: 0.9 * limit, value: used, ariaLabel: text });
	return el("span", { className: "metered" }, bar, el("span", {}, text));
}

/* A cell knows its column's name, for phones, where a row is a card. */
function row(labels, ...cells) {
	return el("tr", {}, ...cells.map((cell, i) => {
		const { value = cell, number = false } = cell?.value === undefined ? {} : cell;
		const made = el(i === 0 ? "th" : "td", { className: number ? "number" : "" });
		if (i === 0) made.scope = "row";
		made.dataset.label = labels[i];
		if (value === UNKNOWN) made.classList.add("none");
		made.append(value);
		return made;
	}));
}

const number = (text) => ({ value: text, number: true });

/* Made anew only when it says something else. */
function fill(node, children) {
	const made = node.cloneNode(false);
	made.append(...children);
	if (!made.isEqualNode(node)) node.replaceChildren(...made.children);
}

function fillFacts(list, facts) {
	fill(list, facts.filter(Boolean).map(([name, ...values]) =>
		el("div", {}, el("dt", {}, name), el("dd", {}, ...values))));
}

const columnsOf = (body) => [...body.closest("table").querySelectorAll("thead th")].map((th) => th.textContent);

/*
 * Parts of the page.
 */
function showHead(s) {
	const grave = s.alarms.some((alarm) => alarm.grave);
	const verdict = byId("verdict");

	verdict.className = `pill ${grave ? "bad" : s.alarms.length ? "warn" : "good"}`;
	setText(verdict, grave ? "needs attention" : s.alarms.length ? "worth a look" : "all well");
	setText(byId("about"), [
		`version ${s.version}`, `up ${formatSpan(s.upMs)}`, s.supervised ? null : "no supervisor",
		s.hosts ? `${s.hosts} ${s.hosts === 1 ? "host" : "hosts"}` : null, s.stateDir,
	].filter(Boolean).join("  ·  "));
	fill(byId("alarms"), s.alarms.map((alarm) => el("li", { className: alarm.grave ? "bad" : "warn" }, alarm.text)));
}

const TILES = [
	["Requests", (s) => [formatAmount(s.window.requestsPerS), " /s"], (s) => `${formatWhole(s.row.requests)} in all`],
	["Latency p99", (s) => p99Parts(s.window.p99Us), (s) => `p50 ${formatMs(toMs(s.window.p50Us))}`],
	["Errors", (s) => [formatAmount(s.window.errorsPerS), " /s"],
		(s) => `${formatAmount(s.window.limitedPerS)} limited, ${formatAmount(s.window.shedPerS)} shed`,
		(s) => (s.window.errorsPerS > 0 ? "bad" : "")],
	["Cache hits", (s) => [formatPercent(s.window.l1HitRatio), " %"],
		(s) => (s.window.l2HitRatio == null ? "in memory" : `in memory; ${formatPercent(s.window.l2HitRatio)} % of the rest in Redis`)],
	["Lanes busy", (s) => [formatWhole(s.lanes.busy), ` of ${formatWhole(s.lanes.max)}`],
		(s) => `${formatWhole(s.lanes.waiting)} waiting, ${formatWhole(s.inHand)} in hand`,
		(s) => (s.lanes.max > 0 && s.lanes.busy >= s.lanes.max ? "warn" : "")],
	["Writes waiting", (s) => [formatWhole(s.spool?.waiting), ""],
		(s) => (s.spool?.waiting ? `the oldest ${formatSpan(s.spool.oldestMs)}` : `${formatAmount(s.window.writesPerS)} accepted/s`),
		(s) => (s.consumer.state === "stopped" ? "bad" : "")],
];

const toMs = (us) => (us == null ? null : us / 1000);

function p99Parts(us) {
	const [value, unit = ""] = formatMs(toMs(us)).split(" ");
	return [value, unit && ` ${unit}`];
}

function makeTiles() {
	const tiles = TILES.map(([name]) => {
		const tile = { value: el("b"), unit: el("small"), note: el("span", { className: "note" }) };
		tile.box = el("div", { className: "tile" }, el("dt", {}, name), el("dd", {}, tile.value, tile.unit, tile.note));
		return tile;
	});

	byId("tiles").replaceChildren(...tiles.map((tile) => tile.box));
	return tiles;
}

function showTiles(tiles, s) {
	TILES.forEach(([, value, note, state], i) => {
		const [figure, unit] = value(s);
		setText(tiles[i].value, figure);
		setText(tiles[i].unit, figure === UNKNOWN ? "" : unit);
		setText(tiles[i].note, note(s));
		tiles[i].box.className = `tile ${state?.(s) ?? ""}`;
	});
}

/* What is counted, and is no file. */
const NOT_ENDPOINTS = { none: "(no endpoint)", other: "(all others)" };

function showEndpoints(s) {
	const body = byId("busy-endpoints");
	const busy = s.endpoints.filter((e) => e.requestsPerS > 0);
	const quiet = s.endpoints.length - busy.length;

	fill(body, busy.map((e) => {
		const made = row(columnsOf(body),
			el("span", {}, NOT_ENDPOINTS[e.name] ?? e.name, e.priority === "normal" ? "" : el("small", {}, ` ${e.priority}`)),
			number(formatAmount(e.requestsPerS)), number(formatMs(toMs(e.p50Us))), number(formatMs(toMs(e.p99Us))),
			number(e.cacheRatio == null ? UNKNOWN : `${formatPercent(e.cacheRatio)} %`),
			number(formatAmount(e.limitedPerS)), number(formatAmount(e.errorsPerS)));
		made.className = e.errorsPerS > 0 ? "bad" : "";
		return made;
	}));
	setText(byId("quiet-endpoints"), quiet === 0 ? "" : busy.length === 0
		? "none was asked for in the last 10 seconds" : `and ${quiet} that nobody asked for in the last 10 seconds`);
	body.closest("table").hidden = busy.length === 0;
}

const PLACES = {
	reactor: "on the reactor", lane: "on a lane", queue: "waits for the spool",
	flight: "waits for another's query", turn: "looks again in a moment",
};

function oldestText(oldest) {
	if (!oldest) return UNKNOWN;
	return el("span", {}, el("code", {}, oldest.endpoint || "not routed yet"), ` ${formatMs(oldest.ageMs)}, ${PLACES[oldest.place]}`);
}

function showMembers(s) {
	const body = byId("members");
	const labels = columnsOf(body);

	fill(body, s.members.map((m) => row(labels,
		el("span", {}, m.kind, " ", el("small", {}, String(m.pid))),
		pill(m.state),
		number(formatSpan(m.upMs)),
		number(m.lanes ? formatWhole(m.requests) : UNKNOWN),
		number(m.lanes ? formatWhole(m.inHand) : UNKNOWN),
		m.lanes ? meter(m.lanes.busy, m.lanes.max, `${m.lanes.busy} of ${m.lanes.max}${m.lanes.waiting ? `, ${m.lanes.waiting} wait` : ""}`) : UNKNOWN,
		oldestText(m.oldest))));
}

function showQueue(s) {
	const spool = s.spool;
	const partitions = s.forwarder?.partitions ?? [];
	const lags = byId("lags");
	const body = lags.tBodies[0];

	fillFacts(byId("queue"), [
		["Consumer", pill(s.consumer.state), s.consumer.reason ? el("span", { className: "note" }, s.consumer.reason) : ""],
		s.forwarder && ["Forwarder to Kafka", pill(s.forwarder.state), ` ${formatWhole(s.forwarder.delivered)} delivered`],
		["Applied", `${formatAmount(s.window.appliedPerS)} /s`],
		["Spool", spool ? meter(spool.bytes, spool.maxBytes, `${formatBytes(spool.bytes)} of ${formatBytes(spool.maxBytes)}`) : pill("cannot be read")],
		["Waiting", spool ? `${formatWhole(spool.waiting)}${spool.waiting ? `, the oldest for ${formatSpan(spool.oldestMs)}` : ""}` : UNKNOWN],
		["Keys remembered", formatWhole(spool?.keys)],
		["Dead letters", formatWhole(s.counters.weir_events_dead_total)],
	]);
	lags.hidden = partitions.length === 0;
	fill(body, partitions.map((p) => row(columnsOf(body), `${p.topic}/${p.partition}`,
		number(p.committed < 0 ? "nothing yet" : formatWhole(p.committed)), number(formatWhole(p.high)), number(formatWhole(p.lag)))));
}

function showCache(s) {
	const held = (pool) => meter(pool.held, pool.limit, `${pool.held} of ${pool.limit}`);

	fillFacts(byId("cache"), [
		["Memory", meter(s.cache.bytesUsed, s.cache.bytesTotal, `${formatBytes(s.cache.bytesUsed)} of ${formatBytes(s.cache.bytesTotal)}`)],
		["Copies", formatWhole(s.cache.entries)],
		["Statements", `${formatAmount(s.window.queriesPerS)} /s`],
		["Waiting for another's query", formatWhole(s.parked.flight)],
		["From the front server", `${formatWhole(s.connections)} connections`],
		s.readConnections && ["Read connections", held(s.readConnections)],
		s.writeConnections && ["Write connections", held(s.writeConnections)],
	]);
}

function showBreakers(s) {
	const table = byId("breakers");
	const body = table.tBodies[0];

	table.hidden = s.breakers.length === 0;
	byId("alone").hidden = !table.hidden;
	fill(body, s.breakers.map((b) => row(columnsOf(body), b.name, pill(b.state),
		number(b.forMs == null ? "ever" : formatSpan(b.forMs)), number(formatWhole(b.calls)), number(formatWhole(b.failures)),
		number(formatWhole(b.slow)), number(formatWhole(b.opened)))));
}

function showCounters(s) {
	fillFacts(byId("counters"), Object.entries(s.counters).map(([name, value]) => [el("code", {}, name), formatWhole(value)]));
}

function showSettings(s) {
	const body = byId("settings");

	fill(body, s.settings.map((setting) => {
		const made = row(columnsOf(body), el("code", {}, setting.name),
			setting.value === "" ? el("span", { className: "quiet" }, "not set") : el("code", {}, setting.value), setting.origin);
		made.className = setting.isDefault ? "quiet" : "";
		return made;
	}));
}

/*
 * Going on.
 */
const page = {
	series: new Series(),
	charts: CHARTS.map((spec) => new Chart(spec)),
	tiles: makeTiles(),
	paused: false,
	heardAt: 0, // performance.now() of the last answer; 0: the history is to be asked for
};

async function ask(query) {
	const answer = await fetch(query, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
	if (!answer.ok) throw new Error(`status ${answer.status}`);
	return answer.json();
}

function show(s) {
	const offset = (s.timeMs - s.row.atMs) / 1000;

	if (s.history) {
		page.series.restart(s.history, offset);
		showSettings(s);
	}
	page.series.add(s.row, offset);
	for (const part of [showHead, showEndpoints, showMembers, showQueue, showCache, showBreakers, showCounters]) part(s);
	showTiles(page.tiles, s);
	for (const chart of page.charts) chart.update(page.series);
}

/* Who was away for a while asks for what was missed. */
async function look() {
	const missed = performance.now() - page.heardAt > GAP_S * 1000;

	try {
		show(await ask(page.heardAt === 0 || missed ? "?json&full" : "?json"));
		page.heardAt = performance.now();
		document.body.classList.remove("deaf");
	} catch (failure) {
		document.body.classList.add("deaf");
		byId("verdict").className = "pill bad";
		setText(byId("verdict"), "no answer");
	}
}

async function turn() {
	if (!page.paused && !document.hidden) await look();
	setTimeout(turn, POLL_MS);
}

/*
 * What a person may change.
 */
const THEMES = ["auto", "light", "dark"];

/* A browser may keep nothing for us (private windows, blocked storage): then the choice lasts as long as the page. */
function remember(name, value) {
	try {
		if (value !== undefined) localStorage.setItem(name, value);
		return localStorage.getItem(name);
	} catch {
		return null;
	}
}

function setTheme(theme) {
	document.documentElement.dataset.theme = theme;
	byId("theme").textContent = `Theme: ${theme}`;
	for (const chart of page.charts) if (chart.drawing) chart.redraw();
}

function listen() {
	byId("theme").addEventListener("click", () => {
		const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
		remember("weir-theme", next);
		setTheme(next);
	});
	byId("pause").addEventListener("click", () => {
		page.paused = !page.paused;
		byId("pause").ariaPressed = page.paused;
		setText(byId("pause"), page.paused ? "Go on" : "Pause");
		document.body.classList.toggle("paused", page.paused);
	});
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(document.documentElement.dataset.theme));
	new ResizeObserver(() => {
		for (const chart of page.charts)
			chart.drawing?.setSize({ width: chart.plot.clientWidth, height: CHART_HEIGHT });
	}).observe(byId("charts"));
}

byId("charts").append(...page.charts.map((chart) => chart.box));
setTheme(THEMES.includes(remember("weir-theme")) ? remember("weir-theme") : "auto");
listen();
turn();
