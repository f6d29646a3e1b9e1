"use strict";

// The page: asks for ?json once a second, and hands the answer to each part.

const POLL_MS = 1000;
const PATIENCE_MS = 5000;

const PARTS = [
	showHead, showEndpoints, showMembers, showQueue, showCache, showLimits, showLoad, showBreakers, showCounters,
];

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
	for (const part of PARTS) part(s);
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
