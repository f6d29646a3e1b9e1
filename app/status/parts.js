"use strict";

// The parts of the page below and above the charts: each shows its share of one answer of the server.

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
	const [value, ...unit] = formatMs(toMs(us)).split(GLUE);
	return [value, ` ${unit.join(" ")}`];
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

function lanesText(lanes) {
	return `${lanes.busy} of ${lanes.max}${lanes.waiting ? `, ${lanes.waiting} wait` : ""}`;
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
		m.lanes ? meter(m.lanes.busy, m.lanes.max, lanesText(m.lanes)) : UNKNOWN,
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
		["Spool", spool ? bytesMeter(spool.bytes, spool.maxBytes) : pill("cannot be read")],
		["Waiting", spool?.waiting ? `${formatWhole(spool.waiting)}, the oldest for ${formatSpan(spool.oldestMs)}` : formatWhole(spool?.waiting)],
		["Keys remembered", formatWhole(spool?.keys)],
		["Dead letters", formatWhole(s.counters.weir_events_dead_total)],
	]);
	lags.hidden = partitions.length === 0;
	fill(body, partitions.map((p) => row(columnsOf(body), `${p.topic}/${p.partition}`,
		number(p.committed < 0 ? "nothing yet" : formatWhole(p.committed)),
		number(formatWhole(p.high)), number(formatWhole(p.lag)))));
}

function showCache(s) {
	const held = (pool) => meter(pool.held, pool.limit, `${pool.held} of ${pool.limit}`);

	fillFacts(byId("cache"), [
		["Memory", bytesMeter(s.cache.bytesUsed, s.cache.bytesTotal)],
		["Copies", formatWhole(s.cache.entries)],
		["Statements", `${formatAmount(s.window.queriesPerS)} /s`],
		["Refreshed before its end", formatWhole(s.counters.weir_cache_refreshes_early_total)],
		["Waiting for another's query", formatWhole(s.parked.flight)],
		["From the front server", `${formatWhole(s.connections)} connections`],
		s.readConnections && ["Read connections", held(s.readConnections)],
		s.writeConnections && ["Write connections", held(s.writeConnections)],
		...s.databaseReads.map((d) => [`Reads at once, ${d.target}`, meter(d.running, d.limit, `${d.running} of ${d.limit}`),
			d.limit < d.max ? el("span", { className: "note" }, `as was learnt; at most ${d.max}`) : ""]),
	]);
}

function showLimits(s) {
	const body = byId("policies");

	fill(body, s.limits.map((l) => row(columnsOf(body), l.policy,
		number(formatWhole(l.allowed)), number(formatWhole(l.refused)), number(formatWhole(l.observed)))));
	body.closest("table").hidden = s.limits.length === 0;
	byId("no-limits").hidden = s.limits.length > 0;
}

function showLoad(s) {
	const shed = Object.entries(s.shed).filter(([, count]) => count > 0);

	fillFacts(byId("sheds"), [
		["Capacity wanted", `${formatAmount(s.capacity.ratio)} of what there is`,
			el("span", { className: "note" }, `by ${s.capacity.reason}; above 1 asks for more hosts`)],
		["Waiting for a lane", `${formatWhole(s.lanes.waiting)} of ${formatWhole(s.lanes.waitingMax)}`],
		["Reading large bodies", formatWhole(s.lanes.bodies)],
		["Calls made again", formatWhole(s.counters.weir_retries_total)],
		["Not made again, for want of budget", formatWhole(s.counters.weir_retries_refused_total)],
		...(shed.length ? shed.map(([reason, count]) => [`Shed, ${reason.replaceAll("_", " ")}`, formatWhole(count)])
			: [["Shed", "nothing yet"]]),
	]);
}

function showBreakers(s) {
	const table = byId("breakers");
	const body = table.tBodies[0];

	table.hidden = s.breakers.length === 0;
	byId("alone").hidden = !table.hidden;
	fill(body, s.breakers.map((b) => row(columnsOf(body), b.name, pill(b.state),
		number(b.forMs == null ? "ever" : formatSpan(b.forMs)), number(`${b.admittedPct} %`),
		...[b.calls, b.failures, b.slow, b.opened].map((n) => number(formatWhole(n))))));
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
